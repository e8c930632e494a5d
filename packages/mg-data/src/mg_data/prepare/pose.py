"""``mg data pose``: people found in videos by a registered estimator -> a clips store of keypoints.

Each video becomes one clip with all its frames; labelled clips are cut out of it by ``mg data import clips``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mg_data.contract import (
    Console,
    DataError,
    LayoutSpec,
    PluginError,
    PoseEstimatorSpec,
    StageResult,
    UsageError,
)
from mg_data.datasets.videos import UNLABELLED, find_videos
from mg_data.keypoints.smoothing import METHODS, Method
from mg_data.plugins import registry
from mg_data.prepare.extras import check_flags, check_option_names, require
from mg_data.prepare.parallel import Parts, Shard, Work, fingerprint, is_complete, report_dropped
from mg_data.prepare.pose_video import (
    Settings,
    VideoJob,
    VideoPose,
    estimate_video,
    scale_factors,
)
from mg_data.store import ClipsWriter, Provenance, open_clips
from mg_data.video.decode import frame_rates, video_size

_COMMAND = "mg data pose"
# Frames per second, where a video does not tell.
_USUAL_RATE = 25.0
# A video of which less than this share of the stated frames decodes may have been cut off.
_WHOLE = 0.9
# A person who is seen in fewer frames than this share of a video is worth a word.
_SELDOM = 0.5


def _writer(path: Path, settings: Settings, dataset: str, provenance: Provenance) -> ClipsWriter:
    return ClipsWriter(
        path,
        dataset=dataset,
        class_names=(UNLABELLED,),
        vocabulary=UNLABELLED,
        layout=settings.layout,
        image_size=settings.image_size,
        provenance=provenance,
    )


def _add(writer: ClipsWriter, video: VideoPose) -> None:
    writer.add(
        clip_id=video.name,
        subject_id="",
        video_id=video.name,
        start=0,
        stop=len(video.joints),
        joints=video.joints,
    )


def _parts(out: Path, settings: Settings, dataset: str) -> Parts[VideoPose]:
    """Keep the videos of a resumable run as stores of one clip."""

    def save(video: VideoPose, path: Path) -> None:
        facts = (*video.size, video.found, video.removed, video.stated)
        config = {"facts": [int(number) for number in facts]}
        with _writer(path, settings, dataset, Provenance(command=_COMMAND, config=config)) as writer:
            _add(writer, video)

    def load(path: Path) -> VideoPose:
        store = open_clips(path)
        width, height, *facts = store.provenance.config["facts"]
        video = VideoPose(str(store.clip_ids[0]), store.joints(0), (width, height), *facts)
        store.close()
        return video

    return Parts.beside(out, save, load)


def _check_options(
    spec: PoseEstimatorSpec,
    options: Mapping[str, Any],
    persons: int,
    min_confidence: float,
    smooth: str,
    stride: int,
) -> None:
    check_option_names(f"pose estimator '{spec.name}'", options, spec.options)
    check_flags(f"pose estimator '{spec.name}'", options, spec.options)
    for name, value, low, high in (
        ("persons", persons, 1, 100),
        ("min-confidence", min_confidence, 0.0, 1.0),
        ("stride", stride, 1, 1000),
    ):
        if not low <= value <= high:
            raise UsageError(f"data pose: --{name} is {value}, wanted {low:g} to {high:g}")
    if smooth not in METHODS:
        raise UsageError(f"data pose: --smooth is '{smooth}', wanted one of: {', '.join(METHODS)}")


def _layout(spec: PoseEstimatorSpec, plugin: str) -> LayoutSpec:
    layout: LayoutSpec = registry().get("layouts", spec.layout)
    if layout.dims != "xy":
        raise PluginError(
            f"pose estimator '{spec.name}' of {plugin}: its layout '{layout.name}' is three-dimensional, "
            "wanted one of x, y and confidence"
        )
    return layout


def _reference(videos: Mapping[str, Path]) -> tuple[str, tuple[int, int]]:
    """Return path and (width, height) of the first video that can be read: every shard finds the same.

    Raises:
        DataError: there is none.
    """
    problem: DataError | None = None
    for path in videos.values():
        try:
            return str(path), video_size(path)
        except DataError as error:
            problem = problem or error
    assert problem is not None
    if len(videos) == 1:
        raise problem
    raise DataError(f"{problem} (nor can any other of the {len(videos)} videos be read)")


def _check_shapes(jobs: Sequence[VideoJob], reference: str) -> None:
    """Raise DataError for a video that will not fit into the store, before hours of work."""
    for job in jobs:
        try:
            size = video_size(job.path)
        except DataError:
            continue
        scale_factors(job.path, size, job.settings.image_size, reference)


@dataclass
class _Tally:
    """What was written, for the report."""

    frames: int = 0
    found: int = 0
    removed: int = 0
    scaled: int = 0
    cut: dict[str, tuple[int, int]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    def add(self, video: VideoPose, settings: Settings) -> None:
        self.frames += len(video.joints)
        self.found += video.found
        self.removed += video.removed
        self.scaled += video.size != settings.image_size
        self.shares[video.name] = round(video.found / len(video.joints), 4)
        if len(video.joints) < _WHOLE * video.stated - 2:
            self.cut[video.name] = (len(video.joints), video.stated)


def pose(
    *,
    videos: Sequence[Path],
    out: Path,
    estimator: str,
    options: Mapping[str, Any] | None = None,
    persons: int = 1,
    min_confidence: float = 0.05,
    smooth: str = "none",
    dataset: str = "videos",
    stride: int = 1,
    workers: int = 1,
    shard: str = "",
    keep_going: bool = False,
    resume: bool = False,
    console: Console,
) -> StageResult:
    """Write the clips store ``out``: one clip for each video, with the people of all its frames.

    The store's image is that of the first video; keypoints of videos of the same shape but another size are
    scaled to it (as ``mg data crop`` expects).

    Args:
        videos: files, and folders that are searched for video files.
        estimator: a registered pose estimator. options: its options.
        persons: people kept of each video, the most prominent ones; places of missing people are zero.
        min_confidence: points below it become 0, 0, 0.
        smooth: filter of the positions over time: ``none``, ``one-euro`` or ``gaussian``.
        dataset: name of the data set, part of every clip's key.
        stride: estimate every so many frames; points in between lie on straight lines.
        workers: processes; the store's digest does not depend on it.
        shard: ``i/n`` takes only the videos of this part (by the hash of their name).
        keep_going: leave out videos that cannot be used, and report them, instead of stopping there.
        resume: keep each finished video in ``<out>.parts`` until all are, and start from what is there.

    Raises:
        PluginError: no such estimator, or one that breaks the contract. UsageError: a value out of range.
        DataError: a video that cannot be decoded, shows nobody or is of another shape; no video.
    """
    require("data pose", "av", "scipy")
    spec: PoseEstimatorSpec = registry().get("pose_estimators", estimator)
    part = Shard.parse(shard)
    chosen = dict(options or {})
    _check_options(spec, chosen, persons, min_confidence, smooth, stride)
    plugin = registry().version_of("pose_estimators", estimator)
    layout = _layout(spec, plugin)
    found = find_videos(videos)
    reference, image_size = _reference(found)
    settings = Settings(
        estimator=estimator,
        plugin=plugin,
        factory=spec.factory,
        options={**spec.options, **chosen},
        layout=layout.name,
        num_keypoints=len(layout.names),
        persons=persons,
        min_confidence=min_confidence,
        smooth=cast("Method", smooth),
        stride=stride,
        image_size=image_size,
    )
    mine = {name: path for name, path in found.items() if part.holds(name)}
    rates = frame_rates(mine)  # what cannot be read fails when its turn comes
    jobs = [VideoJob(name, path, rates.get(name, _USUAL_RATE), settings) for name, path in mine.items()]
    if not jobs:
        text = f"shard {part} holds none of the {len(found)} videos: nothing is written"
        return StageResult(data={"videos": 0, "shard": str(part)}, text=text)
    if not keep_going:
        _check_shapes(jobs, reference)
    fps: Any = next(iter(rates.values())) if len(set(rates.values())) == 1 else rates
    config = {**settings.facts(), "dataset": dataset, **part.facts(len(jobs), len(found))}
    if part.count == 1:  # the configurations of shards are equal, or they cannot be merged
        config["fps"] = fps
    provenance = Provenance(
        command=_COMMAND,
        config=config,
        inputs={"files": fingerprint(config, [job.path for job in jobs])},
    )
    if resume and is_complete(out, provenance):
        _parts(out, settings, dataset).remove_if_free()
        return StageResult(data={"complete": True}, text=f"{out}: is complete, nothing to do")
    work: Work[VideoJob, VideoPose] = Work(
        estimate_video,
        lambda job: job.name,
        workers=workers,
        keep_going=keep_going,
        parts=_parts(out, settings, dataset) if resume else None,
        key_of=lambda job: fingerprint([settings.facts(), dataset, job.name], [job.path]),
    )
    tally = _Tally()
    with (
        work.held(),
        _writer(out, settings, dataset, provenance) as writer,
        console.progress(f"pose {estimator}", len(jobs)) as bar,
    ):
        for _job, video in work(jobs):
            _add(writer, video)
            tally.add(video, settings)
            bar.advance(note=video.name)
        if not tally.shares:
            first = work.dropped[0]
            raise DataError(f"not one of {len(jobs)} video(s) could be used, the first reason: {first.why}")
    _report(tally, work, settings, console)
    return _result(out, settings, tally, writer.digest, work, fps)


def _report(tally: _Tally, work: Work[VideoJob, VideoPose], settings: Settings, console: Console) -> None:
    report_dropped(work.dropped, console)
    seldom = sorted((share, name) for name, share in tally.shares.items() if share < _SELDOM)
    if seldom:
        share, name = seldom[0]
        console.warn(
            f"{len(seldom)} video(s) show a person in less than {_SELDOM:.0%} of their frames, the least "
            f"'{name}' with {share:.0%}"
        )
    for name, (frames, stated) in tally.cut.items():
        console.warn(f"'{name}' may be cut off: {frames} frames decode of about {stated} that it states")
    if tally.scaled:
        width, height = settings.image_size
        console.say(f"keypoints of {tally.scaled} video(s) of another size are scaled to {width}x{height}")


def _result(
    out: Path, settings: Settings, tally: _Tally, digest: str, work: Work[VideoJob, VideoPose], fps: Any
) -> StageResult:
    return StageResult(
        data={
            "videos": len(tally.shares),
            "frames": tally.frames,
            "found": tally.shares,
            "removed_points": tally.removed,
            "cut_off": {name: list(counts) for name, counts in tally.cut.items()},
            "fps": fps,
            "digest": digest,
            "dropped": [{"what": item.what, "why": item.why} for item in work.dropped],
            "resumed": work.resumed,
        },
        text=f"{out}: {settings.layout} keypoints of {len(tally.shares)} videos, {tally.frames} frames, "
        f"a person in {tally.found / tally.frames:.1%} of them",
    )
