"""Modalities over keypoints: a stored clip becomes a model's input (paper 3.1).

``joint``, ``limb``, ``motion``, ``joint-motion`` and ``limb-motion`` give (C, T, V); ``heatmap`` gives the
keypoints (P, T, V, 3) from which the model renders heatmaps on its own device. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np

from mg_data.contract.errors import DataError, UsageError
from mg_data.contract.runtime import InputSpec
from mg_data.contract.specs import LayoutSpec
from mg_data.keypoints import transform
from mg_data.keypoints.convert import convert, correspondence
from mg_data.keypoints.layouts import columns_from, find_layout, flip_permutation, limb_matrix, made_of
from mg_data.keypoints.records import HEATMAP_OPTIONS, STREAM_OPTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Prepared clips (selected, gaps filled) are kept in memory up to this many bytes a process: small data
# sets are prepared once, large ones as they come.
CACHE_BYTES = 256 * 2**20
# Flipping x to 1 - x and back is exact in float32 for multiples of this.
_GRID = np.float32(2**20)
# What numbers may be, and how a message says it.
_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "crop": (lambda value: 0 < value <= 1, "more than 0 and up to 1 (the whole clip)"),
    "crop_area": (lambda value: 0 < value <= 1, "more than 0 and up to 1 (no crop)"),
    "rotate": (lambda value: value >= 0 or value == -1, "0 or more degrees, or -1 for the default"),
    "shear": (lambda value: value >= 0 or value == -1, "0 or more, or -1 for the default"),
    "zoom": (lambda value: 0 <= value < 1, "0 or more and less than 1"),
    "bones": (lambda value: 0 <= value < 1, "0 or more and less than 1"),
    "drop": (lambda value: 0 <= value < 1, "0 or more and less than 1"),
    "jitter": (lambda value: value >= 0, "0 or more"),
    "min_confidence": (lambda value: value >= 0, "0 or more"),
    "padding": (lambda value: value > -1, "more than -1"),
}


class Clips(Protocol):
    """What a modality needs of a clips store."""

    @property
    def clip_ids(self) -> NDArray[np.str_]: ...
    @property
    def layout(self) -> str: ...
    @property
    def camera(self) -> tuple[float, float, float, float] | None: ...
    def joints(self, row: int) -> Array: ...


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Options of the (C, T, V) modalities.

    Args:
        layout: layout to convert to; "" keeps the store's own.
        frames: T. sampling: ``linear`` interpolates at T equally spaced times, ``bins`` picks one frame of
            each of T bins.
        centre: subtract the centre of each ``frame``, of the ``first`` one, or nothing (``none``).
        scale: divide by the person's ``bones`` (see ``transform.body_size``) or not (``none``).
        crop: smallest share of the clip a random window covers (``linear``).
        rotate: largest random turn in degrees (xyz: about the vertical axis); -1 for 30 (xyz) or 10 (xy).
        zoom, shear: largest random change of scale, and shear (-1 for 0.05 for xy and 0 for xyz).
        bones: largest random change of a bone's length, relative.
        jitter: standard deviation of noise, in root-mean-square bone lengths.
        drop: probability that a keypoint is taken away.
        min_confidence: keypoints at or below it count as missing.
        clips: test samples per clip whose logits are averaged.
    """

    layout: str
    frames: int
    centre: Literal["frame", "first", "none"]
    scale: Literal["bones", "none"]
    sampling: Literal["linear", "bins"]
    crop: float
    rotate: float
    zoom: float
    shear: float
    bones: float
    jitter: float
    drop: float
    min_confidence: float
    clips: int


@dataclass(frozen=True, kw_only=True)
class HeatmapOptions:
    """Options of ``heatmap``.

    Args:
        layout, frames, rotate, bones, drop, min_confidence, clips: as in :class:`StreamOptions`; the turn
            of xyz keypoints comes before their projection, so the model sees other places of the camera.
        size: side of the heatmaps in pixels, told to the model. jitter: in shares of the box.
        persons: how many persons are kept, the most confident first.
        padding: share of the box's side that is added around the person.
        short: what clips shorter than ``frames`` do, ``wrap`` or ``repeat``.
        crop_area: smallest area of a random crop of the box; 1 for none.
    """

    layout: str
    frames: int
    size: int
    persons: int
    padding: float
    short: Literal["wrap", "repeat"]
    crop_area: float
    rotate: float
    bones: float
    jitter: float
    drop: float
    min_confidence: float
    clips: int


