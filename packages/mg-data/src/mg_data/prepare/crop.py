"""``mg data crop``: the person of every clip, cut out of the video's frames (paper, section 3.1).

Each video is decoded once, forward, for all its clips (:mod:`mg_data.prepare.crop_video`); several videos at
a time with ``workers``, a part of them with ``shard``. Only what is being worked on is in memory.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_data.contract import Console, DataError, DatasetSpec, Dropped, StageResult, StoreError, UsageError
from mg_data.plugins import registry
from mg_data.prepare.crop_plan import CropPlan
from mg_data.prepare.crop_video import (
    CropOptions,
    CroppedClip,
    CroppedVideo,
    Form,
    VideoJob,
    base_stream,
    crop_video,
    open_source,
)
from mg_data.prepare.extras import require
from mg_data.prepare.parallel import Parts, Shard, Work, fingerprint, is_complete, report_dropped
from mg_data.store import Provenance, StreamsWriter, open_clips, open_streams
from mg_data.video.resample import PADDINGS

_COMMAND = "mg data crop"
BOXES = ("clip", "frame")
EXTREMES = ("steady", "all")


def _check_options(config: dict[str, Any]) -> None:
    for name, low, high in (
        ("size", 8, 4096),
        ("margin", 0.0, 10.0),
        ("quality", 1, 100),
        ("max_frames", 0, 100_000),
        ("smooth", 0.0, 1000.0),
    ):
        if not low <= config[name] <= high:
            option = name.replace("_", "-")
            raise UsageError(f"data crop: --{option} is {config[name]}, wanted {low} to {high}")
    for name, choices in (("box", BOXES), ("extremes", EXTREMES), ("padding", PADDINGS)):
        if config[name] not in choices:
            raise UsageError(f"data crop: --{name} is '{config[name]}', wanted one of: {', '.join(choices)}")


def _crop_size(shape: str, size: int) -> tuple[int, int]:
    """Return (width, height) of the crops."""
    if shape == "square":
        return size, size
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", shape)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (8 <= width <= 4096 and 8 <= height <= 4096):
        raise UsageError(f"data crop: --shape is '{shape}', wanted square or WIDTHxHEIGHT, 8 to 4096 pixels")
    return width, height


def _check_writable(out: Path) -> None:
    """Find out before hours of work that the result could not be written."""
    if out.is_dir():
        raise StoreError(out, "cannot be written: it is a folder", "name a file in it")
    folder = out.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(out, f"cannot be written: {reason}", "nothing was changed") from error


def _open_writer(
    path: Path, dataset: str, stream: str, form: Form, provenance: Provenance | None = None
) -> StreamsWriter:
    return StreamsWriter(
        path,
        dataset=dataset,
        stream=stream,
        encoding=form.encoding,
        channels=form.channels,
        scale=form.scale,
        offset=form.offset,
        provenance=provenance,
    )


def _parts(out: Path, dataset: str, stream: str) -> Parts[CroppedVideo]:
    """Keep the videos of a resumable run as small streams stores; incomplete ones are not kept."""

    def save(video: CroppedVideo, path: Path) -> None:
        if video.dropped or video.form is None:
            return
        with _open_writer(path, dataset, stream, video.form) as writer:
            for clip in video.clips:
                writer.add(clip_id=clip.clip_id, frames=clip.frames, boxes=clip.boxes)

    def load(path: Path) -> CroppedVideo:
        store = open_streams(path)
        clips = [
            CroppedClip(str(clip_id), [frame.tobytes() for frame in store.frame_bytes(row)], store.boxes(row))
            for row, clip_id in enumerate(store.clip_ids)
        ]
        store.close()
        return CroppedVideo(clips, Form(store.encoding, store.channels, store.scale, store.offset))

    return Parts.beside(out, save, load)


@dataclass
class _Tally:
    """What was written."""

    clips: int = 0
    frames: int = 0
    num_bytes: int = 0
    dropped: list[Dropped] = field(default_factory=list)


def _write(
    out: Path, plan: CropPlan, work: Work[VideoJob, CroppedVideo], provenance: Provenance, console: Console
) -> tuple[_Tally, str]:
    """Crop all videos into ``out``; return what was written and the store's digest."""
    tally = _Tally()
    writer: StreamsWriter | None = None
    form: Form | None = None
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(console.progress(f"crop {plan.options.stream}", plan.num_clips))
        for job, video in work(plan.jobs()):
            tally.dropped.extend(video.dropped)
            if video.form is not None:
                if writer is None:
                    form = video.form
                    writer = stack.enter_context(
                        _open_writer(out, plan.store.dataset, plan.options.stream, form, provenance)
                    )
                if video.form != form:
                    assert form is not None
                    raise DataError(
                        f"video '{job.video_id}' has {video.form.channels} channel(s) of "
                        f"{video.form.encoding}, the ones before {form.channels} of {form.encoding}"
                    )
                for clip in video.clips:
                    writer.add(clip_id=clip.clip_id, frames=clip.frames, boxes=clip.boxes)
                    tally.clips += 1
                    tally.frames += len(clip.frames)
                    tally.num_bytes += sum(map(len, clip.frames))
            bar.advance(len(job.clips))
        tally.dropped.extend(work.dropped)
        if writer is None:
            why = f", the first reason: {tally.dropped[0].why}" if tally.dropped else ""
            raise DataError(f"{plan.root}: not one clip could be cropped{why}")
    return tally, writer.digest


