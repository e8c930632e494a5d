"""``mg data preview``: skeletons and crop boxes on the frames they belong to, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, DatasetSpec, FrameSource, LayoutSpec, StageResult, UsageError
from mg_data.drawing.sheet import Tile, contact_sheet, write_png, write_video
from mg_data.drawing.skeleton import (
    depth_range,
    depth_to_rgb,
    draw_box,
    draw_skeleton,
    heatmap_projection,
    to_pixels,
)
from mg_data.keypoints.convert import convert
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import registry, resolve
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore, StreamsStore, open_clips, open_streams
from mg_data.video.crop import Camera, frame_choice, keypoint_extremes, square_box

_SHEET_FRAMES = 6
_CANVAS_GREY = 40
# A sheet beyond this is one nobody looks at, and a viewer may refuse it.
_MOST_PIXELS = 120_000_000


@dataclass(frozen=True)
class _Clip:
    """What is drawn of one clip: which frames, the keypoints and the box of each.

    numbers: (K,) frames of the clip. joints: (K, P, V, 3) or None. boxes: (K, 4) or None, in pixels of the
    keypoints, or of the frames if they come from a crop store.
    """

    clip_id: str
    video_id: str
    start: int
    stop: int
    numbers: NDArray[np.int64]
    joints: NDArray[np.float32] | None
    boxes: NDArray[np.float64] | None
    boxes_of_frames: bool


@dataclass(frozen=True)
class _Look:
    """How clips are drawn."""

    layout: LayoutSpec | None
    camera: Camera | None
    image_size: tuple[int, int]
    size: int
    min_confidence: float
    heatmap: bool


def _choose_rows(store: ClipsStore, clip: list[str], count: int) -> NDArray[np.int64]:
    return store.rows(clip) if clip else frame_choice(len(store), count)


def _boxes(
    store: ClipsStore,
    row: int,
    numbers: NDArray[np.int64],
    joints: NDArray[np.float32] | None,
    crops: StreamsStore | None,
    look: _Look,
) -> NDArray[np.float64] | None:
    """Return the box of each drawn frame: the crop store's, else the saliency box of the whole clip."""
    if crops is not None:
        boxes = crops.boxes(int(crops.rows([str(store.clip_ids[row])])[0])).astype(np.float64)
        # A crop store may keep some frames only: each drawn frame shows the box of the nearest kept one.
        kept = frame_choice(int(store.stop[row] - store.start[row]), len(boxes))
        return (
            boxes[np.abs(kept[None] - numbers[:, None]).argmin(axis=1)] if len(kept) == len(boxes) else None
        )
    if joints is None:
        return None
    extremes = keypoint_extremes(joints, store.columns, look.camera, look.min_confidence)
    return None if extremes is None else np.repeat(square_box(extremes)[None], len(numbers), axis=0)


def _gather(
    store: ClipsStore, row: int, frames: int, crops: StreamsStore | None, look: _Look, native: str
) -> _Clip:
    length = int(store.stop[row] - store.start[row])
    numbers = frame_choice(length, frames)
    joints = boxes = None
    if look.layout is not None:
        joints = store.joints(row)
        boxes = _boxes(store, row, numbers, joints, crops, look)
        joints = joints[numbers]
        if look.layout.name != native:
            joints = convert(joints, native, look.layout)
    elif crops is not None:
        boxes = _boxes(store, row, numbers, None, crops, look)
    return _Clip(
        clip_id=str(store.clip_ids[row]),
        video_id=str(store.video_ids[row]),
        start=int(store.start[row]),
        stop=int(store.stop[row]),
        numbers=numbers,
        joints=joints,
        boxes=boxes,
        boxes_of_frames=crops is not None,
    )


def _read_frames(source: FrameSource, clip: _Clip) -> Iterator[NDArray[Any]]:
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


def _canvases(clip: _Clip, look: _Look) -> Iterator[NDArray[np.uint8]]:
    width, height = look.image_size
    for _ in clip.numbers:
        yield np.full((height, width, 3), _CANVAS_GREY, np.uint8)


