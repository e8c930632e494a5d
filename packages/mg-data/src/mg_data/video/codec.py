"""Single frames as bytes: jpeg for colour, png8 and png16 for maps that must come back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError

ENCODINGS = ("jpeg", "png8", "png16")
_START_OF_JPEG = b"\xff\xd8"
_END_OF_JPEG = b"\xff\xd9"
# Some writers pad after the end.
_TAIL = 64


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
    image = np.ascontiguousarray(image)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    if encoding == "jpeg":
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])
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
    # Some versions of the library fill what is missing of a cut JPEG with grey and say nothing.
    if raw[:2].tobytes() == _START_OF_JPEG and _END_OF_JPEG not in raw[-_TAIL:].tobytes():
        raise DataError(f"{len(raw)} bytes are the beginning of a jpeg image, its end is missing")
    try:
        image = cv2.imdecode(np.ascontiguousarray(raw), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{len(raw)} bytes are no {encoding} image")
    wanted = np.uint16 if encoding == "png16" else np.uint8
    if image.dtype != wanted:
        raise DataError(f"a frame decodes to {image.dtype}, wanted {np.dtype(wanted).name} ({encoding})")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image)


def decode_physical(
    data: bytes | NDArray[np.uint8], encoding: str, scale: float, offset: float, channels: int
) -> NDArray[np.float32]:
    """Decode one frame of a streams store into what it measures: ``scale`` * stored value + ``offset``.

    Args:
        data: one element of ``StreamsStore.frame_bytes``; the other arguments are the store's attributes.
        channels: how many of the image's channels carry values (flow has two, in an image of three).

    Returns:
        (H, W) float32 for one channel, else (H, W, channels).

    Raises:
        DataError: the bytes are no image of that encoding, or it has fewer channels.
    """
    image = decode_frame(data, encoding)
    found = image.shape[2] if image.ndim == 3 else 1
    if found < channels:
        raise DataError(f"a frame decodes to {found} channel(s), wanted {channels}")
    if image.ndim == 3:
        image = image[..., 0] if channels == 1 else image[..., :channels]
    return np.asarray(image.astype(np.float32) * np.float32(scale) + np.float32(offset), np.float32)
