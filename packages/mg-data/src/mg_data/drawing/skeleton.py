"""Skeletons and boxes on images, with OpenCV. Images are RGB; the arguments are never drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mg_data.contract.errors import DataError
from mg_data.contract.specs import LayoutSpec
from mg_data.drawing.figure import sides
from mg_data.keypoints.transform import present_points
from mg_data.video.crop import Camera, project

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]

# Of Okabe and Ito's palette, whose colours stay apart in all common forms of colour blindness.
LEFT: Colour = (86, 180, 233)
RIGHT: Colour = (230, 159, 0)
MIDDLE: Colour = (240, 240, 240)
BOX: Colour = (0, 200, 150)
_DARK: Colour = (20, 20, 20)
# Positions are drawn to 1/16 of a pixel.
_FRACTION_BITS = 4
# Beyond this many points a dark rim around each line would cover its neighbours.
_MOST_WITH_RIM = 150


def line_width(height: int, width: int, points: int = 1) -> int:
    """Return the width of lines for an image of this size, thinner for layouts of many points."""
    share = 1 / 260 if points <= _MOST_WITH_RIM else 1 / 700
    return max(1, round(min(height, width) * share))


def to_pixels(
    points: NDArray[Any], layout: LayoutSpec, *, camera: Camera | None = None, min_confidence: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where keypoints lie in the image, and which of them were seen.

    Args:
        points: (..., V, 3) of the layout.
        camera: fx, fy, cx, cy; needed for layouts in metres.

    Returns:
        (..., V, 2) pixels and (..., V) bool.

    Raises:
        DataError: another number of points than the layout's, or metres without a camera.
    """
    points = np.asarray(points)
    if points.ndim < 2 or points.shape[-2:] != (len(layout.names), 3):
        raise DataError(
            f"keypoints of shape {points.shape} are not {layout.name!r}: want {len(layout.names)} keypoints "
            "of 3 values; check the layout of the store"
        )
    seen = present_points(points, layout.dims, min_confidence)
    if layout.dims == "xy":
        return points[..., :2].astype(np.float64), seen
    if camera is None:
        raise DataError(
            f"keypoints of {layout.name!r} are in metres and there is no camera to project them by; "
            "import the data with its camera"
        )
    pixels = project(points, camera)
    return pixels, seen & np.isfinite(pixels).all(axis=-1)


def draw_skeleton(
    image: NDArray[np.uint8],
    points: NDArray[Any],
    layout: LayoutSpec,
    *,
    camera: Camera | None = None,
    min_confidence: float = 0.1,
    thickness: int = 0,
    scale: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.uint8]:
    """Draw the edges and points of one person; what was not seen is left out.

    The person's left side is blue, the right one orange, the middle white.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (V, 3) of the layout, in pixels (or metres, with a camera).
        thickness: of lines, in pixels; 0 chooses by the size of the image.
        scale: pixels of the image per pixel of the keypoints, along x and y.

    Returns:
        A new image.

    Raises:
        DataError: as :func:`to_pixels`.
    """
    import cv2

    pixels, seen = to_pixels(points, layout, camera=camera, min_confidence=min_confidence)
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    pixels = pixels * scale
    # Far outside there is nothing to see, and OpenCV's fixed-point coordinates would run over.
    seen = seen & (np.abs(pixels) < 16 * max(height, width)).all(axis=-1)
    places = np.round(np.where(seen[:, None], pixels, 0.0) * (1 << _FRACTION_BITS)).astype(int).tolist()
    size = thickness or line_width(height, width, len(layout.names))
    colours = {1: LEFT, -1: RIGHT, 0: MIDDLE}
    side = sides(layout).tolist()
    edges = [(a, b) for a, b in layout.edges if seen[a] and seen[b]]
    rims = (True, False) if len(layout.names) <= _MOST_WITH_RIM else (False,)
    for rim in rims:
        for a, b in edges:
            # An edge between the middle and a side belongs to the side.
            colour = _DARK if rim else colours[side[a] or side[b]]
            cv2.line(
                canvas, places[a], places[b], colour, size + 2 * rim, cv2.LINE_AA, _FRACTION_BITS
            )  # fmt: skip
        radius = round(size * (1 if len(rims) == 2 else 0.75) * (1 << _FRACTION_BITS)) + (16 if rim else 0)
        for point in np.flatnonzero(seen).tolist():
            colour = _DARK if rim else colours[side[point]]
            cv2.circle(canvas, places[point], radius, colour, -1, cv2.LINE_AA, _FRACTION_BITS)
    return canvas


