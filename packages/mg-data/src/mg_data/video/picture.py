"""One decoded frame: converted to RGB whole, or only where a box cuts it.

Videos are stored as a brightness plane and two colour planes of half resolution (YUV 4:2:0). Averaging and
the conversion to RGB are both linear, so a crop may be averaged in the small planes first and converted last:
the result is that of the whole frame's conversion, up to rounding, for a fraction of the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.video.resample import axis_weights, covered, crop_frame, resample_turned

# Shares of red and blue in brightness, by FFmpeg's number of the colour space; unspecified is taken as
# BT.601, which is what FFmpeg's own conversion does.
_BT601 = (0.299, 0.114)
_PRIMARIES = {0: _BT601, 1: (0.2126, 0.0722), 2: _BT601, 5: _BT601, 6: _BT601, 9: (0.2627, 0.0593)}
_FULL_RANGE = 2
_PLANAR = ("yuv420p", "yuvj420p")


def _to_rgb(
    y: NDArray[np.float32],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    colour_space: int,
    full_range: bool,
) -> NDArray[np.uint8]:
    """Convert planes (W, H), turned and counted from black and grey, to (H, W, 3) RGB, rounded."""
    import cv2

    red, blue = _PRIMARIES[colour_space]
    green = 1.0 - red - blue
    # Chroma is the scaled difference of blue (U) or red (V) from brightness.
    luma, chroma = (1.0, 1.0) if full_range else (255.0 / 219.0, 255.0 / 224.0)
    of_u, of_v = 2.0 * (1.0 - blue) * chroma, 2.0 * (1.0 - red) * chroma
    part = cv2.addWeighted(y, luma, u, -of_u * blue / green, 0.0)
    return np.asarray(
        cv2.transpose(
            cv2.merge(
                (
                    cv2.addWeighted(y, luma, v, of_v, 0.0, dtype=cv2.CV_8U),
                    cv2.addWeighted(part, 1.0, v, -of_v * red / green, 0.0, dtype=cv2.CV_8U),
                    cv2.addWeighted(y, luma, u, of_u, 0.0, dtype=cv2.CV_8U),
                )
            )
        ),
        np.uint8,
    )


class Picture:
    """A decoded video frame, upright as its container says. Valid as long as it is referenced.

    Attributes: ``width`` and ``height`` in pixels as shown; ``dtype`` uint8 and ``channels`` 3 of its RGB.
    """

    channels = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._turns = round(getattr(frame, "rotation", 0) / 90) % 4
        turned = self._turns % 2
        self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        self._rgb: NDArray[np.uint8] | None = None

    def rgb(self) -> NDArray[np.uint8]:
        """Return the whole frame, (H, W, 3) RGB."""
        if self._rgb is None:
            image = self._frame.to_ndarray(format="rgb24")
            # The container's rotation is counter-clockwise, as is that of rot90.
            self._rgb = np.ascontiguousarray(np.rot90(image, self._turns)) if self._turns else image
        return self._rgb

    def crop(
        self, box: NDArray[Any], size: int | tuple[int, int], padding: str = "zero"
    ) -> NDArray[np.uint8]:
        """Return ``crop_frame(self.rgb(), box, size, padding)``, up to rounding."""
        import cv2

        frame = self._frame
        space = int(frame.colorspace)
        if (
            self._turns
            or self._rgb is not None
            or frame.format.name not in _PLANAR
            or space not in _PRIMARIES
        ):
            return crop_frame(self.rgb(), box, size, padding)
        width, height = (size, size) if isinstance(size, int) else size
        x0, y0, x1, y1 = (float(value) for value in box)
        full = frame.format.name == "yuvj420p" or int(frame.color_range) == _FULL_RANGE
        planes: list[NDArray[np.float32]] = []
        for number, plane in enumerate(frame.planes):
            values = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            halved = number > 0
            rows = axis_weights(y0, y1, height, frame.height, padding, halved=halved)
            columns = axis_weights(x0, x1, width, frame.width, padding, halved=halved)
            mixed = resample_turned(values, rows, columns)
            level = 128.0 if halved else 0.0 if full else 16.0
            if number == 0:
                cover = covered(rows, columns)
            # Subtracting the level in proportion to what is covered makes everything beyond the frame black.
            if cover is None:
                mixed -= level
            elif level:
                mixed = np.asarray(cv2.scaleAdd(cover, -level, mixed), np.float32)
            planes.append(mixed)
        return _to_rgb(planes[0], planes[1], planes[2], space, full)
