"""Records that mg-skeleton contributes. Imports the contract and nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import ModelSpec, hookimpl

_DECOUPLED_STCNN = ModelSpec(
    name="decoupled-stcnn",
    summary="(1 x 3) spatial and (5 x 1) temporal convolutions over keypoints (paper 3.1)",
    factory="mg_skeleton.decoupled_stcnn:build",
    modalities=("joint", "joint-motion", "limb", "limb-motion", "motion"),
    options={
        "widths": (64, 64, 128, 128, 256),
        "strides": (1, 1, 2, 1, 2),
        "feature_dim": 0,
        "dropout": 0.3,
        "block_dropout": 0.0,
        "point_embedding": True,
    },
    presets={
        # for demonstrations and tests
        "tiny": {"widths": (32, 64, 64), "strides": (2, 2, 2)},
        # base at half the frames from the first block on: for two processor cores
        "small": {"strides": (2, 1, 2, 1, 2)},
        "base": {},
    },
    modality_options={
        "tiny": {"frames": 32},
        "small": {"frames": 64, "bones": 0.1},
        "base": {"frames": 64},
    },
    recipe={
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "epochs": 60,
        "batch_size": 32,
        "warmup_epochs": 3,
        "schedule": "cosine",
        "amp": "none",
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "flip": True,
        "loss": {"name": "focal", "options": {"gamma": 2.0, "weighting": "sqrt"}},
        "auxiliary": ({"name": "orthogonal-semantic", "weight": 1.0, "options": {}},),
    },
)

_POSEC3D = ModelSpec(
    name="posec3d",
    summary="SlowOnly 3D ResNet over heatmaps of keypoints and limbs (paper 3.1)",
    factory="mg_skeleton.posec3d:build",
    modalities=("heatmap",),
    options={
        "size": 0,
        "eval_size": 0,
        "sigma": 0.6,
        "with_joints": True,
        "with_limbs": False,
        "base_channels": 32,
        "depths": (4, 6, 3),
        "inflate": (0, 1, 1),
        "spatial_strides": (2, 2, 2),
        "temporal_strides": (1, 1, 2),
        "stem_stride": 1,
        "feature_dim": 0,
        "dropout": 0.5,
    },
    presets={
        "full": {"eval_size": 64},
        # For two processor cores: an eighth of the pixels, fewer still behind the stem.
        "light": {
            "sigma": 0.7,
            "base_channels": 24,
            "depths": (1, 2, 2),
            "inflate": (1, 1, 1),
            "temporal_strides": (1, 2, 1),
            "stem_stride": 2,
            "feature_dim": 128,
            "dropout": 0.3,
        },
        # For demonstrations and tests.
        "tiny": {
            "base_channels": 12,
            "depths": (1, 1, 1),
            "inflate": (1, 1, 1),
            "stem_stride": 2,
            "temporal_strides": (2, 1, 1),
            "feature_dim": 64,
            "dropout": 0.2,
        },
    },
    modality_options={
        "full": {"frames": 48, "size": 56},
        "light": {
            "frames": 24,
            "size": 28,
            "short": "repeat",
            "crop_area": 0.8,
            "bones": 0.1,
        },
        "tiny": {"frames": 16, "size": 28, "short": "repeat", "crop_area": 0.8},
    },
    recipe={
        "optimizer": "sgd",
        "lr": 0.1333,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "epochs": 100,
        "batch_size": 64,
        "schedule": "cosine",
        "amp": "none",
        "clip_norm": 40.0,
        "flip": True,
        "loss": {"name": "focal", "options": {"gamma": 2.0, "weighting": "sqrt"}},
        "auxiliary": ({"name": "orthogonal-semantic", "weight": 1.0, "options": {}},),
    },
)


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    """Return the models over keypoints."""
    return (_DECOUPLED_STCNN, _POSEC3D)
