"""Record of ``mg compare``. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import CommandSpec, Param
from mg_fusion.records_groups import GROUP_BY

COMPARE = CommandSpec(
    path=("compare",),
    summary="Compare two runs clip by clip: fixed, broken, McNemar, by class; text, JSON or an HTML page.",
    factory="mg_fusion.commands.compare:compare",
    params=(
        Param(
            name="first",
            help="run folder, or logits or probs store",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(
            name="second",
            help="the same of what it is compared with: fixed is what the second has right and the first not",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(name="out", help="HTML page to write", role="output", type="path", flags=("-o",)),
        Param(
            name="row",
            help="row of metrics.json to compare in run folders, such as joint/after (default: the vote)",
            default="",
        ),
        Param(
            name="labels",
            help="the truth: labels.csv or a split store (default: that of the run folders)",
            role="input",
            type="path",
        ),
        Param(
            name="groups",
            help="clips or split store, or csv clip_id,group: what the intervals keep together (default: the "
            "people or videos that the run folders or a split in --labels know)",
            role="input",
            type="path",
        ),
        GROUP_BY,
    ),
)
