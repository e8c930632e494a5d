"""Pure functions over keypoint sequences: none changes its argument, none reads a global random state.

Keypoints are (T, V, 3) float32: x, y, confidence in pixels (dims ``xy``) or x, y, z in metres (``xyz``). A
keypoint is present where its confidence is above a floor (``xy``), or where it is finite and not at the
origin (``xyz``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Dims = Literal["xy", "xyz"]


def present_points(joints: Array, dims: Dims, min_confidence: float = 0.0) -> NDArray[np.bool_]:
    """Return (..., V) bool: which keypoints of (..., V, 3) were seen."""
    finite = np.isfinite(joints).all(axis=-1)
    seen = joints[..., 2] > min_confidence if dims == "xy" else (joints != 0).any(axis=-1)
    return np.asarray(finite & seen)


def fill_missing(
    joints: Array, present: NDArray[np.bool_], parents: Sequence[int], centre: int, dims: Dims
) -> Array:
    """Give every missing keypoint a finite position.

    Gaps are bridged linearly in time, ends hold the nearest seen value. A keypoint that is never seen
    stands where its parent stands, so its limb has no length; a centre that is never seen is the mean of
    what is. Confidences stay as they are, zero where there was nothing finite.

    Args:
        joints: (T, V, 3). present: (T, V). parents: V indices. centre: the root of ``parents``.

    Returns:
        (T, V, 3) float32, finite everywhere.
    """
    filled = np.nan_to_num(joints, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=True)
    if present.all():
        return filled
    axes = 2 if dims == "xy" else 3
    frames = np.arange(len(joints))
    never: NDArray[np.bool_] = np.asarray(~present.any(axis=0))
    gaps: NDArray[np.bool_] = np.asarray(~present.all(axis=0)) & ~never
    for point in np.flatnonzero(gaps):
        seen = np.flatnonzero(present[:, point])
        for axis in range(axes):
            filled[:, point, axis] = np.interp(frames, seen, filled[seen, point, axis])
    if never[centre]:
        filled[:, centre, :axes] = filled[:, ~never, :axes].mean(axis=1) if not never.all() else 0.0
    for child in outward(parents, centre):
        if never[child] and child != centre:
            filled[:, child, :axes] = filled[:, parents[child], :axes]
    return filled


def outward(parents: Sequence[int], centre: int) -> list[int]:
    """Return the keypoints so that each comes after its parent."""
    order = [centre]
    for point in order:
        order.extend(child for child, parent in enumerate(parents) if parent == point and child != point)
    return order


def centre_normalise(
    joints: Array, centre: int, dims: Dims, mode: Literal["frame", "first", "none"] = "frame"
) -> Array:
    """Subtract the centre's position (paper 3.1), leaving a confidence as it is.

    Args:
        joints: (T, V, 3).
        mode: ``frame`` subtracts the centre of each frame (its path is lost), ``first`` that of the first
        frame.
    """
    axes = 2 if dims == "xy" else 3
    out = joints.copy()
    if mode == "none":
        return out
    origin = joints[:, centre, :axes] if mode == "frame" else joints[:1, centre, :axes]
    out[..., :axes] -= origin[:, None]
    return out


def body_size(joints: Array, parents: Sequence[int], dims: Dims) -> float:
    """Return the median over frames of the root-mean-square bone length, 1.0 if there is none.

    Bones hardly change while a person moves, so the size is one of the person and not of the gesture.
    """
    lengths = np.square(limbs(joints, parents, dims)[..., : 2 if dims == "xy" else 3]).sum(axis=-1)
    size = float(np.sqrt(np.median(lengths.mean(axis=-1)))) if len(joints) else 0.0
    return size if size > 1e-6 else 1.0


def scale_normalise(joints: Array, size: float, dims: Dims) -> Array:
    """Divide positions by a size, leaving a confidence as it is."""
    out = joints.copy()
    out[..., : 2 if dims == "xy" else 3] /= np.float32(size)
    return out


def sample_bins(
    length: int,
    frames: int,
    rng: np.random.Generator | None,
    *,
    offset: float = 0.5,
    short: Literal["wrap", "repeat"] = "wrap",
) -> NDArray[np.int64]:
    """Pick one frame of each of ``frames`` equal bins: at random with a generator, else at ``offset`` of
    the bin.

    A clip shorter than ``frames`` starts over when it ends (``wrap``, as PoseC3D does) or shows frames
    several times (``repeat``). The wrapped one begins at a random frame with a generator, else at the first
    for ``offset`` 0.5 and at others for other offsets, so that several views of it differ.

    >>> sample_bins(8, 4, None).tolist(), sample_bins(3, 5, None).tolist()
    ([1, 3, 5, 7], [0, 1, 2, 0, 1])
    >>> sample_bins(4, 6, None, offset=0.75).tolist()
    [1, 2, 3, 0, 1, 2]
    >>> sample_bins(2, 4, None, short="repeat").tolist()
    [0, 0, 1, 1]
    """
    if length < frames and short == "wrap":
        start = int((offset - 0.5) % 1.0 * length) if rng is None else int(rng.integers(length))
        return (start + np.arange(frames, dtype=np.int64)) % length
    position = rng.random(frames) if rng is not None else np.full(frames, offset)
    if length < frames:
        picked = (np.arange(frames) + position) * (length / frames)
        return np.minimum(picked.astype(np.int64), length - 1)
    edges = np.arange(frames + 1, dtype=np.int64) * length // frames
    width = edges[1:] - edges[:-1]
    return np.asarray(edges[:-1] + np.minimum((position * width).astype(np.int64), width - 1), np.int64)


def sample_times(
    length: int, frames: int, rng: np.random.Generator | None, *, crop: float = 1.0, offset: float = 0.5
) -> NDArray[np.float64]:
    """Return ``frames`` equally spaced times in a window of the clip, in frames, for :func:`at_times`.

    Args:
        crop: smallest share of the clip that a random window covers; with 1 it is always the whole clip.
        offset: where the window lies without a generator; 0.5 asks for the whole clip, another value for a
            window of mean random length that starts at that share of the free range.
    """
    last = float(length - 1)
    if rng is not None:
        share = float(rng.uniform(crop, 1.0))
        start = float(rng.random()) * last * (1 - share)
    elif offset == 0.5:
        share, start = 1.0, 0.0
    else:
        share = (1 + crop) / 2
        start = offset * last * (1 - share)
    return np.linspace(start, start + share * last, frames)


def at_times(joints: Array, times: NDArray[np.float64]) -> Array:
    """Interpolate (T, ...) linearly at fractional frame numbers: (len(times), ...)."""
    low = np.clip(np.floor(times).astype(np.int64), 0, len(joints) - 1)
    high = np.minimum(low + 1, len(joints) - 1)
    share = (times - low).astype(np.float32).reshape(-1, *(1,) * (joints.ndim - 1))
    return np.asarray(joints[low] * (1 - share) + joints[high] * share, dtype=np.float32)


def limbs(joints: Array, parents: Sequence[int], dims: Dims) -> Array:
    """Return the vectors from each keypoint's parent to it; a confidence is the lower one of both ends.

    Args:
        joints: (T, V, 3). parents: V indices, the centre its own (its vector is zero).
    """
    start = joints[..., list(parents), :]
    out = joints - start
    if dims == "xy":
        out[..., 2] = np.minimum(joints[..., 2], start[..., 2])
    return np.asarray(out, dtype=np.float32)


def motion(joints: Array, dims: Dims) -> Array:
    """Return the change since the frame before, zero in the first; a confidence is the lower of both."""
    before = np.concatenate([joints[:1], joints[:-1]])
    out = joints - before
    if dims == "xy":
        out[..., 2] = np.minimum(joints[..., 2], before[..., 2])
    return np.asarray(out, dtype=np.float32)


def transform_points(joints: Array, matrix: NDArray[Any], origin: NDArray[Any] | None = None) -> Array:
    """Apply a (2, 2) or (3, 3) matrix to the first columns, about an origin (by default zero)."""
    axes = len(matrix)
    out = joints.copy()
    about = np.zeros(axes, np.float32) if origin is None else np.asarray(origin, np.float32)[:axes]
    out[..., :axes] = (joints[..., :axes] - about) @ matrix.T.astype(np.float32) + about
    return out


def random_view(
    rng: np.random.Generator, dims: Dims, *, rotate: float, zoom: float, shear: float
) -> NDArray[np.float32]:
    """Draw a linear map of keypoints.

    ``xyz``: a turn about the vertical axis (another place of the camera) and a scale for each axis.
    ``xy``: a turn in the image, a scale, and a shear.

    Args:
        rotate: largest angle, in degrees. zoom, shear: largest deviation from 1 and from 0.

    Returns:
        (3, 3) for ``xyz``, (2, 2) for ``xy``.
    """
    angle = float(np.deg2rad(rng.uniform(-rotate, rotate)))
    cos, sin = np.cos(angle), np.sin(angle)
    axes = 3 if dims == "xyz" else 2
    skew = np.eye(axes)
    off = ~np.eye(axes, dtype=bool)
    skew[off] = rng.uniform(-shear, shear, int(off.sum()))
    sizes = rng.uniform(1 - zoom, 1 + zoom, axes if dims == "xyz" else 1)
    turn = (
        np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        if dims == "xyz"
        else np.array([[cos, -sin], [sin, cos]])
    )
    return np.asarray((turn @ skew) * sizes, dtype=np.float32)


def stretch_bones(
    joints: Array,
    parents: Sequence[int],
    matrix: Array,
    permutation: NDArray[np.int64],
    dims: Dims,
    strength: float,
    rng: np.random.Generator,
) -> Array:
    """Change the proportions of the body: each bone's length by a random factor, the same one left and
    right.

    Args:
        joints: (T, V, 3). matrix: (V, V) of ``layouts.limb_matrix``. permutation: (V,) the layout's flip.
        strength: largest deviation of a factor from 1.
    """
    axes = 2 if dims == "xy" else 3
    factor = rng.uniform(-strength, strength, len(parents)).astype(np.float32)
    factor = np.where(permutation < np.arange(len(parents)), factor[permutation], factor)
    out = joints.copy()
    out[..., :axes] += matrix @ (limbs(joints, parents, dims)[..., :axes] * factor[:, None])
    return out


def jitter_points(joints: Array, deviation: float, dims: Dims, rng: np.random.Generator) -> Array:
    """Add normal noise of a standard deviation (in the unit of the positions) to positions."""
    axes = 2 if dims == "xy" else 3
    out = joints.copy()
    out[..., :axes] += rng.standard_normal((*joints.shape[:-1], axes), dtype=np.float32) * np.float32(
        deviation
    )
    return out


def drop_points(joints: Array, probability: float, rng: np.random.Generator) -> Array:
    """Set whole keypoints of a (T, V, C) sequence to zero, each with a probability."""
    kept = np.asarray(rng.random(joints.shape[-2]) >= probability)
    return np.asarray(joints * kept[:, None].astype(joints.dtype))


def project(joints: Array, camera: tuple[float, float, float, float] | None) -> Array:
    """Project x, y, z to pixels; the image's y axis points down, the body's up.

    With intrinsics (fx, fy, cx, cy): u = fx x / z + cx, v = cy - fy y / z. Without:
    orthographic, u = x, v = -y.

    Args:
        joints: (..., V, 3) in metres, z away from the camera.

    Returns:
        (..., V, 2) float32; points at or behind the camera plane are placed as if 10 cm before it.
    """
    if camera is None:
        return np.stack([joints[..., 0], -joints[..., 1]], axis=-1).astype(np.float32)
    fx, fy, cx, cy = camera
    depth = np.maximum(joints[..., 2], 0.1)
    return np.stack([fx * joints[..., 0] / depth + cx, cy - fy * joints[..., 1] / depth], axis=-1).astype(
        np.float32
    )


def square_box(points: Array, present: NDArray[np.bool_], padding: float) -> tuple[float, float, float]:
    """Return x, y of the corner and the side of the square around all present points.

    Args:
        points: (..., 2) pixels. present: (...). padding: share of the longer side that is added in all.
    """
    seen = points[present]
    if not len(seen):
        return 0.0, 0.0, 1.0
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = max(float((high - low).max()) * (1 + padding), 1e-3)
    x0, y0 = (low + high) / 2 - side / 2
    return float(x0), float(y0), side


def random_crop(rng: np.random.Generator, min_area: float) -> tuple[float, float, float, float]:
    """Draw x0, y0, width, height of a crop of the unit square: at least ``min_area``, aspect 3/4 to 4/3."""
    for _ in range(10):
        area = rng.uniform(min_area, 1.0)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = float(np.sqrt(area * aspect)), float(np.sqrt(area / aspect))
        if width <= 1 and height <= 1:
            return float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height)), width, height
    return 0.0, 0.0, 1.0, 1.0


def flip_stream(sample: NDArray[Any], permutation: NDArray[np.int64]) -> NDArray[Any]:
    """Mirror a centred (C, T, V) sample: left and right swap, x channels (0, 3 ...) change their sign."""
    out = sample[..., permutation]
    out[::3] *= -1
    return out


def flip_people(sample: NDArray[Any], permutation: NDArray[np.int64]) -> NDArray[Any]:
    """Mirror (P, T, V, 3) keypoints in the unit box: left and right swap and x becomes 1 - x."""
    out = sample[..., permutation, :]
    out[..., 0] = 1 - out[..., 0]
    return out
