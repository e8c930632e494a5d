"""A clip as it is drawn: skeletons, crop boxes and heatmaps on the frames they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, LayoutSpec, UsageError
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
from mg_data.store import ClipsStore, StreamsStore
from mg_data.video.crop import (
    Camera,
    clip_extremes,
    frame_choice,
    square_box,
    steady_points,
    visible_points,
)

_CANVAS_GREY = 40


@dataclass(frozen=True)
class ClipView:
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


@dataclass(frozen=True, kw_only=True)
class Look:
    """How clips are drawn.

    layout: of the keypoints, None if there are none. camera: fx, fy, cx, cy, for keypoints in metres.
    image_size: width and height that the keypoints are in pixels of. size: longer side of a drawn frame.
    heatmap: draw the projected heatmaps beside it. skeleton, box: draw them over it.
    """

    layout: LayoutSpec | None
    camera: Camera | None = None
    image_size: tuple[int, int]
    size: int = 480
    min_confidence: float = 0.1
    heatmap: bool = False
    skeleton: bool = True
    box: bool = True


def choose_look(
    store: ClipsStore,
    *,
    layout: str = "",
    size: int = 480,
    min_confidence: float = 0.1,
    heatmap: bool = False,
) -> Look:
    """Return how the clips of a store are drawn, in its own layout or another one.

    Raises:
        UsageError: a layout is asked for and the store holds no keypoints.
    """
    spec = find_layout(layout or store.layout) if store.layout else None
    if spec is None and layout:
        raise UsageError(f"{store.path}: holds no keypoints to draw as '{layout}' (leave --layout out)")
    camera: Camera | None = None
    if store.camera is not None:
        camera = (store.camera[0], store.camera[1], store.camera[2], store.camera[3])
    return Look(
        layout=spec,
        camera=camera,
        image_size=store.image_size,
        size=size,
        min_confidence=min_confidence,
        heatmap=heatmap,
    )


def as_rgb(frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
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


def _boxes(
    store: ClipsStore,
    row: int,
    numbers: NDArray[np.int64],
    joints: NDArray[np.float32] | None,
    crops: StreamsStore | None,
    look: Look,
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
    # As mg data crop cuts by default: keypoints that jump for a frame or two are passed over.
    points = visible_points(joints, store.columns, look.camera, look.min_confidence)
    extremes = None if points is None else clip_extremes(steady_points(points))
    return None if extremes is None else np.repeat(square_box(extremes)[None], len(numbers), axis=0)


def gather(store: ClipsStore, row: int, frames: int, crops: StreamsStore | None, look: Look) -> ClipView:
    """Return what is drawn of a row: ``frames`` evenly spaced ones, or all of them for 0.

    Raises:
        DataError: there are no keypoints of a frame.
    """
    length = int(store.stop[row] - store.start[row])
    numbers = frame_choice(length, frames)
    joints = boxes = None
    if look.layout is not None:
        joints = store.joints(row)
        if numbers[-1] >= len(joints):
            what = f"clip '{store.clip_ids[row]}' has keypoints of {len(joints)} of its {length} frames"
            raise DataError(f"{store.path}: {what}")
        boxes = _boxes(store, row, numbers, joints, crops, look)
        joints = joints[numbers]
        if look.layout.name != store.layout:
            joints = convert(joints, store.layout, look.layout)
    elif crops is not None:
        boxes = _boxes(store, row, numbers, None, crops, look)
    return ClipView(
        clip_id=str(store.clip_ids[row]),
        video_id=str(store.video_ids[row]),
        start=int(store.start[row]),
        stop=int(store.stop[row]),
        numbers=numbers,
        joints=joints,
        boxes=boxes,
        boxes_of_frames=crops is not None,
    )


def blank(image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an empty (H, W, 3) image for a width and a height."""
    width, height = image_size
    return np.full((height, width, 3), _CANVAS_GREY, np.uint8)


def draw_frame(frame: NDArray[np.uint8], clip: ClipView, index: int, look: Look) -> NDArray[np.uint8]:
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
    if look.box and clip.boxes is not None:
        box_scale = (wide / width, high / height) if clip.boxes_of_frames else scale
        image = draw_box(image, clip.boxes[index] * [*box_scale, *box_scale])
    if look.layout is not None and clip.joints is not None:
        people = clip.joints[index]
        if look.heatmap:
            beside = [_heatmap(people, clip, index, look, known, high)]
        for points in people if look.skeleton else ():
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
    people: NDArray[np.float32], clip: ClipView, index: int, look: Look, known: tuple[int, int], high: int
) -> NDArray[np.uint8]:
    """Return (high, high, 3): the projection of the keypoints' maps in the box, black to yellow."""
    import cv2

    assert look.layout is not None
    pixels, seen = to_pixels(people, look.layout, camera=look.camera, min_confidence=look.min_confidence)
    strength = people[..., 2].astype(np.float64) if look.layout.dims == "xy" else np.ones(seen.shape)
    box = np.array([0.0, 0.0, *known])
    if clip.boxes is not None and not clip.boxes_of_frames:
        box = clip.boxes[index]
    cells = heatmap_projection(pixels, strength * seen, box)
    ramp = np.stack([np.sqrt(cells), cells, 0.35 * cells * (1 - cells)], axis=-1)
    return np.asarray(
        cv2.resize(np.round(ramp * 255).astype(np.uint8), (high, high), interpolation=cv2.INTER_NEAREST)
    )
