"""mg-data's own commands; the heavy part of each is named by its factory."""

from __future__ import annotations

from mg_data.contract.specs import CommandSpec, Param

_JSON_NOTE = "(use --json for all of it)"

COMMANDS = (
    CommandSpec(
        path=("plugins",),
        summary="List plugins: distribution, version, state, and what each adds.",
        factory="mg_data.cli.inspect:plugins",
    ),
    CommandSpec(
        path=("plugins", "check"),
        summary="Check an installed plugin against the contract; say how many checks ran.",
        factory="mg_data.cli.plugin_check:check",
        params=(
            Param(name="distribution", positional=True, required=True, help="name of its distribution"),
            Param(
                name="level",
                default="api",
                choices=("api", "quality"),
                help="quality also trains each model for twenty steps",
            ),
        ),
    ),
    CommandSpec(
        path=("plugins", "new"),
        summary="Write a plugin to start from: a distribution that passes the checks as it is.",
        factory="mg_data.cli.plugin_new:new",
        params=(
            Param(name="name", positional=True, required=True, help="its distribution, such as mg-demo"),
            Param(
                name="kind",
                required=True,
                choices=("model", "modality", "dataset", "fuser", "pose"),
                help="what it adds",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                help="folder to write, default: its name",
            ),
        ),
    ),
    CommandSpec(
        path=("models",),
        summary="List trainable models, their modalities and presets.",
        factory="mg_data.cli.inspect:models",
    ),
    CommandSpec(
        path=("layouts",),
        summary="List keypoint layouts.",
        factory="mg_data.cli.layouts:layouts",
    ),
    CommandSpec(
        path=("layouts", "show"),
        summary=f"Show a keypoint layout: names, parents, pairs; draw it {_JSON_NOTE}.",
        factory="mg_data.cli.layouts:show",
        params=(
            Param(name="name", positional=True, required=True, help="layout, such as openpose-68"),
            Param(name="plot", type="path", role="output", help="PNG of the layout to write"),
        ),
    ),
    CommandSpec(
        path=("doctor",),
        summary="Check this installation: versions, builds, disk, devices, plugins.",
        factory="mg_data.cli.doctor:doctor",
    ),
    CommandSpec(
        path=("explore",),
        summary="Look at the clips of a run in the browser: filter, play, correct (extra 'explore').",
        factory="mg_data.explore.command:explore",
        params=(
            Param(name="run", type="path", positional=True, required=True, help="folder of 'mg run'"),
            Param(name="port", type="int", default=8765, help="of this machine alone; 0 takes any free one"),
            Param(name="browser", type="bool", default=True, help="open the page"),
        ),
    ),
    CommandSpec(
        path=("store", "info"),
        summary=f"Describe a store: header, rows, taint, provenance {_JSON_NOTE}.",
        factory="mg_data.cli.stores:info",
        params=(
            Param(name="path", type="path", role="input", positional=True, required=True, help="a store"),
        ),
    ),
    CommandSpec(
        path=("store", "check"),
        summary="Check stores completely: structure, checksums, digest.",
        factory="mg_data.cli.stores:check",
        params=(
            Param(
                name="paths",
                type="path",
                role="input",
                positional=True,
                multiple=True,
                required=True,
                help="stores",
            ),
        ),
    ),
    CommandSpec(
        path=("store", "merge"),
        summary="Join stores without common clips, such as the shards of one run.",
        factory="mg_data.cli.stores:merge",
        params=(
            Param(
                name="paths",
                type="path",
                role="input",
                positional=True,
                multiple=True,
                required=True,
                help="stores of one kind",
            ),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="store to write",
            ),
            Param(name="partial", type="bool", default=False, help="although shards of the run are missing"),
        ),
    ),
    CommandSpec(
        path=("store", "export"),
        summary="Write a score, pseudo, split or feature store as npz or csv.",
        factory="mg_data.cli.stores:export",
        params=(
            Param(name="path", type="path", role="input", positional=True, required=True, help="a store"),
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                required=True,
                help="file to write; its ending (.npz or .csv) decides the form",
            ),
        ),
    ),
)

# Which package brings a command, so that a missing one can be named.
HOMES = {
    "train": "mg-adapt",
    "predict": "mg-adapt",
    "adapt": "mg-adapt",
    "run": "mg-adapt",
    "ablate": "mg-adapt",
    "shot": "mg-adapt",
    "dann": "mg-adapt",
    "folds": "mg-adapt",
    "watch": "mg-adapt",
    "calibrate": "mg-fusion",
    "compare": "mg-fusion",
    "fuse": "mg-fusion",
    "score": "mg-fusion",
    "submit": "mg-fusion",
    "report": "mg-fusion",
}
GROUP_SUMMARIES = {
    "folds": "Leave people out of a split, and join what was said of them.",
    "data": "Import, split, crop, synthesise and describe data.",
    "store": "Look into stores, check and export them.",
    "models": "List, convert and export models.",
    "layouts": "List and draw keypoint layouts.",
    "plugins": "List plugins, check them, begin a new one.",
}
