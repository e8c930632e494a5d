"""The models that mg-rgb registers, with presets and default recipes. Imports the contract alone.

Every default of an option stands here once; factories get all of them by name. A library's network has two
presets: ``paper`` is the published size over the published sampling, ``small`` its narrow form, which trains
without pretrained weights on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import ModelSpec, WeightsSpec
from mg_rgb import weights_records as weights

_ALL = ("rgb", "flow", "taylor", "depth-motion", "depth", "frame-difference")
_SMALL_RECIPE: Mapping[str, Any] = {
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 0.05,
    "epochs": 40,
    "batch_size": 16,
    "warmup_epochs": 3,
    "schedule": "cosine",
    "amp": "auto",
    "clip_norm": 5.0,
    "ema": 0.0,
    "flip": True,
    "label_smoothing": 0.1,
    "loss": {"name": "focal", "options": {"gamma": 2.0}},
    "auxiliary": ({"name": "orthogonal-semantic", "weight": 1.0, "options": {}},),
    "workers": 0,
    "backbone_lr_scale": 1.0,
}
# Fine-tuning of Kinetics weights (reference settings of Video Swin on micro-gestures; the paper tells of no
# optimisation of its video models, of its joint model AdamW with a cosine, section 4.2).
_FINE_TUNING: Mapping[str, Any] = {
    **_SMALL_RECIPE,
    "lr": 1e-3,
    "epochs": 30,
    "batch_size": 8,
    "warmup_epochs": 2.5,
    "clip_norm": 20.0,
    "label_smoothing": 0.0,
    "workers": 4,
    "backbone_lr_scale": 0.1,
}
_COMMON: Mapping[str, Any] = {
    "weights": "",
    "mean": None,
    "std": None,
    "feature_dim": 0,
    "dropout": 0.0,
    "checkpointing": False,
    "freeze": 0,
}
_CONVOLUTIONAL: Mapping[str, Any] = {**_COMMON, "channels_last": False}
# The semantic loss wants a feature with as many channels as there are classes, or more.
_SMALL: Mapping[str, Any] = {"feature_dim": 256, "dropout": 0.1}
_SMALL_CONVOLUTIONAL: Mapping[str, Any] = {"feature_dim": 256, "dropout": 0.3, "channels_last": True}
_SMALL_SAMPLES: Mapping[str, Any] = {"frames": 16, "size": 48}
_SMALL_TOKENS: Mapping[str, Any] = {"frames": 8, "size": 64}


def _published(
    name: str,
    summary: str,
    factory: str,
    known: tuple[WeightsSpec, ...],
    *,
    source: str,
    options: Mapping[str, Any],
    small: Mapping[str, Any],
    small_samples: Mapping[str, Any],
    samples: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Return the record of a library's network; ``samples`` are those of its checkpoint unless given."""
    trained_on = {key: known[0].preprocessing[key] for key in ("frames", "stride", "size")}
    return ModelSpec(
        name=name,
        summary=summary,
        factory=f"mg_rgb.models.{factory}",
        modalities=_ALL,
        options=options,
        presets={"paper": {}, "small": small},
        modality_options={
            "paper": {**(samples or trained_on), "rotation_degrees": 0.0},
            "small": small_samples,
        },
        recipe=_FINE_TUNING,
        weights=known,
        source=source,
    )


def _video_resnet(
    name: str, what: str, known: tuple[WeightsSpec, ...], samples: Mapping[str, Any] | None = None
) -> ModelSpec:
    return _published(
        name,
        f"{what} of torchvision",
        f"video_resnet:{name.replace('-', '_')}",
        known,
        source="torchvision.models.video.resnet",
        options={"width": 64, "layers": (2, 2, 2, 2), **_CONVOLUTIONAL},
        small={"width": 16, "layers": (1, 1, 1, 1), **_SMALL_CONVOLUTIONAL},
        small_samples=_SMALL_SAMPLES,
        samples=samples,
    )


