"""``mg data preview``: skeletons and crop boxes on the frames they belong to, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, DatasetSpec, FrameSource, StageResult, UsageError
from mg_data.drawing.clip import ClipView, Look, as_rgb, blank, choose_look, draw_frame, gather
from mg_data.drawing.sheet import Tile, contact_sheet, write_png, write_video
from mg_data.plugins import registry, resolve
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore, StreamsStore, open_clips, open_streams
from mg_data.video.crop import frame_choice

_SHEET_FRAMES = 6
# A sheet beyond this is one nobody looks at, and a viewer may refuse it.
_MOST_PIXELS = 120_000_000


def _choose_rows(store: ClipsStore, clip: list[str], count: int) -> NDArray[np.int64]:
    return store.rows(clip) if clip else frame_choice(len(store), count)


def _read_frames(source: FrameSource, clip: ClipView) -> Iterator[NDArray[Any]]:
    """Yield the drawn frames; sources with ``select`` skip what lies between."""
    numbers = clip.start + clip.numbers
    select = getattr(source, "select", None)
    if select is not None:
        yield from select(clip.video_id, numbers)
        return
    wanted = set(numbers.tolist())
    last = int(numbers[-1])
    for number, frame in enumerate(source.frames(clip.video_id, clip.start, last + 1), start=clip.start):
        if number in wanted:
            yield frame


def _tiles(source: FrameSource | None, clip: ClipView, look: Look) -> Iterator[Tile]:
    if source is None:
        frames: Iterator[NDArray[np.uint8]] = (blank(look.image_size) for _ in clip.numbers)
    else:
        frames = as_rgb(_read_frames(source, clip))
    drawn = 0
    for index, frame in enumerate(frames):
        number = int(clip.numbers[index])
        yield Tile(image=draw_frame(frame, clip, index, look), label=f"{clip.start + number}")
        drawn += 1
    if drawn != len(clip.numbers):
        raise DataError(f"clip '{clip.clip_id}': {drawn} of {len(clip.numbers)} frames were found")


def _check(out: Path, count: int, frames: int, size: int, fps: float) -> None:
    if out.suffix.lower() not in (".png", ".mp4"):
        raise UsageError(f"data preview: '{out.name}' ends in neither .png nor .mp4; name a file that does")
    for name, value, least in (("--count", count, 1), ("--frames", frames, 0), ("--size", size, 32)):
        if value < least:
            raise UsageError(f"data preview {name} is {value}; give {least} or more")
    if not 0.1 <= fps <= 240:
        raise UsageError(f"data preview --fps is {fps:g}; give 0.1 to 240")


def _open_source(
    store: ClipsStore, root: Path | None, stream: str, crops: StreamsStore | None
) -> FrameSource | None:
    if root is None:
        if not store.layout:
            raise UsageError(f"{store.path}: holds no keypoints; give the raw tree with the frames as well")
        if min(store.image_size) <= 0:
            raise UsageError(
                f"{store.path}: does not say how large its images are; give the raw tree with the frames"
            )
        return None
    spec: DatasetSpec = registry().dataset_of(store.dataset)
    if not spec.streams:
        raise UsageError(f"data set '{spec.name}' has no frames; leave the raw tree out for a blank canvas")
    wanted = stream or (
        crops.stream if crops is not None and crops.stream in spec.streams else spec.streams[0]
    )
    if wanted not in spec.streams:
        raise UsageError(
            f"data set '{spec.name}' has no stream '{wanted}' (it has: {', '.join(spec.streams)})"
        )
    source: FrameSource = resolve(spec.frames)(root, wanted)
    return source


def preview(
    *,
    clips: Path,
    root: Path | None = None,
    out: Path,
    clip: list[str] | None = None,
    count: int = 4,
    frames: int = 0,
    crops: Path | None = None,
    stream: str = "",
    layout: str = "",
    size: int = 480,
    min_confidence: float = 0.1,
    heatmap: bool = False,
    fps: float = 25.0,
    console: Console,
) -> StageResult:
    """Draw keypoints and crop boxes on the frames of some clips.

    The person's left side is blue, the right one orange. The box is the crop store's, or the one that
    ``mg data crop`` would cut. Keypoints in metres are projected by the store's camera; depth maps are grey,
    near bright, and blue where nothing was measured. On a sheet each clip is a row of evenly spaced frames
    with its id above and each frame's number in the video in its corner.

    Raises:
        UsageError: a value out of range, or nothing to draw. StoreError: a clip that a store lacks.
        DataError: frames are missing or damaged, or of another shape than the keypoints.
    """
    require("data preview", "cv2")
    out = Path(out)
    _check(out, count, frames, size, fps)
    is_video = out.suffix.lower() == ".mp4"
    if is_video:
        require("data preview", "av")
    store = open_clips(clips)
    if not len(store):
        raise DataError(f"{clips}: holds no clip")
    boxes = open_streams(crops) if crops is not None else None
    source = _open_source(store, root, stream, boxes)
    look = choose_look(store, layout=layout, size=size, min_confidence=min_confidence, heatmap=heatmap)
    rows = _choose_rows(store, clip or [], count).tolist()
    per_clip = frames or (0 if is_video else _SHEET_FRAMES)
    gathered = [gather(store, row, per_clip, boxes, look) for row in rows]
    drawn = sum(len(item.numbers) for item in gathered)
    if not is_video and drawn * size * size > _MOST_PIXELS:
        raise UsageError(
            f"data preview: {drawn} frames of {size} px make a sheet that is too large; "
            "give a smaller --count, --frames or --size, or write an .mp4"
        )
    with console.progress("preview", drawn) as bar:

        def watched(item: ClipView) -> Iterator[Tile]:
            for tile in _tiles(source, item, look):
                bar.advance()
                yield tile

        named = ((_caption(item), watched(item)) for item in gathered)
        if is_video:
            width, height = write_video(out, named, fps)
        else:
            width, height = write_png(out, contact_sheet([(name, list(tiles)) for name, tiles in named]))
    return StageResult(
        data={
            "clips": [item.clip_id for item in gathered],
            "frames": drawn,
            "width": width,
            "height": height,
            "layout": look.layout.name if look.layout is not None else "",
        },
        text=f"{out}: {drawn} frames of {len(gathered)} clips, {width}x{height}",
    )


def _caption(clip: ClipView) -> str:
    return f"{clip.clip_id}   {clip.video_id} [{clip.start}, {clip.stop})"