def _warn(dropped: Sequence[Dropped], blind: Sequence[str], console: Console) -> None:
    report_dropped(dropped, console)
    if blind:
        console.warn(f"{len(blind)} clip(s) without a visible keypoint keep the whole frame: '{blind[0]}'")


def crop(
    *,
    clips: Path,
    root: Path,
    out: Path,
    stream: str = "rgb",
    size: int = 224,
    shape: str = "square",
    box: str = "clip",
    smooth: float = 4.0,
    extremes: str = "steady",
    margin: float = 0.2,
    min_confidence: float = 0.1,
    full_frame: bool = False,
    padding: str = "zero",
    quality: int = 90,
    max_frames: int = 0,
    workers: int = 1,
    shard: str = "",
    keep_going: bool = False,
    resume: bool = False,
    console: Console,
) -> StageResult:
    """Write the crop store of one stream: frames of every clip, cut to the person, and their boxes.

    The box is that of the visible keypoints' extremes, each side moved out by ``margin``, grown to the
    aspect of the output. Colour becomes JPEG; 16-bit maps become exact PNGs in millimetres (``scale``
    0.001); ``flow`` and ``taylor`` are computed from the crops of a colour stream
    (:mod:`mg_data.video.flow`, :mod:`mg_data.video.taylor`). Clips without a visible keypoint keep the whole
    frame and are reported.

    Args:
        shape: ``square`` (``size`` x ``size``) or WIDTHxHEIGHT in pixels.
        box: one for the ``clip``, or one for each ``frame``, smoothed over ``smooth`` frames (sigma).
        extremes: ``steady`` passes over keypoints that a tracker lost for a frame or two, ``all`` does not.
        padding: what lies beyond the frame: ``zero``, ``replicate`` or ``reflect``.
        max_frames: keep at most so many evenly spaced frames of a clip; 0 keeps all.
        workers: processes; the store's digest does not depend on it.
        shard: ``i/n`` crops only the videos of this part (by the hash of their id).
        keep_going: leave out clips that cannot be cropped, and report them, instead of stopping there.
        resume: keep each finished video in ``<out>.parts`` until all are, and start from what is there;
            nothing is done if ``out`` is complete already.

    Raises:
        UsageError: a value out of range, or a stream that the data set lacks.
        DataError: a video is missing, damaged, too short, or of another shape than the keypoints.
        StoreError: the clips store cannot be read, or the result not be written; nothing is left behind.
    """
    require("data crop", "av", "cv2", "scipy")
    config: dict[str, Any] = {
        "stream": stream,
        "size": size,
        "shape": shape,
        "box": box,
        "smooth": smooth,
        "extremes": extremes,
        "margin": margin,
        "min_confidence": min_confidence,
        "full_frame": full_frame,
        "padding": padding,
        "quality": quality,
        "max_frames": max_frames,
    }
    _check_options(config)
    part = Shard.parse(shard)
    store = open_clips(clips)
    if not len(store):
        raise DataError(f"{clips}: holds no clip")
    spec: DatasetSpec = registry().dataset_of(store.dataset)
    options = CropOptions(
        stream, base_stream(spec, stream), _crop_size(shape, size), margin, padding, quality
    )
    if not full_frame and not store.layout:
        raise UsageError(f"{clips}: holds no keypoints to crop by (keep whole frames with --full-frame)")
    open_source.cache_clear()
    plan = CropPlan(store, spec, root, options, config, part, keep_going)
    if not plan.videos:
        text = f"shard {part} holds none of the {plan.all_videos} videos: nothing is written"
        return StageResult(data={"clips": 0, "shard": str(part)}, text=text)
    facts = part.facts(len(plan.videos), plan.all_videos)
    inputs = {"clips": store.digest, "files": fingerprint([], plan.all_files())}
    provenance = Provenance(command=_COMMAND, config={**config, **facts}, inputs=inputs)
    if resume and is_complete(out, provenance):
        _parts(out, store.dataset, stream).remove_if_free()
        return StageResult(data={"complete": True}, text=f"{out}: is complete, nothing to do")
    _check_writable(out)
    if not full_frame and min(store.image_size) <= 0:
        console.warn(f"{clips}: does not tell of what image its keypoints are pixels: taken as of the frames")
    work: Work[VideoJob, CroppedVideo] = Work(
        crop_video,
        lambda job: f"video '{job.video_id}'",
        workers=workers,
        keep_going=keep_going,
        parts=_parts(out, store.dataset, stream) if resume else None,
        key_of=lambda job: job.key,
    )
    with work.held():
        tally, digest = _write(out, plan, work, provenance, console)
    _warn(tally.dropped, plan.blind, console)
    width, height = options.size
    form = f"{width} px" if width == height else f"{width}x{height} px"
    return StageResult(
        data={
            "clips": tally.clips,
            "frames": tally.frames,
            "bytes": tally.num_bytes,
            "without_keypoints": plan.blind,
            "digest": digest,
            "dropped": [{"what": item.what, "why": item.why} for item in tally.dropped],
            "resumed": work.resumed,
        },
        text=f"{out}: {tally.frames} {stream} frames of {tally.clips} clips, {form}, "
        f"{tally.num_bytes / 1e6:.1f} MB",
    )
