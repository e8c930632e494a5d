"""Records of the models of this package. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import CommandSpec, ModelSpec, Param
from mg_skeleton.records_graphs import GRAPH_MODELS
from mg_skeleton.records_heatmaps import HEATMAP_MODELS

_DECOUPLED_STCNN = ModelSpec(
    name="decoupled-stcnn",
    summary="(1 x 3) spatial and (5 x 1) temporal convolutions over keypoints (paper 3.1)",
    source="Zhang et al.: A Multi-Modal Framework with Cross-Subject Pseudo-Labeling and Semantic Alignment "
    "for Micro-Gesture Recognition",
    factory="mg_skeleton.models.decoupled_stcnn:build",
    modalities=("joint", "joint-motion", "limb", "limb-motion", "motion"),
    options={
        "widths": (64, 64, 128, 128, 256),
        "strides": (1, 1, 2, 1, 2),
        "feature_dim": 0,
        "dropout": 0.3,
        "block_dropout": 0.0,
        "point_embedding": True,
        "order": "layout",
        "order_seed": 0,
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
    source="Duan et al.: Revisiting Skeleton-based Action Recognition, CVPR 2022, arXiv 2104.13586",
    factory="mg_skeleton.models.posec3d:build",
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
        "weights": "",
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

_STGCN = ModelSpec(
    name="st-gcn",
    summary="graph convolutions over keypoints and 9 x 1 over time, the paper's baseline (section 4.4)",
    factory="mg_skeleton.models.stgcn:build",
    modalities=("joint", "joint-motion", "limb", "limb-motion", "motion"),
    options={
        "widths": (64, 64, 64, 64, 128, 128, 128, 256, 256, 256),
        "strides": (1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
        "reach": 0,
        "feature_dim": 0,
        "dropout": 0.0,
        "block_dropout": 0.0,
        "weights": "",
    },
    presets={
        "full": {},
        # For two processor cores: half the frames from the second block on, no block twice.
        "small": {
            "widths": (32, 48, 96, 128),
            "strides": (1, 2, 2, 1),
            "feature_dim": 128,
            "dropout": 0.3,
        },
        # For demonstrations and tests.
        "tiny": {"widths": (16, 32, 64), "strides": (2, 2, 1), "feature_dim": 64, "dropout": 0.2},
    },
    modality_options={
        "full": {"frames": 64},
        "small": {"frames": 64, "bones": 0.1},
        "tiny": {"frames": 32},
    },
    # Optimisation as for decoupled-stcnn: the two are compared.
    recipe=_DECOUPLED_STCNN.recipe,
    source="Yan, Xiong, Lin: Spatial Temporal Graph Convolutional Networks, AAAI 2018, arXiv 1801.07455",
)

MODELS = (_DECOUPLED_STCNN, _POSEC3D, _STGCN, *GRAPH_MODELS, *HEATMAP_MODELS)

COMMANDS = (
    CommandSpec(
        path=("models", "convert"),
        summary="Turn a public checkpoint into initial weights of a model, without running its code.",
        factory="mg_skeleton.convert:convert",
        params=(
            Param(
                name="checkpoint",
                type="path",
                role="input",
                positional=True,
                required=True,
                help="a checkpoint (.pth)",
            ),
            Param(
                name="source",
                flags=("--from",),
                choices=("pyskl", "mmaction2", "ctr-gcn"),
                required=True,
                help="where it was trained",
            ),
            Param(
                name="out",
                flags=("-o",),
                type="path",
                role="output",
                required=True,
                help="the file to write; give it to the model's option weights",
            ),
            Param(
                name="model",
                choices=("posec3d", "st-gcn", "ctr-gcn"),
                help="found by the names of its tensors by default",
            ),
            Param(name="layout", help="layout of its keypoints; found by its graph by default", default=""),
        ),
    ),
    CommandSpec(
        path=("models", "export"),
        summary="Turn a checkpoint of any model into ONNX, checked by onnxruntime (extra onnx).",
        factory="mg_skeleton.export:export",
        params=(
            Param(
                name="checkpoint",
                type="path",
                role="input",
                positional=True,
                required=True,
                help="a checkpoint of 'mg train'",
            ),
            Param(
                name="out",
                flags=("-o",),
                type="path",
                role="output",
                required=True,
                help="the ONNX file to write",
            ),
        ),
    ),
)
