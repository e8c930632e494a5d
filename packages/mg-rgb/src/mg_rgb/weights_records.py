"""Checkpoints that the package knows, each tied to its preprocessing. Imports the contract alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import WeightsSpec

_LICENCE = "BSD-3-Clause (torchvision); trained on Kinetics-400, whose videos keep their own terms"


def _torchvision(filename: str, preprocessing: Mapping[str, Any]) -> tuple[WeightsSpec, ...]:
    return (
        WeightsSpec(
            name="kinetics400",
            url=f"https://download.pytorch.org/models/{filename}",
            filename=filename,
            licence=_LICENCE,
            preprocessing=preprocessing,
        ),
    )


_R2PLUS1D = {
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
    "size": 112,
    "frames": 16,
    "stride": 2,
}
_SWIN3D = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "size": 224,
    "frames": 32,
    "stride": 2,
}

R2PLUS1D_18_WEIGHTS = _torchvision("r2plus1d_18-91a641e6.pth", _R2PLUS1D)
SWIN3D_T_WEIGHTS = _torchvision("swin3d_t-7615ae03.pth", _SWIN3D)
SWIN3D_S_WEIGHTS = _torchvision("swin3d_s-da41c237.pth", _SWIN3D)
SWIN3D_B_WEIGHTS = _torchvision("swin3d_b_1k-24f7c7c6.pth", _SWIN3D)
