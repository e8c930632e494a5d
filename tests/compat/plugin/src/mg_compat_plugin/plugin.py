"""All hooks of contract 1.0, each record with all its fields."""

from mg_data.contract import (
    AdapterSpec,
    CommandSpec,
    DatasetSpec,
    FuserSpec,
    LayoutSpec,
    LossSpec,
    ModalitySpec,
    ModelSpec,
    Param,
    PoseEstimatorSpec,
    StageSpec,
    TrackerSpec,
    WeightsSpec,
    hookimpl,
)

_WORK = "mg_compat_plugin.work"


@hookimpl
def mg_register_datasets():
    return [
        DatasetSpec(
            name="compat-toy",
            summary="Clips made by a rule",
            factory=f"{_WORK}:import_toy",
            frames=f"{_WORK}:ToyFrames",
            streams=("rgb",),
            mirror_classes=((0, 1),),
            options={"clips": 6},
        )
    ]


@hookimpl
def mg_register_layouts():
    return [
        LayoutSpec(
            name="compat-three",
            summary="Head and two hands",
            names=("head", "left", "right"),
            edges=((0, 1), (0, 2)),
            pairs=((1, 2),),
            centre=0,
            parents=(0, 0, 0),
            source="",
            columns=(),
            dims="xy",
            figure=((0.0, 0.0), (1.0, 1.0), (-1.0, 1.0)),
        )
    ]


@hookimpl
def mg_register_pose_estimators():
    return [
        PoseEstimatorSpec(
            name="compat-pose",
            summary="One person in the middle",
            factory=f"{_WORK}:MiddlePose",
            layout="compat-three",
            options={"confidence": 1.0},
        )
    ]


@hookimpl
def mg_register_modalities():
    return [
        ModalitySpec(
            name="compat-mean",
            summary="Mean pose of a clip",
            factory=f"{_WORK}:MeanPose",
            store_kind="clips",
            options={"scale": 1.0},
        )
    ]


@hookimpl
def mg_register_models():
    return [
        ModelSpec(
            name="compat-linear",
            summary="A linear layer",
            factory=f"{_WORK}:build_linear",
            modalities=("compat-mean",),
            options={"bias": True},
            presets={"plain": {"bias": False}},
            modality_options={"plain": {"scale": 2.0}},
            recipe={"epochs": 1},
            weights=(
                WeightsSpec(
                    name="none",
                    url="",
                    filename="none.safetensors",
                    sha256="",
                    licence="CC0-1.0",
                    preprocessing={"scale": 1.0},
                ),
            ),
            source="none",
        )
    ]


@hookimpl
def mg_register_losses():
    return [
        LossSpec(
            name="compat-loss",
            summary="Cross-entropy",
            factory=f"{_WORK}:build_loss",
            kind="classification",
            options={},
        )
    ]


@hookimpl
def mg_register_adapters():
    return [
        AdapterSpec(
            name="compat-top",
            summary="The surest clips",
            factory=f"{_WORK}:top",
            options={"count": 2},
        )
    ]


@hookimpl
def mg_register_fusers():
    return [
        FuserSpec(
            name="compat-median",
            summary="Median of the probabilities",
            factory=f"{_WORK}:median",
            options={},
            fit="",
        ),
        FuserSpec(
            name="compat-best",
            summary="The model that is right most often",
            factory=f"{_WORK}:best",
            options={},
            fit=f"{_WORK}:fit_best",
        ),
    ]


@hookimpl
def mg_register_trackers():
    return [
        TrackerSpec(name="compat-tracker", summary="Nowhere", factory=f"{_WORK}:Nowhere", options={}),
    ]


@hookimpl
def mg_register_stages():
    return [
        StageSpec(
            name="compat-count",
            path=("compat", "count"),
            summary="Count the clips of a store.",
            factory=f"{_WORK}:count",
            params=(
                Param(
                    name="store",
                    help="store to count",
                    role="input",
                    type="path",
                    positional=True,
                    required=True,
                ),
                Param(
                    name="out",
                    help="where to write",
                    role="output",
                    type="path",
                    flags=("-o",),
                    required=True,
                ),
            ),
            reads=("clips",),
            writes=("json",),
        )
    ]


@hookimpl
def mg_register_commands():
    return [
        CommandSpec(
            path=("compat", "hello"),
            summary="Say hello.",
            factory=f"{_WORK}:hello",
            params=(
                Param(name="names", help="whom to greet", positional=True, multiple=True, default=()),
                Param(name="times", help="how often", type="int", default=1),
                Param(name="loud", help="shout", type="bool", default=False, in_key=False),
                Param(name="tone", help="how", choices=("kind", "dry"), default="kind"),
                Param(name="more", help="anything", type="json", default=None),
                Param(name="weight", help="a number", type="float", default=0.5),
            ),
        )
    ]


@hookimpl
def mg_store_written(path, kind):
    # An implementation names the arguments that it wants: not the digest.
    import os
    from pathlib import Path

    log = os.environ.get("COMPAT_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as handle:
            handle.write(f"{kind} {path}\n")