def _swin(
    size: str,
    parameters: str,
    known: tuple[WeightsSpec, ...],
    embed_dim: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
) -> ModelSpec:
    return _published(
        f"swin3d-{size}",
        f"Video Swin-{size.upper()} of torchvision, {parameters} parameters",
        f"swin3d:swin3d_{size}",
        known,
        source="torchvision.models.video.swin_transformer",
        options={
            "patch": (2, 4, 4),
            "embed_dim": embed_dim,
            "depths": depths,
            "heads": heads,
            "window": (8, 7, 7),
            "mlp_ratio": 4.0,
            "stochastic_depth": 0.1,
            **_COMMON,
        },
        small={"embed_dim": 32, "depths": (2, 2, 2), "heads": (2, 4, 8), "window": (4, 4, 4), **_SMALL},
        small_samples=_SMALL_TOKENS,
    )


def _mvit(name: str, what: str, known: tuple[WeightsSpec, ...]) -> ModelSpec:
    return _published(
        name,
        f"{what} of torchvision",
        f"mvit:{name.replace('-', '_')}",
        known,
        source="torchvision.models.video.mvit",
        options={"width": 96, "depths": (1, 2, 11, 2), "stochastic_depth": 0.2, **_COMMON},
        small={"width": 24, "depths": (1, 2, 2), "stochastic_depth": 0.0, **_SMALL},
        small_samples=_SMALL_TOKENS,
    )


def _resnet3d(
    name: str,
    what: str,
    known: tuple[WeightsSpec, ...],
    module: str = "resnet3d",
    layers: tuple[int, ...] = (3, 4, 6, 3),
) -> ModelSpec:
    return _published(
        name,
        f"{what} of pytorchvideo",
        f"{module}:{name.replace('-', '_')}",
        known,
        source="pytorchvideo.models",
        options={"width": 64, "layers": layers, **_CONVOLUTIONAL},
        small={"width": 16, "layers": (1, 1, 1, 1), **_SMALL_CONVOLUTIONAL},
        small_samples=_SMALL_SAMPLES,
    )


def _x3d(size: str, known: tuple[WeightsSpec, ...]) -> ModelSpec:
    return _published(
        f"x3d-{size}",
        f"X3D-{size.upper()} of pytorchvideo, 3.8 million parameters",
        f"x3d:x3d_{size}",
        known,
        source="pytorchvideo.models.x3d",
        options={"width_factor": 2.0, "depth_factor": 2.2, "head_channels": 2048, **_CONVOLUTIONAL},
        small={"width_factor": 1.0, "depth_factor": 1.0, "head_channels": 256, **_SMALL_CONVOLUTIONAL},
        small_samples=_SMALL_SAMPLES,
    )


def _transformer(name: str, what: str, known: tuple[WeightsSpec, ...], patch: tuple[int, int]) -> ModelSpec:
    return _published(
        name,
        f"{what} of Hugging Face (extra mg-rgb[hf])",
        f"transformers_video:{name}",
        known,
        source=f"transformers.models.{name}",
        options={"width": 768, "depth": 12, "heads": 12, "patch": patch, **_COMMON},
        small={"width": 96, "depth": 3, "heads": 3, "patch": (patch[0], 8), **_SMALL},
        small_samples=_SMALL_TOKENS,
    )