def _as_rgb(frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    """Show depth maps as grey, by the range of the clip's first frame."""
    limits: tuple[float, float] | None = None
    for frame in frames:
        if frame.dtype == np.uint16:
            limits = limits or depth_range([frame])
            yield depth_to_rgb(frame, *limits)
        elif frame.ndim == 2:
            yield np.repeat(frame[..., None], 3, axis=-1)
        else:
            yield frame


def _draw(frame: NDArray[np.uint8], clip: _Clip, index: int, look: _Look) -> NDArray[np.uint8]:
    """Return a frame at the size of a tile with box and skeletons, and the heatmaps beside it if wanted."""
    import cv2

    height, width = frame.shape[:2]
    share = look.size / max(height, width)
    wide, high = max(2, round(width * share)), max(2, round(height * share))
    way = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
    image: NDArray[np.uint8] = np.asarray(cv2.resize(frame, (wide, high), interpolation=way), np.uint8)
    known = look.image_size if min(look.image_size) > 0 else (width, height)
    if look.layout is not None and abs(width / known[0] / (height / known[1]) - 1.0) > 0.01:
        raise DataError(
            f"video '{clip.video_id}': its frames are {width}x{height}, but the keypoints are in pixels of "
            f"{known[0]}x{known[1]}; import it again"
        )
    scale = (wide / known[0], high / known[1])
    beside: list[NDArray[np.uint8]] = []
    if clip.boxes is not None:
        box_scale = (wide / width, high / height) if clip.boxes_of_frames else scale
        image = draw_box(image, clip.boxes[index] * [*box_scale, *box_scale])
    if look.layout is not None and clip.joints is not None:
        people = clip.joints[index]
        if look.heatmap:
            beside = [_heatmap(people, clip, index, look, high)]
        for points in people:
            image = draw_skeleton(
                image,
                points,
                look.layout,
                camera=look.camera,
                min_confidence=look.min_confidence,
                scale=scale,
            )
    return np.concatenate([image, *beside], axis=1)


def _heatmap(
    people: NDArray[np.float32], clip: _Clip, index: int, look: _Look, high: int
) -> NDArray[np.uint8]:
    """Return (high, high, 3): the projection of the keypoints' maps in the box, black to yellow."""
    import cv2

    assert look.layout is not None
    pixels, seen = to_pixels(people, look.layout, camera=look.camera, min_confidence=look.min_confidence)
    strength = people[..., 2].astype(np.float64) if look.layout.dims == "xy" else np.ones(seen.shape)
    box = np.array([0.0, 0.0, *look.image_size])
    if clip.boxes is not None and not clip.boxes_of_frames:
        box = clip.boxes[index]
    cells = heatmap_projection(pixels, strength * seen, box)
    ramp = np.stack([np.sqrt(cells), cells, 0.35 * cells * (1 - cells)], axis=-1)
    return np.asarray(
        cv2.resize(np.round(ramp * 255).astype(np.uint8), (high, high), interpolation=cv2.INTER_NEAREST)
    )


def _tiles(source: FrameSource | None, clip: _Clip, look: _Look) -> Iterator[Tile]:
    frames = _as_rgb(_read_frames(source, clip)) if source is not None else _canvases(clip, look)
    drawn = 0
    for index, frame in enumerate(frames):
        number = int(clip.numbers[index])
        yield Tile(image=_draw(frame, clip, index, look), label=f"{clip.start + number}")
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


def _look(
    store: ClipsStore,
    layout: str,
    image_size: tuple[int, int],
    size: int,
    min_confidence: float,
    heatmap: bool,
) -> _Look:
    spec = find_layout(layout or store.layout) if store.layout else None
    if spec is None and layout:
        raise UsageError(f"{store.path}: holds no keypoints to draw as '{layout}' (leave --layout out)")
    camera: Camera | None = None
    if store.camera is not None:
        camera = (store.camera[0], store.camera[1], store.camera[2], store.camera[3])
    return _Look(
        layout=spec,
        camera=camera,
        image_size=image_size,
        size=size,
        min_confidence=min_confidence,
        heatmap=heatmap,
    )


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
    boxes = open_streams(crops) if crops is not None else None
    source = _open_source(store, root, stream, boxes)
    look = _look(store, layout, store.image_size, size, min_confidence, heatmap)
    rows = _choose_rows(store, clip or [], count).tolist()
    per_clip = frames or (0 if is_video else _SHEET_FRAMES)
    gathered = [_gather(store, row, per_clip, boxes, look, store.layout) for row in rows]
    drawn = sum(len(item.numbers) for item in gathered)
    if not is_video and drawn * size * size > _MOST_PIXELS:
        raise UsageError(
            f"data preview: {drawn} frames of {size} px make a sheet that is too large; "
            "give a smaller --count, --frames or --size, or write an .mp4"
        )
    with console.progress("preview", drawn) as bar:

        def watched(item: _Clip) -> Iterator[Tile]:
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


def _caption(clip: _Clip) -> str:
    return f"{clip.clip_id}   {clip.video_id} [{clip.start}, {clip.stop})"
