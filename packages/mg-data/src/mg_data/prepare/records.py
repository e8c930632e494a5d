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
            Param(
                name="scale",
                type="float",
                help="share of the challenge's clips, with its classes, people, videos and lists; "
                "1.0 writes 18,232 clips",
            ),
            Param(
                name="clips", type="int", help="number of labelled clips, if not by --scale; 400 if not given"
            ),
            Param(
                name="subjects",
                type="int",
                help="number of people, each with a style of their own; 8 if not given",
            ),
            Param(name="videos_per_subject", type="int", help="videos of each person; 2 if not given"),
            Param(
                name="classes",
                type="int",
                help="use the most frequent classes of the 32; all if not given",
            ),
            Param(name="size", default="1280x720", help="HEIGHTxWIDTH of the videos in pixels, even numbers"),
            Param(name="fps", type="float", default=25.0, help="frames per second of the videos"),
            Param(
                name="keypoints",
                default="both",
                choices=("both", "openpose", "light_hand"),
                help="keypoint files to write",
            ),
            Param(name="video", type="bool", default=True, help="write the mp4 files"),
            Param(
                name="scene",
                choices=("studio", "press"),
                help="press has patterned clothes, occlusions and motion behind the person; the default with "
                "--scale, studio with --clips",
            ),
            Param(
                name="occlusion",
                type="float",
                help="share of clips in which something hides a hand; 0.15 in the scene press",
            ),
            Param(
                name="movers",
                type="float",
                help="share of videos with motion behind the person; 0.6 in the scene press",
            ),
            Param(
                name="pause",
                type="float",
                default=0.0,
                help="seconds, on average, that a person sits still between two gestures",
            ),
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
            Param(
                name="labels",
                type="path",
                role="output",
                help="labels.csv to write; may be left out where no clip has a label",
            ),
            Param(
                name="options",
                type="json",
                multiple=True,
                flags=("--option",),
                help="options of the importer: key=value or JSON",
            ),
            Param(
                name="collection",
                default="",
                help="name of these recordings; clips of one id in two collections are then different clips",
            ),
            *_BULK,
        ),
    ),
    StageSpec(
        name="pose",
        path=("data", "pose"),
        summary="Find people in videos by a pose estimator: a clips store of keypoints.",
        factory="mg_data.prepare.pose:pose",
        writes=("clips",),
        params=(
            Param(
                name="videos",
                type="path",
                role="input",
                positional=True,
                multiple=True,
                required=True,
                help="video files, and folders that are searched for them",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="clips store to write, one clip for each video",
            ),
            Param(name="estimator", required=True, help="a registered pose estimator"),
            Param(
                name="options",
                type="json",
                multiple=True,
                flags=("--option",),
                help="options of the estimator: key=value or JSON",
            ),
            Param(name="persons", type="int", default=1, help="people kept of each video"),
            Param(name="min_confidence", type="float", default=0.05, help="points below it become 0, 0, 0"),
            Param(
                name="smooth",
                default="none",
                choices=("none", "one-euro", "gaussian"),
                help="filter of the positions over time",
            ),
            Param(name="dataset", default="videos", help="name of the data set, part of each clip's key"),
            Param(name="stride", type="int", default=1, help="estimate every so many frames"),
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
                name="table",
                type="path",
                role="input",
                help="csv of clips whose column split says train, val or target, instead of a protocol",
            ),
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
            Param(
                name="stream",
                default="rgb",
                help="stream of frames, such as rgb or depth; flow and taylor are derived from colour",
            ),
            Param(name="size", type="int", default=224, help="side of square crops in pixels"),
            Param(name="shape", default="square", help="square, or WIDTHxHEIGHT of the crops in pixels"),
            Param(
                name="box", default="clip", choices=("clip", "frame"), help="one box a clip, or one a frame"
            ),
            Param(
                name="smooth",
                type="float",
                default=4.0,
                help="frames (sigma) that smooth the boxes of frames",
            ),
            Param(
                name="extremes",
                default="steady",
                choices=("steady", "all"),
                help="whether the box passes over keypoints that jump for a frame or two",
            ),
            Param(
                name="margin", type="float", default=0.2, help="each side moves out by this share of the box"
            ),
            Param(name="min_confidence", type="float", default=0.1, help="a keypoint counts above this"),
            Param(name="full_frame", type="bool", default=False, help="keep the whole frame"),
            Param(
                name="padding",
                default="zero",
                choices=("zero", "replicate", "reflect"),
                help="what lies beyond the frame's border",
            ),
            Param(name="quality", type="int", default=90, help="JPEG quality of colour streams, 1 to 100"),
            Param(
                name="max_frames", type="int", default=0, help="evenly spaced frames kept of a clip; 0 = all"
            ),
            *_BULK,
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
            Param(name="plot", type="path", role="output", help="PNG of the long tail to write"),
        ),
    ),
    CommandSpec(
        path=("data", "check"),
        summary="Look for what would spoil training or a score; exit code 5 if there are errors.",
        factory="mg_data.prepare.check:check",
        params=(
            _CLIPS,
            Param(name="labels", type="path", role="input", help="labels.csv"),
            Param(name="split", type="path", role="input", help="split store"),
            Param(name="crops", type="path", role="input", multiple=True, help="crop stores"),
            Param(
                name="max_missing",
                type="float",
                default=0.5,
                help="report clips that miss more than this share of their keypoints",
            ),
            Param(
                name="max_outside",
                type="float",
                default=0.05,
                help="report clips with more than this share of keypoints outside the image",
            ),
        ),
    ),
    CommandSpec(
        path=("data", "preview"),
        summary="Draw skeletons and crop boxes on frames: a sheet (.png) or a video (.mp4).",
        factory="mg_data.prepare.preview:preview",
        params=(
            _CLIPS,
            Param(
                name="root",
                type="path",
                role="input",
                positional=True,
                help="raw tree with the frames; a blank canvas without it",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="file to write; its ending (.png or .mp4) decides the form",
            ),
            Param(name="clip", multiple=True, help="ids of the clips to show"),
            Param(name="count", type="int", default=4, help="evenly spaced clips, if none is named"),
            Param(
                name="frames",
                type="int",
                default=0,
                help="frames of each clip; 0 = 6 on a sheet, all in a video",
            ),
            Param(name="crops", type="path", role="input", help="crop store whose boxes are drawn"),
            Param(name="stream", default="", help="stream of frames; the first of the data set by default"),
            Param(name="layout", default="", help="draw the keypoints as another layout"),
            Param(name="size", type="int", default=480, help="longer side of a drawn frame in pixels"),
            Param(name="min_confidence", type="float", default=0.1, help="a keypoint is drawn above this"),
            Param(name="heatmap", type="bool", default=False, help="beside each frame its keypoint heatmaps"),
            Param(name="fps", type="float", default=25.0, help="frames per second of a video"),
        ),
    ),
)
