"""Checkpoints that the package knows, each tied to its preprocessing. Imports the contract alone.

``mean`` and ``std`` are of colours in 0..1; ``size`` is the side of a square crop, ``stride`` counts frames
of the video from one sampled frame to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import WeightsSpec

_KINETICS = "trained on Kinetics-400, whose videos keep their own terms"


def _preprocessing(
    mean: tuple[float, ...], std: tuple[float, ...], size: int, frames: int, stride: int
) -> Mapping[str, Any]:
    return {"mean": mean, "std": std, "size": size, "frames": frames, "stride": stride}


def _torchvision(
    filename: str, preprocessing: Mapping[str, Any], name: str = "kinetics400"
) -> tuple[WeightsSpec, ...]:
    """Return the record of a torchvision enum; its file names end with the start of their sha256."""
    return (
        WeightsSpec(
            name=name,
            url=f"https://download.pytorch.org/models/{filename}",
            filename=filename,
            sha256=filename.removesuffix(".pth").rpartition("-")[2],
            licence=f"BSD-3-Clause (torchvision); {_KINETICS}",
            preprocessing=preprocessing,
        ),
    )


def _pytorchvideo(filename: str, size: int, frames: int, stride: int) -> tuple[WeightsSpec, ...]:
    """Return the record of a file of pytorchvideo's model zoo, which publishes no digests."""
    return (
        WeightsSpec(
            name="kinetics400",
            url=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/{filename}",
            filename=filename,
            licence=f"Apache-2.0 (pytorchvideo); {_KINETICS}",
            preprocessing={**PYTORCHVIDEO, "size": size, "frames": frames, "stride": stride},
        ),
    )


def _hugging_face(
    repository: str, filename: str, licence: str, preprocessing: Mapping[str, Any]
) -> tuple[WeightsSpec, ...]:
    """Return the record of a repository's file, kept under the repository's name as all are called alike."""
    own = repository.partition("/")[2] + filename[filename.rindex(".") :]
    return (
        WeightsSpec(
            name="kinetics400",
            url=f"https://huggingface.co/{repository}/resolve/main/{filename}",
            filename=own,
            licence=f"{licence} ({repository}); {_KINETICS}",
            preprocessing=preprocessing,
        ),
    )


_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_GREY = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
_KINETICS_MEAN = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))

VIDEO_RESNET = _preprocessing(*_KINETICS_MEAN, size=112, frames=16, stride=2)
S3D = _preprocessing(*_KINETICS_MEAN, size=224, frames=128, stride=2)
SWIN3D = _preprocessing(*_IMAGENET, size=224, frames=32, stride=2)
MVIT = _preprocessing(*_GREY, size=224, frames=16, stride=4)
PYTORCHVIDEO: Mapping[str, Any] = {"mean": _GREY[0], "std": _GREY[1]}
VIDEOMAE = _preprocessing(*_IMAGENET, size=224, frames=16, stride=4)
TIMESFORMER = _preprocessing(*_GREY, size=224, frames=8, stride=32)
# ViViT was trained on pixels in -1..1. The published preprocessor shifts them twice, to -3..1.
VIVIT = _preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), size=224, frames=32, stride=2)

R2PLUS1D_18_WEIGHTS = _torchvision("r2plus1d_18-91a641e6.pth", VIDEO_RESNET)
R3D_18_WEIGHTS = _torchvision("r3d_18-b3b3357e.pth", VIDEO_RESNET)
MC3_18_WEIGHTS = _torchvision("mc3_18-a90a0ba3.pth", VIDEO_RESNET)
S3D_WEIGHTS = _torchvision("s3d-d76dad2f.pth", S3D)
MVIT_V1_B_WEIGHTS = _torchvision("mvit_v1_b-dbeb1030.pth", MVIT)
MVIT_V2_S_WEIGHTS = _torchvision("mvit_v2_s-ae3be167.pth", MVIT)
SWIN3D_T_WEIGHTS = _torchvision("swin3d_t-7615ae03.pth", SWIN3D)
SWIN3D_S_WEIGHTS = _torchvision("swin3d_s-da41c237.pth", SWIN3D)
SWIN3D_B_WEIGHTS = (
    *_torchvision("swin3d_b_1k-24f7c7c6.pth", SWIN3D),
    *_torchvision("swin3d_b_22k-7c6ae6fa.pth", SWIN3D, "kinetics400-imagenet22k"),
)

SLOW_R50_WEIGHTS = _pytorchvideo("SLOW_8x8_R50.pyth", size=224, frames=8, stride=8)
I3D_R50_WEIGHTS = _pytorchvideo("I3D_8x8_R50.pyth", size=224, frames=8, stride=8)
R2PLUS1D_R50_WEIGHTS = _pytorchvideo("R2PLUS1D_16x4_R50.pyth", size=224, frames=16, stride=4)
CSN_R101_WEIGHTS = _pytorchvideo("CSN_32x2_R101.pyth", size=224, frames=32, stride=2)
SLOWFAST_R50_WEIGHTS = _pytorchvideo("SLOWFAST_8x8_R50.pyth", size=224, frames=32, stride=2)
X3D_S_WEIGHTS = _pytorchvideo("X3D_S.pyth", size=160, frames=13, stride=6)
X3D_M_WEIGHTS = _pytorchvideo("X3D_M.pyth", size=224, frames=16, stride=5)

VIDEOMAE_WEIGHTS = _hugging_face(
    "MCG-NJU/videomae-base-finetuned-kinetics", "model.safetensors", "CC-BY-NC-4.0", VIDEOMAE
)
TIMESFORMER_WEIGHTS = _hugging_face(
    "facebook/timesformer-base-finetuned-k400", "pytorch_model.bin", "CC-BY-NC-4.0", TIMESFORMER
)
VIVIT_WEIGHTS = _hugging_face("google/vivit-b-16x2-kinetics400", "pytorch_model.bin", "MIT", VIVIT)
