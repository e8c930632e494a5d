"""mg-fusion's copy of mg-data's guard against strangers' zips does what its original does."""

from __future__ import annotations

import inspect

from mg_data import zip_members as original
from mg_fusion import zip_members as copy


def test_the_copy_is_the_original() -> None:
    for name in ("check_members", "read_member"):
        assert inspect.getsource(getattr(copy, name)) == inspect.getsource(getattr(original, name))
    assert copy._KINDS == original._KINDS
