"""What mg finds: a modality, a model, a command. Imports the contract alone."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import CommandSpec, ModalitySpec, ModelSpec, Param, hookimpl


@hookimpl
def mg_register_modalities() -> Iterable[ModalitySpec]:
    return [
        ModalitySpec(
            name="imu",
            summary="inertial signal (C, T): accelerations in g, rotations in units of 150 deg/s",
            factory="mg_imu.modality:Imu",
            store_kind="features",
            options={
                "signal": "inertial",
                "samples": 128,
                "seconds": 0.0,
                "crop": 0.8,
                "rotate_degrees": 15.0,
                "scale": 0.15,
                "warp": 0.2,
                "noise": 0.05,
            },
            example="mg_imu.modality:write_example",
        )
    ]


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            name="imu-cnn",
            summary="residual 1D convolutions over the samples of an inertial signal",
            factory="mg_imu.model:build",
            modalities=("imu",),
            options={"widths": (64, 128, 256), "feature_dim": 256, "dropout": 0.4},
            presets={"tiny": {"widths": (16, 32), "feature_dim": 64}, "small": {}},
            modality_options={"tiny": {"samples": 64}, "small": {}},
            recipe={
                "optimizer": "adamw",
                "lr": 2e-3,
                "weight_decay": 0.05,
                "epochs": 150,
                "batch_size": 32,
                "warmup_epochs": 5,
                "schedule": "cosine",
                "clip_norm": 1.0,
                "label_smoothing": 0.1,
                # A sensor's axes say nothing of the body's left and right: see mg_imu.modality.
                "flip": False,
                "loss": {"name": "focal", "options": {"gamma": 0.0}},
            },
        )
    ]


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    return [
        CommandSpec(
            path=("imu", "import"),
            summary="Write inertial signals (.mat, .csv, or those of a clips store) as a features store.",
            factory="mg_imu.importing:import_signals",
            params=(
                Param(
                    name="source",
                    type="path",
                    role="input",
                    positional=True,
                    required=True,
                    help="folder of one .mat or .csv file a clip, or a clips store that holds the signal",
                ),
                Param(
                    name="out",
                    type="path",
                    role="output",
                    flags=("-o",),
                    required=True,
                    help="features store to write",
                ),
                Param(
                    name="dataset",
                    default="",
                    help="data set the clips belong to; a clips store tells its own",
                ),
                Param(name="rate_hz", type="float", default=50.0, help="samples a second, for files"),
                Param(
                    name="units",
                    default="g, deg/s",
                    help="of the halves of the channels, for files: g or m/s2, deg/s or rad/s",
                ),
                Param(name="signal", default="inertial", help="name of the signal"),
                Param(name="suffix", default="_inertial", help="what a file's name has behind the clip id"),
            ),
        )
    ]
