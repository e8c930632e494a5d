"""The part of ``mg data check`` that looks at every clip's keypoints."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, MgError, StoreError
from mg_data.keypoints.layouts import find_layout
from mg_data.store import ClipsStore
from mg_data.video.crop import visible_points

# A clip's shoulders count as swapped if they are so in this share of at least so many frames.
_SWAPPED_SHARE = 0.8
_SWAPPED_FRAMES = 5


class Findings(Protocol):
    """Where findings go."""

    def error(self, check: str, what: str, items: list[str]) -> None: ...

    def warning(self, check: str, what: str, items: list[str]) -> None: ...


def shoulders(layout: str) -> tuple[int, int] | None:
    """Return the indices of the left and the right shoulder of a layout, None if it has no such names."""
    try:
        names = find_layout(layout).names
    except MgError:  # a plugin's layout whose plugin is not installed
        return None
    if "left_shoulder" not in names or "right_shoulder" not in names:
        return None
    return names.index("left_shoulder"), names.index("right_shoulder")


def swapped_share(joints: NDArray[np.float32], left: int, right: int) -> float:
    """Return in which share of the frames the left shoulder is on the left side of the picture.

    Who faces the camera has it on the right side. Frames count in which both shoulders are seen and stand
    apart by more than the half of the clip's median distance; 0 if these are too few.

    Args:
        joints: (T, P, V, 3) x, y, confidence.
    """
    one, other = joints[:, :, left], joints[:, :, right]
    both = (one[..., 2] > 0) & (other[..., 2] > 0)
    apart = (one[..., 0] - other[..., 0])[both]
    clear = apart[np.abs(apart) > 0.5 * np.median(np.abs(apart))] if len(apart) else apart
    return float(np.mean(clear < 0)) if len(clear) >= _SWAPPED_FRAMES else 0.0


def check_motion(
    report: Findings, clips: ClipsStore, max_missing: float, max_outside: float, console: Console
) -> None:
    """Look at the keypoints of every clip once and report what no model can make sense of."""
    found: dict[str, list[str]] = {
        name: [] for name in ("damaged", "length", "nan", "empty", "still", "missing", "outside", "swapped")
    }
    flat = clips.columns[2:] == ("confidence",)
    pair = shoulders(clips.layout) if flat else None
    width, height = clips.image_size
    camera = None
    if clips.camera is not None:
        camera = (clips.camera[0], clips.camera[1], clips.camera[2], clips.camera[3])
    with console.progress("check keypoints", len(clips)) as bar:
        for row, clip_id in enumerate(clips.clip_ids.tolist()):
            bar.advance()
            try:
                joints = clips.joints(row)
            except StoreError:
                found["damaged"].append(clip_id)
                continue
            if len(joints) != clips.stop[row] - clips.start[row]:
                span = clips.stop[row] - clips.start[row]
                found["length"].append(f"{clip_id} ({len(joints)}, not {span})")
            if not np.isfinite(joints).all():
                found["nan"].append(clip_id)
                continue
            seen: NDArray[np.bool_] = joints[..., 2] > 0 if flat else np.any(joints != 0, axis=-1)
            if not seen.any():
                found["empty"].append(clip_id)
                continue
            if len(joints) > 1 and (joints == joints[:1]).all():
                found["still"].append(clip_id)
            # A person that is nowhere in the clip is an empty place, not a missing one.
            seen = seen[:, np.any(seen, axis=(0, 2))]
            missing = 1.0 - float(seen.mean()) if seen.size else 1.0
            if missing > max_missing:
                found["missing"].append(f"{clip_id} ({missing:.0%})")
            if width and height:
                points = visible_points(joints, clips.columns, camera, 0.0)
                if points is not None:
                    points = points[np.isfinite(points).all(axis=-1)]
                    outside = np.atleast_1d(np.any((points < 0) | (points > (width, height)), axis=-1))
                    if len(outside) and outside.mean() > max_outside:
                        found["outside"].append(f"{clip_id} ({outside.mean():.0%})")
            if pair is not None and swapped_share(joints, *pair) > _SWAPPED_SHARE:
                found["swapped"].append(clip_id)
    report.error(
        "damaged", "the keypoints of {n} clip(s) cannot be read: copy the store again", found["damaged"]
    )
    report.error("not-finite", "{n} clip(s) hold NaN or infinity; a missing point is 0, 0, 0", found["nan"])
    report.error("empty-clip", "{n} clip(s) have no keypoint at all", found["empty"])
    report.warning("no-motion", "{n} clip(s) are the same frame throughout", found["still"])
    report.warning(
        "frames-differ", "{n} clip(s) have more or fewer frames of keypoints than their span", found["length"]
    )
    report.warning(
        "missing-points",
        f"{{n}} clip(s) miss more than {max_missing:.0%} of their keypoints",
        found["missing"],
    )
    report.warning(
        "outside-image",
        f"{{n}} clip(s) have more than {max_outside:.0%} of their keypoints outside the image "
        f"of {width}x{height}",
        found["outside"],
    )
    mirrored = len(found["swapped"]) > len(clips) // 2
    report.warning(
        "sides-swapped",
        "{n} clip(s) have the left shoulder on the left of the picture in most frames: "
        + (
            "most clips do, so the recordings may be mirrored"
            if mirrored
            else "left and right may be swapped"
        ),
        found["swapped"],
    )
