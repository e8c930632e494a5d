"""Numbers that both sides of a comparison make for themselves: equal weights and inputs without storing them.

PCG64's raw stream is fixed by numpy's compatibility policy (distributions are not), so the numbers are the
same under any numpy. Imported by ``tools/parity.py`` (in the peer's environment) and by the tests.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def uniform(name: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
    """Return numbers in [low, high) that depend on the name alone."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    share = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (low + (high - low) * share).reshape(shape)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Return a value for each entry of a state dict, by its (public) name and shape.

    Kernels keep the size of what passes through them, statistics and scales are far from their defaults, so
    that a wrong one shows. Adjacencies (``A``) and counters are left out.
    """
    values = {}
    for name, shape in shapes.items():
        last = name.rsplit(".", 1)[-1]
        if last in ("A", "num_batches_tracked"):
            continue
        if last == "running_var":
            value = uniform(name, shape, 0.5, 1.5)
        elif last == "PA":
            value = uniform(name, shape, 0.7, 1.3)
        elif last == "weight" and len(shape) == 1:  # a sum over many residual blocks should not grow
            value = uniform(name, shape, 0.2, 0.6)
        elif last == "weight":
            bound = (6 / int(np.prod(shape[1:]))) ** 0.5
            value = uniform(name, shape, -bound, bound)
        else:  # bias, running_mean
            value = uniform(name, shape, -0.2, 0.2)
        values[name] = value.astype(np.float32)
    return values


def clips(name: str, shape: tuple[int, ...], low: float = 0.0) -> NDArray[np.float32]:
    """Return a batch of numbers in [low, 1), each sample a third of the size of the one before."""
    scale = 3.0 ** -np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (uniform(name, shape, low) * scale).astype(np.float32)


def people(name: str, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return (P, T, V, 3) keypoints: x and y in shares of the image, score.

    A fifth of the points lies outside the image; a tenth of the scores is below every threshold, a tenth
    between those of mmaction2 and pyskl; every third keypoint is less than a pixel from the one before it.
    """
    keypoints = uniform(name, (*shape, 3))
    keypoints[..., :2] = keypoints[..., :2] * 1.2 - 0.1
    near = keypoints[:, :, 2::3]
    near[..., :2] = keypoints[:, :, 1::3][:, :, : near.shape[2], :2] + (near[..., :2] - 0.5) * 0.01
    draw = uniform(f"{name}/score", shape)
    keypoints[..., 2] = np.where(draw < 0.1, 5e-5, np.where(draw < 0.2, 5e-4, keypoints[..., 2]))
    return keypoints.astype(np.float32)
