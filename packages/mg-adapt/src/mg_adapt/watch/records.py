"""The record of ``mg watch``; imports the contract only."""

from __future__ import annotations

from mg_data.contract import CommandSpec, Param


def _number(name: str, help: str) -> Param:
    return Param(name=name, type="float", help=help)


COMMANDS = (
    CommandSpec(
        path=("watch",),
        summary="Find the gestures in whole videos: a timeline of segments with class and confidence.",
        factory="mg_adapt.watch.command:watch",
        params=(
            Param(
                name="checkpoints",
                help="checkpoints of 'mg train' with one list of classes",
                role="input",
                type="path",
                positional=True,
                multiple=True,
                required=True,
            ),
            Param(
                name="clips",
                help="clips store of whole videos, one clip each ('mg data pose')",
                role="input",
                type="path",
                required=True,
            ),
            Param(
                name="out",
                help="timeline to write: .json, .csv, .eaf (ELAN) or .TextGrid (Praat); several may be given",
                role="output",
                type="path",
                required=True,
                multiple=True,
                flags=("-o",),
            ),
            Param(
                name="crops",
                help="streams store of the same whole videos, for checkpoints over frames",
                role="input",
                type="path",
            ),
            Param(
                name="fusion",
                help="fusion.json with the vote's weights and temperature (otherwise equal weights)",
                role="input",
                type="path",
            ),
            Param(name="only", help="video to watch (default: all)", multiple=True),
            _number("fps", "frames per second, where the store does not tell"),
            _number("window", "seconds of a window (default: 1.5)"),
            _number("step", "seconds from window to window (default: 0.2)"),
            _number("enter", "least probability that begins a segment (default: 0.5)"),
            _number("leave", "a segment lasts as long as its class has at least this (default: 0.3)"),
            _number("smooth", "seconds that probabilities are smoothed by, 0 = not at all (default: 0.2)"),
            _number("merge", "segments of a class no farther apart than so many seconds are one (0.2)"),
            _number("min_duration", "seconds that a segment lasts at least (default: 0.4)"),
            _number("overlap", "IoU with a more confident segment above which one is dropped (default: 0.3)"),
            Param(
                name="thresholds",
                help="file of --choose: its values instead of the defaults",
                role="input",
                type="path",
            ),
            Param(name="background", help="class that is no gesture", multiple=True),
            Param(
                name="truth",
                help="annotations to score by: csv (video_id,start,stop,class_name) or a clips store",
                role="input",
                type="path",
            ),
            Param(
                name="labels",
                help="labels of a --truth store (default: labels.csv beside it)",
                role="input",
                type="path",
            ),
            Param(name="iou", type="float", default=0.5, help="IoU from which on a segment is right"),
            Param(
                name="choose",
                help="choose thresholds on --truth, not to be judged by these videos, and write them here",
                role="output",
                type="path",
            ),
            Param(name="overlay", help="mp4 to draw, with skeleton and segments", role="output", type="path"),
            Param(
                name="video",
                help="file of the video, or folder of all, for the overlay and the frame rate",
                role="input",
                type="path",
            ),
            Param(name="size", type="int", default=480, help="longer side of the overlay in pixels"),
            Param(name="batch_size", type="int", default=32, help="windows in one forward pass"),
            Param(name="threads", type="int", default=0, help="torch threads, 0 = torch's own choice"),
            Param(name="device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N"),
        ),
    ),
)
