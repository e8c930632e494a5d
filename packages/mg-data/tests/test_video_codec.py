"""Encoded frames: PNG comes back exactly, JPEG nearly, and channels keep their order."""

from __future__ import annotations

import numpy as np
import pytest

from mg_data.contract import DataError
from mg_data.video.codec import decode_frame, decode_physical, encode_frame

pytest.importorskip("cv2")


def test_png_is_exact() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (9, 7, 3), np.uint8)
    depth = rng.integers(0, 65536, (9, 7), np.uint16)
    np.testing.assert_array_equal(decode_frame(encode_frame(colour, "png8"), "png8"), colour)
    np.testing.assert_array_equal(decode_frame(encode_frame(depth, "png16"), "png16"), depth)


def test_jpeg_keeps_red_red() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    back = decode_frame(np.frombuffer(encode_frame(red, "jpeg"), np.uint8), "jpeg")
    assert np.abs(back.astype(int) - red).max() <= 3


def test_quality_decides_the_size() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_frame(noise, "jpeg", quality=40)) < len(encode_frame(noise, "jpeg", quality=95))


def test_wrong_types_and_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="png16 takes uint16 frames, got uint8"):
        encode_frame(np.zeros((4, 4), np.uint8), "png16")
    with pytest.raises(ValueError, match="unknown encoding 'gif'"):
        encode_frame(np.zeros((4, 4), np.uint8), "gif")
    with pytest.raises(DataError, match="4 bytes are no jpeg image"):
        decode_frame(b"\x00\x01\x02\x03", "jpeg")
    with pytest.raises(DataError, match="decodes to uint8, wanted uint16"):
        decode_frame(encode_frame(np.zeros((4, 4), np.uint8), "png8"), "png16")


def test_physical_values_are_scaled_and_shifted() -> None:
    depth = np.array([[0, 1500], [2000, 65535]], np.uint16)
    back = decode_physical(encode_frame(depth, "png16"), "png16", 0.001, 0.0, 1)
    np.testing.assert_allclose(back, depth / 1000.0, rtol=1e-6)
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    two = decode_physical(encode_frame(image, "png8"), "png8", 0.5, -64.0, 2)
    np.testing.assert_array_equal(two, image[..., :2] * 0.5 - 64.0)
    with pytest.raises(DataError, match=r"decodes to 1 channel\(s\), wanted 2"):
        decode_physical(encode_frame(depth, "png16"), "png16", 1.0, 0.0, 2)