# Narrow networks of torchvision's blocks, for training from scratch on a CPU.
_R2PLUS1D = ModelSpec(
    name="r2plus1d",
    summary="narrow R(2+1)D of torchvision's blocks, for training from scratch on a CPU",
    factory="mg_rgb.models.r2plus1d:r2plus1d",
    modalities=_ALL,
    options={
        "width": 16,
        "layers": (1, 1, 1, 1),
        "stem_kernel": 7,
        "stem_stride": 2,
        "temporal_strides": (1, 2, 2, 1),
        **_CONVOLUTIONAL,
        **_SMALL_CONVOLUTIONAL,
    },
    presets={
        "tiny": {"width": 12, "layers": (1, 1, 1), "temporal_strides": (1, 2, 1)},
        "small": {},
    },
    modality_options={"tiny": {"frames": 8, "size": 48}, "small": _SMALL_SAMPLES},
    recipe=_SMALL_RECIPE,
    source="torchvision.models.video.resnet (blocks)",
)
_SWIN3D = ModelSpec(
    name="swin3d",
    summary="narrow Video Swin of torchvision's class, for training from scratch on a CPU",
    factory="mg_rgb.models.swin3d:swin3d",
    modalities=_ALL,
    options={
        "patch": (2, 4, 4),
        "embed_dim": 32,
        "depths": (2, 2, 2),
        "heads": (2, 4, 8),
        "window": (4, 4, 4),
        "mlp_ratio": 3.0,
        "stochastic_depth": 0.1,
        **_COMMON,
        **_SMALL,
    },
    presets={
        "tiny": {
            "patch": (2, 8, 8),
            "embed_dim": 48,
            "depths": (2, 2),
            "heads": (3, 6),
            "stochastic_depth": 0.0,
        },
        "small": {},
    },
    modality_options={"tiny": _SMALL_TOKENS, "small": _SMALL_TOKENS},
    recipe={**_SMALL_RECIPE, "lr": 1e-3, "clip_norm": 1.0},
    source="torchvision.models.video.swin_transformer",
)

MODELS = (
    _video_resnet(
        "r2plus1d-18",
        "R(2+1)D-18",
        weights.R2PLUS1D_18_WEIGHTS,
        samples={"frames": 24, "stride": 2, "size": 224},  # the paper's
    ),
    _R2PLUS1D,
    _video_resnet("r3d-18", "R3D-18", weights.R3D_18_WEIGHTS),
    _video_resnet("mc3-18", "MC3-18 (time in the first stage only)", weights.MC3_18_WEIGHTS),
    _swin("t", "28 million", weights.SWIN3D_T_WEIGHTS, 96, (2, 2, 6, 2), (3, 6, 12, 24)),
    _swin("s", "50 million", weights.SWIN3D_S_WEIGHTS, 96, (2, 2, 18, 2), (3, 6, 12, 24)),
    _swin("b", "88 million", weights.SWIN3D_B_WEIGHTS, 128, (2, 2, 18, 2), (4, 8, 16, 32)),
    _SWIN3D,
    _published(
        "s3d",
        "S3D of torchvision (separable Inception blocks), 7.9 million parameters",
        "s3d:s3d",
        weights.S3D_WEIGHTS,
        source="torchvision.models.video.s3d",
        options={"width": 64, **_CONVOLUTIONAL},
        small={"width": 16, **_SMALL_CONVOLUTIONAL},
        small_samples=_SMALL_SAMPLES,
        # Trained on 128 frames, more than most clips have.
        samples={"frames": 32, "stride": 2, "size": 224},
    ),
    _mvit("mvit-v1-b", "MViT-B, version 1, 36 million parameters,", weights.MVIT_V1_B_WEIGHTS),
    _mvit("mvit-v2-s", "MViT-S, version 2, 34 million parameters,", weights.MVIT_V2_S_WEIGHTS),
    _resnet3d("slow-r50", "Slow-R50", weights.SLOW_R50_WEIGHTS),
    _resnet3d("i3d-r50", "I3D-R50", weights.I3D_R50_WEIGHTS),
    _resnet3d("r2plus1d-r50", "R(2+1)D-R50", weights.R2PLUS1D_R50_WEIGHTS),
    _resnet3d(
        "csn-r101",
        "channel-separated R101",
        weights.CSN_R101_WEIGHTS,
        layers=(3, 4, 23, 3),
    ),
    _resnet3d("slowfast-r50", "SlowFast-R50", weights.SLOWFAST_R50_WEIGHTS, "slowfast"),
    _x3d("s", weights.X3D_S_WEIGHTS),
    _x3d("m", weights.X3D_M_WEIGHTS),
    _transformer("videomae", "VideoMAE-B", weights.VIDEOMAE_WEIGHTS, (2, 16)),
    _transformer("timesformer", "TimeSformer-B", weights.TIMESFORMER_WEIGHTS, (1, 16)),
    _transformer("vivit", "ViViT-B", weights.VIVIT_WEIGHTS, (2, 16)),
)
