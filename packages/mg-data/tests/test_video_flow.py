"""Optical flow: a known translation is found, rest is exactly 0, and storage keeps it to 1/16 pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_data.store import StreamsWriter, open_streams
from mg_data.video.codec import decode_physical, encode_frame
from mg_data.video.flow import CHANNELS, OFFSET, SCALE, FlowStream, dense_flow, quantise_flow

cv2 = pytest.importorskip("cv2")


def shifted(x: float, y: float) -> NDArray[np.uint8]:
    """Return a smooth random texture, (224, 224), moved by x to the right and y down."""
    noise = np.random.default_rng(0).random((300, 300)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(texture, matrix, (300, 300), flags=cv2.INTER_CUBIC)
    return np.clip(np.rint(moved[38:262, 38:262]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("x", "y"), [(3.0, -2.0), (0.5, 0.25), (-7.5, 4.0), (12.0, -9.0)])
def test_a_translation_is_found_within_a_fifth_of_a_pixel(x: float, y: float) -> None:
    inner = dense_flow(shifted(0, 0), shifted(x, y))[20:-20, 20:-20]
    assert np.abs(inner - [x, y]).max() < 0.2


def test_a_scene_at_rest_does_not_move() -> None:
    assert not dense_flow(shifted(0, 0), shifted(0, 0)).any()
    stream = FlowStream()
    images = [image for _ in range(3) for image in stream.push(shifted(0, 0))] + stream.finish()
    for image in images:
        back = decode_physical(encode_frame(image, "png8"), "png8", SCALE, OFFSET, CHANNELS)
        assert back.shape == (224, 224, 2)
        assert not back.any()


def test_frame_n_is_the_way_from_the_frame_before() -> None:
    stream = FlowStream()
    images = [image for step in range(4) for image in stream.push(shifted(2.0 * step, 0))]
    assert len(images) == 4
    fields = [
        decode_physical(encode_frame(image, "png8"), "png8", SCALE, OFFSET, CHANNELS) for image in images
    ]
    assert not fields[0].any()
    for field in fields[1:]:
        assert np.median(field[..., 0]) == pytest.approx(2.0, abs=0.1)
        assert np.median(field[..., 1]) == pytest.approx(0.0, abs=0.1)


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_storage_rounds_to_an_eighth_and_clips_at_sixteen(x: float, y: float) -> None:
    image = quantise_flow(np.full((2, 2, 2), (x, y), np.float32))
    back = image[..., :2] * SCALE + OFFSET
    expected = np.clip([x, y], -16.0, 15.875)
    assert np.abs(back - expected).max() <= SCALE / 2 + 1e-5


def test_a_store_gives_the_flow_back(tmp_path: Path) -> None:
    field = np.random.default_rng(1).uniform(-10, 10, (24, 32, 2)).astype(np.float32)
    path = tmp_path / "flow.h5"
    with StreamsWriter(
        path, dataset="d", stream="flow", encoding="png8", channels=CHANNELS, scale=SCALE, offset=OFFSET
    ) as writer:
        writer.add(clip_id="a", frames=[encode_frame(quantise_flow(field), "png8")], boxes=np.zeros((1, 4)))
    store = open_streams(path)
    [data] = store.frame_bytes(0)
    back = decode_physical(data, store.encoding, store.scale, store.offset, store.channels)
    assert np.abs(back - field).max() <= SCALE / 2 + 1e-6
