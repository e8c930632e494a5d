"""People of one video: decoded, estimated, followed, cleaned and smoothed (the work of ``mg data pose``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, MgError, PluginError
from mg_data.keypoints.smoothing import Method, clean, present, smooth
from mg_data.keypoints.tracking import track_people
from mg_data.plugins import resolve
from mg_data.video.decode import count_frames, decode_frames
from mg_data.video.source import open_video

# Sides of a video may differ by this share from those of the store's image after scaling.
_SHAPE_TOLERANCE = 0.01
# A person is followed by points above this confidence, over so many frames without them, and over moves of
# this share of their size between frames; twice as far between estimates that lie _AWAY frames apart.
_FOLLOWED = 0.05
_LONGEST_GAP = 300
_FARTHEST = 0.35
_AWAY = 30


@dataclass(frozen=True)
class Settings:
    """What is done to every video; everything a worker process needs, so nothing is looked up there.

    Args:
        estimator, plugin: name, and the distribution with its version. factory: of the estimator.
        layout: of the results, with ``num_keypoints`` points.
        image_size: (width, height) in pixels that the keypoints of all videos are brought to.
    """

    estimator: str
    plugin: str
    factory: str
    options: Mapping[str, Any]
    layout: str
    num_keypoints: int
    persons: int
    min_confidence: float
    smooth: Method
    stride: int
    image_size: tuple[int, int]

    @property
    def who(self) -> str:
        """Return how messages call the estimator."""
        return f"pose estimator '{self.estimator}' of {self.plugin}"

    def facts(self) -> dict[str, Any]:
        """Return what the results depend on, as JSON."""
        names = ("estimator", "plugin", "options", "layout", "persons", "min_confidence", "smooth", "stride")
        return {name: getattr(self, name) for name in names} | {"image_size": list(self.image_size)}


@dataclass(frozen=True)
class VideoJob:
    """One video; ``name`` becomes its clip id."""

    name: str
    path: Path
    fps: float
    settings: Settings


@dataclass(frozen=True)
class VideoPose:
    """The people of one video.

    Args:
        joints: (T, P, V, 3) float32, in pixels of the store's image.
        size: (width, height) of the video. found: frames in which somebody was found.
        removed: points that lay outside the image or were too uncertain.
        stated: how many frames the file says it has, 0 if it does not say.
    """

    name: str
    joints: NDArray[np.float32]
    size: tuple[int, int]
    found: int
    removed: int
    stated: int


def stated_frames(path: Path, fps: float) -> int:
    """Return how many frames the file says it has, by its count or its duration; 0 if it does not say.

    Raises:
        DataError: unreadable.
    """
    import av

    with open_video(path) as (container, _):
        if not container.streams.video:
            raise DataError(f"{path}: holds no video stream")
        stream = container.streams.video[0]
        if stream.frames > 0:
            return int(stream.frames)
        if stream.duration and stream.time_base:
            return round(float(stream.duration * stream.time_base) * fps)
        return round((container.duration or 0) / av.time_base * fps)


@dataclass
class _Feed:
    """The frames that an estimator is given: every ``stride``-th of a video, counted."""

    path: Path
    stride: int
    total: int = 0
    given: int = 0
    size: tuple[int, int] = (0, 0)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.total = count_frames(self.path)
        for frame in decode_frames(self.path, np.arange(0, self.total, self.stride)):
            self.size = (frame.shape[1], frame.shape[0])
            self.given += 1
            yield frame


def _people(value: Any, settings: Settings, place: str) -> NDArray[np.float32]:
    """Check what an estimator says about one frame: (P, V, 3)."""
    people = np.asarray(value, np.float32)
    wanted = settings.num_keypoints
    if people.ndim != 3 or people.shape[1:] != (wanted, 3):
        raise PluginError(
            f"{settings.who}: gave an array of shape {people.shape} for {place}, wanted (P, {wanted}, 3), "
            f"as its layout is '{settings.layout}'"
        )
    if not np.isfinite(people).all():
        raise PluginError(
            f"{settings.who}: gave NaN or infinity for {place} (a point that was not found is 0, 0, 0)"
        )
    confidence = people[..., 2]
    if confidence.size and (confidence.min() < -1e-4 or confidence.max() > 1 + 1e-4):
        raise PluginError(
            f"{settings.who}: gave confidences of {confidence.min():g} to {confidence.max():g} for {place}, "
            "wanted 0 to 1"
        )
    return people


def _estimate(job: VideoJob, feed: _Feed) -> list[NDArray[np.float32]]:
    """Run the estimator over a video; returns (P, V, 3) for each frame that it was given.

    Raises:
        PluginError: it failed, or its results are not what the contract says.
    """
    settings = job.settings
    frames = cast("Any", iter(feed))
    results: list[NDArray[np.float32]] = []
    try:
        estimator = resolve(settings.factory)(**settings.options)
        for value in estimator.estimate(frames, job.fps / settings.stride):
            results.append(_people(value, settings, f"frame {len(results) * settings.stride} of {job.path}"))
            if len(results) > feed.given:
                break
        ended_early = len(results) == feed.given and next(frames, None) is not None
    except MgError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        number = (feed.given - 1) * settings.stride
        when = f"at frame {number} of" if feed.given else "before the first frame of"
        raise PluginError(
            f"{settings.who}: failed {when} {job.path}: {type(error).__name__}: {error}"
        ) from error
    finally:
        frames.close()
    if ended_early or len(results) != feed.given:
        asked = "and asked for no more" if ended_early else f"for {feed.given}"
        raise PluginError(
            f"{settings.who}: gave {len(results)} results {asked} frames of {job.path}, wanted one for each"
        )
    return results


def _fill(joints: NDArray[np.float32], stride: int, total: int) -> NDArray[np.float32]:
    """Return ``total`` frames from every ``stride``-th: straight lines between points seen at both ends.

    The frames after the last estimate repeat it: they are fewer than ``stride``.
    """
    if stride == 1:
        return joints
    number = np.arange(total)
    before = number // stride
    after = np.minimum(before + 1, len(joints) - 1)
    share = ((number % stride) / stride).astype(np.float32)[:, None, None, None]
    line = (1 - share) * joints[before] + share * joints[after]
    known = present(joints)
    keep = known[before] & (known[after] | (number % stride == 0)[:, None, None])
    exact = (share == 0) | (before == after)[:, None, None, None]
    return np.where(keep[..., None], np.where(exact, joints[before], line), 0).astype(np.float32)


def scale_factors(
    path: Path, size: tuple[int, int], image_size: tuple[int, int], other: str
) -> NDArray[np.float32]:
    """Return the factors (x, y, 1) from a video's pixels to the store's.

    Raises:
        DataError: the video is of another shape.
    """
    scale_x, scale_y = image_size[0] / size[0], image_size[1] / size[1]
    if abs(scale_x / scale_y - 1.0) > _SHAPE_TOLERANCE:
        raise DataError(
            f"{path}: is {size[0]}x{size[1]}, which cannot be scaled to {image_size[0]}x{image_size[1]} of "
            f"{other}: write one store for each shape of image"
        )
    return np.array([scale_x, scale_y, 1.0], np.float32)


def estimate_video(job: VideoJob) -> VideoPose:
    """Find, follow, clean and smooth the people of one video.

    Raises:
        DataError: it cannot be decoded, is of another shape, or shows nobody. PluginError: the estimator.
    """
    settings = job.settings
    feed = _Feed(job.path, settings.stride)
    frames = _estimate(job, feed)
    if not frames:
        raise DataError(f"{job.path}: holds no frame")
    factors = scale_factors(job.path, feed.size, settings.image_size, "the first video")
    away = (settings.stride - 1) / _AWAY
    joints = track_people(
        frames,
        persons=settings.persons,
        # All that was seen helps to follow a person; what is too uncertain goes afterwards.
        min_confidence=min(settings.min_confidence, _FOLLOWED),
        max_gap=max(1, _LONGEST_GAP // settings.stride),
        max_distance=_FARTHEST * (1.0 + min(away, 1.0)),
    )
    joints, removed = clean(joints, feed.size, settings.min_confidence)
    found = present(joints).any(axis=(1, 2))
    if not found.any():
        raise DataError(
            f"{job.path}: '{settings.estimator}' found nobody in its {feed.total} frames (leave such videos "
            "out with --keep-going)"
        )
    joints = smooth(joints, fps=job.fps / settings.stride, method=settings.smooth)
    # A smoothed curve may leave the image by a little.
    joints[..., :2] = joints[..., :2].clip(0, np.array(feed.size, np.float32))
    joints = _fill(joints, settings.stride, feed.total) * factors
    return VideoPose(
        job.name,
        joints,
        feed.size,
        round(float(found.mean()) * feed.total),
        removed,
        stated_frames(job.path, job.fps),
    )
