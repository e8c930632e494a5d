"""Records of the graph models and transformers over keypoints. Imports the contract and nothing heavy.

Training settings are the publications', as far as the trainer has them: it has one schedule (cosine) and no
Nesterov momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import ModelSpec

_MODALITIES = ("joint", "joint-motion", "limb", "limb-motion", "motion")
_TEN_WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
_TEN_STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
# For two processor cores: six narrow blocks, half the frames from the first block on.
_SIX: Mapping[str, Any] = {"widths": (32, 32, 64, 64, 128, 128), "strides": (2, 1, 2, 1, 2, 1)}
_FRAMES: Mapping[str, Mapping[str, Any]] = {
    "full": {"frames": 64},
    "small": {"frames": 64, "bones": 0.1},
}
_SGD: Mapping[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup_epochs": 5,
    "batch_size": 64,
    "flip": True,
    "loss": {"name": "cross-entropy", "options": {}},
}

_CTRGCN = ModelSpec(
    name="ctr-gcn",
    summary="graph convolutions with a refined graph for every channel (Chen et al. 2021)",
    factory="mg_skeleton.models.ctrgcn:build",
    modalities=_MODALITIES,
    options={
        "widths": _TEN_WIDTHS,
        "strides": _TEN_STRIDES,
        "feature_dim": 0,
        "dropout": 0.0,
        "weights": "",
    },
    presets={"full": {}, "small": _SIX},
    modality_options=_FRAMES,
    recipe={**_SGD, "lr": 0.1, "weight_decay": 4e-4, "epochs": 65},
    source="Chen et al.: Channel-wise Topology Refinement Graph Convolution, ICCV 2021, arXiv 2107.12213",
)

_MSG3D = ModelSpec(
    name="ms-g3d",
    summary="neighbourhoods of several sizes in space and in space-time windows (Liu et al. 2020)",
    factory="mg_skeleton.models.msg3d:build",
    modalities=_MODALITIES,
    options={
        "base_channels": 96,
        "strides": (1, 2, 2),
        "scales": 13,
        "window_scales": 6,
        "windows": (3, 5),
        "feature_dim": 0,
        "dropout": 0.0,
    },
    presets={
        "full": {},
        "small": {
            "base_channels": 30,
            "strides": (2, 2, 2),
            "scales": 8,
            "window_scales": 3,
            "windows": (3,),
        },
    },
    modality_options=_FRAMES,
    recipe={**_SGD, "lr": 0.1, "weight_decay": 5e-4, "epochs": 50, "batch_size": 32, "warmup_epochs": 0},
    source="Liu et al.: Disentangling and Unifying Graph Convolutions, CVPR 2020, arXiv 2003.14111",
)

_DGSTGCN = ModelSpec(
    name="dg-stgcn",
    summary="groups of learned graphs, temporal branches that see the whole body (Duan et al. 2022)",
    factory="mg_skeleton.models.dgstgcn:build",
    modalities=_MODALITIES,
    options={
        "widths": _TEN_WIDTHS,
        "strides": _TEN_STRIDES,
        "groups": 8,
        "feature_dim": 0,
        "dropout": 0.0,
    },
    presets={"full": {}, "small": _SIX},
    modality_options=_FRAMES,
    # 24 epochs of a set repeated five times, batches of 128
    recipe={**_SGD, "lr": 0.05, "weight_decay": 5e-4, "epochs": 120, "warmup_epochs": 0},
    source="Duan et al.: DG-STGCN: Dynamic Spatial-Temporal Modeling, 2022, arXiv 2210.05895",
)

_HYPERFORMER = ModelSpec(
    name="hyperformer",
    summary="attention that knows hops and limbs of the layout (Zhou et al. 2022)",
    factory="mg_skeleton.models.hyperformer:build",
    modalities=_MODALITIES,
    options={
        "heads": 9,
        "head_channels": 24,
        "strides": _TEN_STRIDES,
        "feature_dim": 0,
        "dropout": 0.0,
    },
    # Attention comes before the stride: fewer frames from the start.
    presets={"full": {}, "small": {"heads": 4, "strides": (1, 2, 1, 2, 1)}},
    modality_options={"full": {"frames": 64}, "small": {"frames": 32, "bones": 0.1}},
    recipe={**_SGD, "lr": 0.025, "weight_decay": 4e-4, "epochs": 140},
    source="Zhou et al.: Hypergraph Transformer for Action Recognition, 2022, arXiv 2211.09590",
)

_SKATEFORMER = ModelSpec(
    name="skateformer",
    summary="attention in four kinds of partition of keypoints and frames (like Do and Kim 2024)",
    factory="mg_skeleton.models.skateformer:build",
    modalities=_MODALITIES,
    options={
        "widths": (96, 192, 192, 192),
        "depths": (2, 2, 2, 2),
        "heads": 32,
        "kernel": 7,
        "window": 8,
        "part_size": 4,
        "mlp_ratio": 4,
        "feature_dim": 0,
        "dropout": 0.0,
        "attention_dropout": 0.5,
        "path_dropout": 0.2,
    },
    presets={
        "full": {},
        "small": {
            "widths": (48, 96, 96),
            "depths": (1, 2, 2),
            "heads": 16,
            "mlp_ratio": 2,
            "attention_dropout": 0.0,
            "path_dropout": 0.1,
        },
    },
    modality_options={"full": {"frames": 64}, "small": {"frames": 32, "bones": 0.1}},
    recipe={
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.1,
        "epochs": 500,
        "batch_size": 128,
        "warmup_epochs": 25,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "flip": True,
        "loss": {"name": "cross-entropy", "options": {}},
    },
    source="Do, Kim: SkateFormer: Skeletal-Temporal Transformer, ECCV 2024, arXiv 2403.09508",
)

GRAPH_MODELS = (_CTRGCN, _MSG3D, _DGSTGCN, _HYPERFORMER, _SKATEFORMER)