def draw_box(
    image: NDArray[np.uint8], box: NDArray[Any], *, colour: Colour = BOX, thickness: int = 0
) -> NDArray[np.uint8]:
    """Draw a box x0, y0, x1, y1 in pixels (half-open, so its outermost pixels are x0 and x1 - 1).

    Returns:
        A new image; sides that lie outside it are not seen, and a box that is not finite is not drawn.
    """
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    if not np.isfinite(box).all():
        return canvas
    height, width = canvas.shape[:2]
    limit = 16 * max(height, width)
    x0, y0, x1, y1 = (round(float(np.clip(value, -limit, limit))) for value in box)
    size = thickness or line_width(height, width)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _DARK, size + 2)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, size)
    return canvas


def depth_to_rgb(frame: NDArray[np.uint16], near: float, far: float) -> NDArray[np.uint8]:
    """Show a depth map: near bright, far dark grey, and nothing measured (0) as deep blue.

    Args:
        frame: (H, W) uint16. near, far: distances, in its unit, shown brightest and darkest.
    """
    share = np.clip((far - frame.astype(np.float32)) / max(far - near, 1.0), 0.0, 1.0)
    grey = np.round(50 + 190 * share).astype(np.uint8)
    image = np.repeat(grey[..., None], 3, axis=-1)
    image[frame == 0] = (0, 0, 60)
    return image


def depth_range(frames: list[NDArray[np.uint16]]) -> tuple[float, float]:
    """Return the 1st and 99th percentile of what was measured; 0 and 1 if nothing was."""
    measured = np.concatenate([frame[frame > 0] for frame in frames]) if frames else np.empty(0)
    if not len(measured):
        return 0.0, 1.0
    near, far = np.percentile(measured, [1, 99])
    return float(near), float(far)


def heatmap_projection(
    pixels: NDArray[np.float64],
    confidence: NDArray[np.float64],
    box: NDArray[Any],
    *,
    size: int = 56,
    sigma: float = 0.6,
) -> NDArray[np.float32]:
    """Return the largest of all keypoints' Gaussian maps (what a heatmap model sees, on one sheet).

    Args:
        pixels: (..., V, 2). confidence: (..., V), 0 where missing. box: x0, y0, x1, y1 that the map covers.
        size: side of the map in cells. sigma: deviation of the Gaussians, in cells.

    Returns:
        (size, size) float32 in [0, 1].
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    places = pixels.reshape(-1, 2)[confidence.reshape(-1) > 0]
    strength = confidence.reshape(-1)[confidence.reshape(-1) > 0]
    cells = np.arange(size)
    x = (places[:, 0] - x0) / max(x1 - x0, 1e-6) * size - 0.5
    y = (places[:, 1] - y0) / max(y1 - y0, 1e-6) * size - 0.5
    across = np.exp(-np.square(cells - x[:, None]) / (2 * sigma**2))
    down = np.exp(-np.square(cells - y[:, None]) / (2 * sigma**2)) * np.minimum(strength, 1.0)[:, None]
    result = np.zeros((size, size), np.float32)
    for column, row in zip(across, down, strict=True):
        np.maximum(result, row[:, None] * column[None], out=result, casting="same_kind")
    return result
