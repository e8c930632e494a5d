"""mg-data keeps the contract: the checks of ``mg plugins check mg-data``, one test each."""

from __future__ import annotations

import pytest

from mg_data.testing import Check, parametrize_with_checks

# What the importers read with, or their examples are written with: the extras prep and pose.
PREP = ("cv2", "av", "orjson", "python_calamine", "scipy")
NEEDS = {
    **{
        f"dataset {name}": PREP for name in ("clips", "imigue", "openpose", "synthetic", "utd-mhad", "videos")
    },
    "dataset pose": ("pose_format",),
}


@parametrize_with_checks("mg-data")
def test_contract(check: Check) -> None:
    for module in NEEDS.get(check.subject, ()):
        pytest.importorskip(module)
    check()
