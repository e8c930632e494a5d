"""Stages and commands of data preparation. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import CommandSpec, Param, StageSpec

_CLIPS = Param(
    name="clips", type="path", role="input", positional=True, required=True, help="clips store (clips.h5)"
)

# Options of every command that walks over recordings (mg_data.prepare.parallel).
_BULK = (
    Param(name="workers", type="int", default=1, in_key=False, help="processes"),
    Param(name="shard", default="", help="i/n: only the i-th of n parts of the recordings"),
    Param(
        name="keep_going", type="bool", default=False, help="leave out recordings that fail, and report them"
    ),
    Param(
        name="resume",
        type="bool",
        default=False,
        in_key=False,
        help="keep finished recordings in OUT.parts until all are, and start from those",
    ),
)

STAGES: tuple[StageSpec, ...] = (
    StageSpec(
        name="synth",
        path=("data", "synth"),
        summary="Write a synthetic corpus in the file layouts of the MiGA challenge.",
        factory="mg_data.prepare.synth:synth",
        writes=("folder",),
        params=(
            Param(
                name="out", type="path", role="output", positional=True, required=True, help="folder to write"
            ),
            Param(name="clips", type="int", default=400, help="number of labelled clips"),
            Param(
                name="subjects",
                type="int",
                default=8,
                help="number of people, each with a style of their own",
            ),
            Param(name="videos_per_subject", type="int", default=2, help="videos of each person"),
            Param(name="classes", type="int", default=32, help="use the most frequent classes of the 32"),
            Param(name="size", default="1280x720", help="HEIGHTxWIDTH of the videos in pixels, even numbers"),
            Param(name="fps", type="float", default=25.0, help="frames per second of the videos"),
            Param(name="seed", type="int", default=0, help="the corpus is a function of its options alone"),
            Param(name="workers", type="int", default=1, in_key=False, help="processes"),
        ),
    ),
    StageSpec(
        name="import",
        path=("data", "import"),
        summary="Import a raw data set: a clips store, and the labels beside it.",
        factory="mg_data.prepare.importing:import_data",
        writes=("clips", "labels.csv"),
        params=(
            Param(name="name", positional=True, required=True, help="data set, such as imigue or utd-mhad"),
            Param(
                name="source", type="path", role="input", positional=True, required=True, help="its raw tree"
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="clips store to write",
            ),
            Param(name="labels", type="path", role="output", required=True, help="labels.csv to write"),
            Param(
                name="options",
                type="json",
                multiple=True,
                flags=("--option",),
                help="options of the importer: key=value or JSON",
            ),
            *_BULK,
        ),
    ),
    StageSpec(
        name="split",
        path=("data", "split"),
        summary="Divide clips into train, val and an unlabelled target, by a protocol.",
        factory="mg_data.prepare.split:split",
        reads=("clips", "labels.csv"),
        writes=("split",),
        params=(
            _CLIPS,
            Param(
                name="labels",
                type="path",
                role="input",
                positional=True,
                required=True,
                help="labels.csv, the truth",
            ),
            Param(
                name="protocol", type="path", role="input", help="TOML file with [train], [val] and [target]"
            ),
            Param(name="protocol_json", type="json", help="the protocol's table itself, instead of a file"),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="split store to write",
            ),
        ),
    ),
    StageSpec(
        name="crop",
        path=("data", "crop"),
        summary="Cut the person out of every clip's frames into a crop store.",
        factory="mg_data.prepare.crop:crop",
        reads=("clips",),
        writes=("streams",),
        params=(
            _CLIPS,
            Param(
                name="root",
                type="path",
                role="input",
                positional=True,
                required=True,
                help="raw tree with the frames",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="crop store to write",
            ),
            Param(name="stream", default="rgb", help="stream of frames, such as rgb or depth"),
            Param(name="size", type="int", default=224, help="side of the crops in pixels"),
            Param(
                name="margin", type="float", default=0.2, help="each side moves out by this share of the box"
            ),
            Param(name="min_confidence", type="float", default=0.1, help="a keypoint counts above this"),
            Param(name="full_frame", type="bool", default=False, help="keep the whole frame, made square"),
            Param(name="quality", type="int", default=90, help="JPEG quality of colour streams, 1 to 100"),
            Param(
                name="max_frames", type="int", default=0, help="evenly spaced frames kept of a clip; 0 = all"
            ),
            Param(name="workers", type="int", default=1, in_key=False, help="processes"),
        ),
    ),
)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        path=("data", "merge-labels"),
        summary="Join the labels.csv files of the shards of an import.",
        factory="mg_data.prepare.importing:merge_labels",
        params=(
            Param(
                name="paths",
                type="path",
                role="input",
                positional=True,
                multiple=True,
                required=True,
                help="labels.csv files without a common clip",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="labels.csv to write",
            ),
        ),
    ),
    CommandSpec(
        path=("data", "stats"),
        summary="Count clips, frames, subjects and classes; draw the long tail.",
        factory="mg_data.prepare.stats:stats",
        params=(
            _CLIPS,
            Param(name="labels", type="path", role="input", help="labels.csv, for counts by class"),
            Param(name="split", type="path", role="input", help="split store, for counts by part"),
            Param(name="plot", type="path", role="output", help="PNG of the class counts to write"),
        ),
    ),
)