class _Keypoints:
    """What both modalities share: selection of persons and columns, filled gaps, a bounded cache."""

    def __init__(self, clips: Clips, layout: str, min_confidence: float) -> None:
        self._clips = clips
        self.clip_ids = clips.clip_ids
        self.layout: LayoutSpec = find_layout(layout or clips.layout)
        stored = find_layout(clips.layout)
        # A layout picked from another one has its dims; the store's own are what the numbers are.
        self._dims = stored.dims
        self._stored = stored
        self._columns = None
        if made_of(self.layout, stored.name):
            self._columns = columns_from(self.layout, stored.name)
        else:
            correspondence(stored, self.layout)  # says now, not at the first clip, that they do not fit
        self._min_confidence = min_confidence
        self._permutation = flip_permutation(self.layout)
        self._limb_matrix = limb_matrix(self.layout)
        self._row = {str(clip_id): row for row, clip_id in enumerate(self.clip_ids)}
        self._cache: dict[tuple[str, int], tuple[Array, NDArray[np.bool_]]] = {}
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_cached_bytes": 0}

    def _people(self, clip_id: str, persons: int) -> tuple[Array, NDArray[np.bool_]]:
        """Return the most confident persons as finite (P, T, V, 3) keypoints, and which of them were seen."""
        key = (clip_id, persons)
        if key in self._cache:
            return self._cache[key]
        if clip_id not in self._row:
            raise DataError(
                f"clip {clip_id!r} is not among the {len(self._row)} clips of the store; check the split"
            )
        joints = self._clips.joints(self._row[clip_id])
        if self._columns is None:
            joints = convert(joints, self._stored, self.layout)
        else:
            joints = joints[:, :, self._columns]
        if not len(joints):
            raise DataError(f"clip {clip_id!r} has no frames; want at least one: leave it out of the split")
        present = transform.present_points(joints, self._dims, self._min_confidence)
        weight = np.where(present, joints[..., 2], 0) if self._dims == "xy" else present
        order = np.argsort(-weight.sum(axis=(0, 2)), kind="stable")[:persons]
        parents, centre = self.layout.parents, self.layout.centre
        people = np.stack(
            [transform.fill_missing(joints[:, p], present[:, p], parents, centre, self._dims) for p in order]
        )
        if self._dims == "xy":
            people[..., 2] *= present.transpose(1, 0, 2)[order]
        result = people, np.ascontiguousarray(present.transpose(1, 0, 2)[order])
        self._cached_bytes += people.nbytes + result[1].nbytes
        if self._cached_bytes <= CACHE_BYTES:
            self._cache[key] = result
        return result


