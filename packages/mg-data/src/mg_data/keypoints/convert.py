"""Keypoints of one layout as those of another, where points correspond. Pure functions.

Points correspond by anatomical name: the layouts of this package name the same point the same way, and a
plugin's layout takes part as far as its names do. A layout that is a selection of another one is made by its
columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mg_data.contract.errors import DataError
from mg_data.contract.specs import LayoutSpec
from mg_data.keypoints._face_mesh import LANDMARKS_68
from mg_data.keypoints._figure import FACE_68_NAMES
from mg_data.keypoints.layouts import columns_from, find_layout, made_of
from mg_data.keypoints.transform import present_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MIN_COMMON", "Correspondence", "convert", "correspondence"]

# Fewer points than these are no pose.
MIN_COMMON = 5

# Names of one place. A source that has the very name of a wanted point gives that one.
_SAME_PLACE: tuple[tuple[str, ...], ...] = (
    ("neck", "shoulder_centre"),
    ("mid_hip", "hip_centre"),
    *((f"{side}_wrist", f"{side}_hand_root") for side in ("left", "right")),
    *((f"{side}_big_toe", f"{side}_foot_index") for side in ("left", "right")),
    *(
        (name, f"face_mesh_{point}")
        for name, point in zip(FACE_68_NAMES, LANDMARKS_68, strict=True)
    ),
)  # fmt: skip
# Points half-way between two others.
_HALF_WAY: Mapping[str, tuple[str, str]] = {
    "neck": ("left_shoulder", "right_shoulder"),
    "shoulder_centre": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
    "hip_centre": ("left_hip", "right_hip"),
}


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """How each keypoint of a target layout comes out of a source layout.

    Args:
        source, target: names of the layouts.
        taken: target index -> source index.
        derived: target index -> the two source indices whose middle it is.
        missing: target indices without a counterpart.
    """

    source: str
    target: str
    taken: Mapping[int, int]
    derived: Mapping[int, tuple[int, int]]
    missing: tuple[int, ...]


def _other_names() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for names in _SAME_PLACE:
        for name in names:
            found[name] = tuple(other for other in names if other != name)
    return found


_OTHER_NAMES = _other_names()


def correspondence(source: str | LayoutSpec, target: str | LayoutSpec) -> Correspondence:
    """Tell which points of ``target`` are taken from ``source``, derived of two of its points, or missing.

    MediaPipe's face mesh gives the 68 landmarks of the face (the jaw only roughly: its outline follows the
    image where the landmarks follow the bone). A wrist and the root of a hand are one place, and so are the
    big toe and MediaPipe's foot index. A neck and a middle of the hips that the source lacks are half-way
    between the shoulders and the hips. Of a layout that is a selection of ``source`` the columns decide.

    Raises:
        DataError: pixels against metres, or fewer than ``MIN_COMMON`` points in common.
    """
    have = find_layout(source) if isinstance(source, str) else source
    want = find_layout(target) if isinstance(target, str) else target
    if have.dims != want.dims:
        raise DataError(
            f"keypoints of layout {have.name!r} ({have.dims}) cannot become {want.name!r} ({want.dims}): "
            "pixels and metres do not convert; project them by the store's camera, or choose another layout"
        )
    if made_of(want, have.name):  # its columns say where its points come from, whatever it calls them
        columns = columns_from(want, have.name).tolist()
        return Correspondence(
            source=have.name, target=want.name, taken=dict(enumerate(columns)), derived={}, missing=()
        )
    at = {name: point for point, name in enumerate(have.names)}
    # Where a layout has both, its neck is a place of its own, above the middle of the shoulders.
    two_necks = {"neck", "shoulder_centre"} <= set(want.names)
    taken: dict[int, int] = {}
    derived: dict[int, tuple[int, int]] = {}
    missing: list[int] = []
    for point, name in enumerate(want.names):
        exact = two_necks and name == "neck"
        names = (name,) if exact else (name, *_OTHER_NAMES.get(name, ()))
        found = next((at[known] for known in names if known in at), None)
        halves = () if exact else _HALF_WAY.get(name, ())
        if found is not None:
            taken[point] = found
        elif halves and halves[0] in at and halves[1] in at:
            derived[point] = at[halves[0]], at[halves[1]]
        else:
            missing.append(point)
    common = len(set(taken.values()))
    if common < MIN_COMMON:
        raise DataError(
            f"keypoints of layout {have.name!r} cannot become {want.name!r}: found {common} "
            f"points in common, want {MIN_COMMON} or more; choose a layout of the same part of the body"
        )
    return Correspondence(
        source=have.name, target=want.name, taken=taken, derived=derived, missing=tuple(missing)
    )


def convert(joints: NDArray[Any], source: str | LayoutSpec, target: str | LayoutSpec) -> NDArray[np.float32]:
    """Return keypoints of ``source`` as those of ``target``.

    A derived point is the middle of two; its confidence is the lower one of both, and it is missing if one
    of them is. Points without a counterpart are 0, 0, 0.

    Args:
        joints: (..., V, 3); x, y, confidence or x, y, z, as the layouts say.

    Returns:
        (..., V', 3) float32, a new array.

    Raises:
        DataError: as :func:`correspondence`, or ``joints`` has another number of keypoints than ``source``.
    """
    have = find_layout(source) if isinstance(source, str) else source
    want = find_layout(target) if isinstance(target, str) else target
    if joints.ndim < 2 or joints.shape[-2:] != (len(have.names), 3):
        raise DataError(
            f"keypoints of shape {joints.shape} are not {have.name!r}: want {len(have.names)} keypoints of 3 "
            "values on the last axes; check the layout of the store"
        )
    way = correspondence(have, want)
    out = np.zeros((*joints.shape[:-2], len(want.names), 3), np.float32)
    out[..., list(way.taken), :] = joints[..., list(way.taken.values()), :]
    for point, (first, second) in way.derived.items():
        a, b = joints[..., first, :], joints[..., second, :]
        middle = (a + b) / 2
        if have.dims == "xy":
            middle[..., 2] = np.minimum(a[..., 2], b[..., 2])
        seen = present_points(a, have.dims) & present_points(b, have.dims)
        out[..., point, :] = np.where(np.expand_dims(seen, -1), middle, 0.0)
    return out
