"""Taylor frames: what the formula gives for motions whose differences are known."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from mg_data.video.taylor import TERMS, WINDOW, TaylorStream, taylor_frame, taylor_terms


def block(values: list[float]) -> np.ndarray:
    return np.array(values, np.float64)[:, None, None] * np.ones((1, 4, 5))


def test_a_block_at_rest_is_black() -> None:
    assert not taylor_terms(block([0.3] * 6)).any()
    assert not taylor_frame(block([0.3] * 6)).any()


def test_brightness_rising_evenly_is_displacement_alone() -> None:
    step = 0.1
    terms = taylor_terms(block([0.2 + step * time for time in range(6)]))
    # Only the first difference is not 0, and its factor is the sum of (F_t - F_0)^0 over six frames.
    np.testing.assert_allclose(terms[..., 0], 6 * step, atol=1e-6)
    np.testing.assert_allclose(terms[..., 1:], 0.0, atol=1e-6)
    image = taylor_frame(block([0.2 + step * time for time in range(6)]))
    assert (image[..., 0] == 255).all()
    assert not image[..., 1:].any()


def test_brightness_rising_with_the_square_of_time_accelerates() -> None:
    rate = 0.02
    values = [rate * time**2 for time in range(6)]
    terms = taylor_terms(block(values))
    first, second = rate, 2 * rate  # forward differences at the start; the third is 0
    sums = [sum(value**power for value in values) / factorial(power) for power in range(TERMS)]
    np.testing.assert_allclose(terms[..., 0], first * sums[0] + second * sums[1], rtol=1e-5)
    np.testing.assert_allclose(terms[..., 1], second * sums[0], rtol=1e-5)
    np.testing.assert_allclose(terms[..., 2], 0.0, atol=1e-6)


def test_the_formula_on_noise() -> None:
    frames = np.random.default_rng(0).random((WINDOW, 3, 3))
    expected = np.zeros((3, 3, 3))
    for channel in range(3):
        for term in range(TERMS):
            difference = np.diff(frames, n=term + 1 + channel, axis=0)[0]
            expected[..., channel] += (
                difference * ((frames - frames[0]) ** term).sum(axis=0) / factorial(term)
            )
    np.testing.assert_allclose(taylor_terms(frames), expected, atol=1e-4)
    image = taylor_frame(frames)
    assert image.max() == 255
    np.testing.assert_allclose(image, 255 * np.abs(expected) / np.abs(expected).max(), atol=0.51)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 7, 20])
def test_as_many_frames_out_as_in(count: int) -> None:
    greys = np.random.default_rng(1).integers(0, 256, (count, 8, 9), np.uint8)
    stream = TaylorStream()
    images = [image for grey in greys for image in stream.push(grey)]
    images += stream.finish()
    assert len(images) == count
    for number in range(count - WINDOW + 1):
        np.testing.assert_array_equal(images[number], taylor_frame(greys[number : number + WINDOW] / 255.0))
    for image in images[max(0, count - WINDOW + 1) :]:
        np.testing.assert_array_equal(image, images[-1])


def test_a_block_has_six_frames() -> None:
    with pytest.raises(ValueError, match="a block has 5 frames, wanted 6"):
        taylor_terms(np.zeros((5, 2, 2)))