class KeypointStreams(_Keypoints):
    """Joint, limb and motion streams: (C, T, V) float32 samples of the most confident person.

    Args:
        clips: an open clips store.
        streams: names out of ``joint``, ``limb``, ``motion``, ``limb-motion``; their channels are put
            together.
    """

    def __init__(self, clips: Clips, streams: tuple[str, ...], options: StreamOptions) -> None:
        super().__init__(clips, options.layout, options.min_confidence)
        self._streams = streams
        spatial = self._dims == "xyz"
        self._options = options
        self._rotate = options.rotate if options.rotate >= 0 else (30.0 if spatial else 10.0)
        self._shear = options.shear if options.shear >= 0 else (0.0 if spatial else 0.05)
        self.input = InputSpec(
            kind="keypoints",
            shape=(3 * len(streams), options.frames, len(self.layout.names)),
            layout=self.layout.name,
            extra={"streams": list(streams), "dims": self._dims},
        )

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Array:
        """Return a (C, T, V) sample: random and augmented with a generator, else the deterministic one."""
        return self._sample(clip_id, rng, 0.5)

    def views(self, clip_id: str) -> list[Array]:
        """Return ``clips`` deterministic samples of different times (the whole clip alone if it is one)."""
        clips = self._options.clips
        return [
            self._sample(clip_id, None, 0.5 if clips == 1 else view / (clips - 1)) for view in range(clips)
        ]

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror a (C, T, V) sample: an exact involution."""
        return transform.flip_stream(sample, self._permutation)

    def _sample(self, clip_id: str, rng: np.random.Generator | None, offset: float) -> Array:
        options, dims = self._options, self._dims
        people, _ = self._people(clip_id, 1)
        joints = people[0]
        parents = self.layout.parents
        size = transform.body_size(joints, parents, dims)
        if options.sampling == "linear":
            times = transform.sample_times(len(joints), options.frames, rng, crop=options.crop, offset=offset)
            joints = transform.at_times(joints, times)
        else:
            offset = min(max(offset, 0.01), 0.99)
            joints = joints[
                transform.sample_bins(len(joints), options.frames, rng, offset=offset, short="repeat")
            ]
        joints = transform.centre_normalise(joints, self.layout.centre, dims, options.centre)
        joints = transform.scale_normalise(joints, size if options.scale == "bones" else 1.0, dims)
        if rng is not None:
            joints = self._augment(joints, rng, 1.0 if options.scale == "bones" else size)
        limbs = transform.limbs(joints, parents, dims) if "limb" in "".join(self._streams) else joints
        parts = {
            "joint": lambda: joints,
            "motion": lambda: transform.motion(joints, dims),
            "limb": lambda: limbs,
            "limb-motion": lambda: transform.motion(limbs, dims),
        }
        sample = np.concatenate([parts[stream]() for stream in self._streams], axis=-1)
        if rng is not None and options.drop:
            sample = transform.drop_points(sample, options.drop, rng)
        return np.ascontiguousarray(sample.transpose(2, 0, 1), dtype=np.float32)

    def _augment(self, joints: Array, rng: np.random.Generator, unit: float) -> Array:
        options, dims = self._options, self._dims
        view = transform.random_view(rng, dims, rotate=self._rotate, zoom=options.zoom, shear=self._shear)
        if options.bones:
            joints = transform.stretch_bones(
                *(joints, self.layout.parents, self._limb_matrix, self._permutation),
                *(dims, options.bones, rng),
            )
        joints = transform.transform_points(joints, view)
        return transform.jitter_points(joints, options.jitter * unit, dims, rng) if options.jitter else joints


class KeypointHeatmaps(_Keypoints):
    """Keypoints in the unit square of the clip's box, (P, T, V, 3): x, y, confidence.

    The square holds all that is seen of the kept persons in the whole clip, so a person who walks is seen
    walking. xyz keypoints are projected through the store's camera (orthographically if there is none),
    with confidence 1.
    """

    def __init__(self, clips: Clips, options: HeatmapOptions) -> None:
        super().__init__(clips, options.layout, options.min_confidence)
        self._options = options
        spatial = self._dims == "xyz"
        self._rotate = options.rotate if options.rotate >= 0 else (30.0 if spatial else 0.0)
        self.input = InputSpec(
            kind="people",
            shape=(options.persons, options.frames, len(self.layout.names), 3),
            layout=self.layout.name,
            extra={
                "pairs": [list(pair) for pair in self.layout.pairs],
                "edges": [list(edge) for edge in self.layout.edges],
                "size": options.size,
            },
        )

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Array:
        """Return a (P, T, V, 3) sample: random frames, turn and crop, or the deterministic one."""
        return self._sample(clip_id, rng, 0.5)

    def views(self, clip_id: str) -> list[Array]:
        """Return ``clips`` deterministic samples that take other frames of each bin; of a short clip that
        starts over, samples that begin at other frames."""
        clips = self._options.clips
        return [self._sample(clip_id, None, (view + 0.5) / clips) for view in range(clips)]

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror a (P, T, V, 3) sample in its box: an exact involution."""
        return transform.flip_people(sample, self._permutation)

    def _sample(self, clip_id: str, rng: np.random.Generator | None, offset: float) -> Array:
        options, dims = self._options, self._dims
        people, present = self._people(clip_id, options.persons)
        if rng is not None and options.bones:
            people = np.stack(
                [
                    transform.stretch_bones(
                        *(person, self.layout.parents, self._limb_matrix, self._permutation),
                        *(dims, options.bones, rng),
                    )
                    for person in people
                ]
            )
        if dims == "xyz":
            if rng is not None and self._rotate:
                view = transform.random_view(rng, dims, rotate=self._rotate, zoom=0.0, shear=0.0)
                origin = people[:, :, self.layout.centre].mean(axis=(0, 1))
                people = transform.transform_points(people, view, origin)
            points = transform.project(people, self._clips.camera)
            confidence = present.astype(np.float32)
        else:
            points, confidence = people[..., :2], people[..., 2]
            if rng is not None and self._rotate:
                view = transform.random_view(rng, dims, rotate=self._rotate, zoom=0.0, shear=0.0)
                points = transform.transform_points(points, view, points.mean(axis=(0, 1, 2)))
        x0, y0, side = transform.square_box(points, present, options.padding)
        length = points.shape[1]
        frames = transform.sample_bins(length, options.frames, rng, offset=offset, short=options.short)
        points = (points[:, frames] - np.array([x0, y0], np.float32)) / np.float32(side)
        confidence = confidence[:, frames]
        if rng is not None:
            left, top, width, height = transform.random_crop(rng, options.crop_area)
            corner, extent = np.array([[left, top], [width, height]], np.float32)
            points = np.asarray((points - corner) / extent, dtype=np.float32)
            if options.jitter:
                points = transform.jitter_points(points, options.jitter, "xy", rng)
            if options.drop:
                confidence = transform.drop_points(confidence[..., None], options.drop, rng)[..., 0]
        missing = options.persons - len(points)
        snapped = np.asarray(np.round(points * _GRID) / _GRID, dtype=np.float32)
        sample = np.concatenate([snapped, confidence[..., None]], axis=-1)
        if missing:
            sample = np.concatenate([sample, np.zeros((missing, *sample.shape[1:]), np.float32)])
        return np.ascontiguousarray(sample, dtype=np.float32)


