"""Single frames as bytes: jpeg for colour, png8 and png16 for maps that must come back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError

ENCODINGS = ("jpeg", "png8", "png16")


def encode_frame(image: NDArray[Any], encoding: str, *, quality: int = 90) -> bytes:
    """Encode one frame.

    Args:
        image: (H, W) or (H, W, 3) RGB; uint8 for jpeg and png8, uint16 for png16.
        encoding: ``jpeg`` (lossy), ``png8`` or ``png16`` (exact).
        quality: of jpeg, 1 to 100.
    """
    import cv2

    if encoding not in ENCODINGS:
        raise ValueError(f"unknown encoding '{encoding}', known: {', '.join(ENCODINGS)}")
    wanted = np.uint16 if encoding == "png16" else np.uint8
    if image.dtype != wanted:
        raise ValueError(f"{encoding} takes {np.dtype(wanted).name} frames, got {image.dtype}")
    bgr = image[..., ::-1] if image.ndim == 3 else image
    if encoding == "jpeg":
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        done, data = cv2.imencode(".png", np.ascontiguousarray(bgr), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise DataError(f"a frame of shape {image.shape} could not be encoded as {encoding}")
    return data.tobytes()


def decode_frame(data: bytes | NDArray[np.uint8], encoding: str) -> NDArray[Any]:
    """Decode one frame of :func:`encode_frame`: (H, W) or (H, W, 3) RGB, uint8 or uint16.

    Raises:
        DataError: the bytes are no image of that encoding.
    """
    import cv2

    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    try:
        image = cv2.imdecode(np.ascontiguousarray(raw), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{len(raw)} bytes are no {encoding} image")
    wanted = np.uint16 if encoding == "png16" else np.uint8
    if image.dtype != wanted:
        raise DataError(f"a frame decodes to {image.dtype}, wanted {np.dtype(wanted).name} ({encoding})")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else np.asarray(image)
