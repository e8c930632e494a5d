"""The parameter of several commands that says what groups of clips are made of. Imports the contract only."""

from __future__ import annotations

from mg_data.contract import Param

GROUP_BY = Param(
    name="group_by",
    help="what a clips store is asked for",
    default="subject",
    choices=("subject", "video"),
)