def _options(modality: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Put given options over the defaults and check their names and values."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"modality {modality!r}: unknown option {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )
    options = {**known, **given}
    choices = {
        "centre": ("frame", "first", "none"),
        "scale": ("bones", "none"),
        "sampling": ("linear", "bins"),
        "short": ("wrap", "repeat"),
    }
    for name, allowed in choices.items():
        if name in options and options[name] not in allowed:
            raise UsageError(
                f"modality {modality!r}: {name} = {options[name]!r}, want one of {', '.join(allowed)}"
            )
    for name in ("frames", "size", "persons", "clips"):
        if name in options and (not isinstance(options[name], int) or options[name] < 1):
            raise UsageError(
                f"modality {modality!r}: {name} = {options[name]!r}, want a whole number from 1 on"
            )
    for name, (holds, wanted) in _RANGES.items():
        if name not in options:
            continue
        value = options[name]
        if not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
            raise UsageError(f"modality {modality!r}: {name} = {value!r}, want {wanted}")
    return options


def _clips(path: Path) -> Clips:
    from mg_data.store import open_clips

    return cast(Clips, open_clips(path))


def _streams(name: str, path: Path, streams: tuple[str, ...], given: Mapping[str, Any]) -> KeypointStreams:
    options = StreamOptions(**_options(name, STREAM_OPTIONS, given))
    return KeypointStreams(_clips(path), streams, options)


def joint(path: Path, **options: Any) -> KeypointStreams:
    """Centred positions, C = 3 (paper 3.1). Options: :class:`StreamOptions`."""
    return _streams("joint", path, ("joint",), options)


def limb(path: Path, **options: Any) -> KeypointStreams:
    """Vectors along the bones, C = 3. Options: :class:`StreamOptions`."""
    return _streams("limb", path, ("limb",), options)


def motion(path: Path, **options: Any) -> KeypointStreams:
    """Displacements of the keypoints, C = 3. Options: :class:`StreamOptions`."""
    return _streams("motion", path, ("motion",), options)


def joint_motion(path: Path, **options: Any) -> KeypointStreams:
    """Positions and displacements, C = 6. Options: :class:`StreamOptions`."""
    return _streams("joint-motion", path, ("joint", "motion"), options)


def limb_motion(path: Path, **options: Any) -> KeypointStreams:
    """Bone vectors and their change, C = 6. Options: :class:`StreamOptions`."""
    return _streams("limb-motion", path, ("limb", "limb-motion"), options)


def heatmap(path: Path, **options: Any) -> KeypointHeatmaps:
    """Keypoints in the person's box, (P, T, V, 3). Options: :class:`HeatmapOptions`."""
    return KeypointHeatmaps(_clips(path), HeatmapOptions(**_options("heatmap", HEATMAP_OPTIONS, options)))
