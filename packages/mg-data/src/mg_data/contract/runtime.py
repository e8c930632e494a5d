"""Objects that packages pass to one another at run time.

Nothing here imports numpy or torch when it is loaded: the annotations are for readers and type checkers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class ModelOutput(NamedTuple):
    """What every model returns for a batch.

    logits: (N, K), before the softmax. feature: (N, d), what the classifier reads. These two for good, as
    callers unpack them.
    """

    logits: Any
    feature: Any


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What one sample of a modality looks like; enough to build a model for it, and kept in checkpoints.

    Args:
        kind: ``keypoints`` (C, T, V), ``people`` (P, T, V, 3), ``video`` (C, T, H, W), ``signal`` (C, T) or
            ``features`` (D,).
        shape: the sample's shape.
        dtype: numpy name of the sample's type.
        layout: keypoint layout, if there are keypoints.
        extra: further facts by name, JSON values only.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that :meth:`from_json` reads back."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "layout": self.layout,
            "extra": dict(self.extra),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputSpec:
        """Rebuild the record that :meth:`to_json` described."""
        return cls(
            kind=value["kind"],
            shape=tuple(value["shape"]),
            dtype=value.get("dtype", "float32"),
            layout=value.get("layout", ""),
            extra=dict(value.get("extra", {})),
        )


class Loss(Protocol):
    """What the factory of a ``LossSpec`` returns: a ``torch.nn.Module``; its buffers go into the checkpoint.

    A classification loss reads the logits, an auxiliary one the feature too. Two things it may have besides:
    ``soft_targets = True`` if the target may be (N, K) probabilities, and ``at_epoch(epoch, epochs)``, which
    is called before each epoch, counted from 0.
    """

    def __call__(self, output: ModelOutput, target: Any) -> Any:
        """Return the scalar loss of a batch. target: (N,) int64 classes."""
        ...


class Tracker(Protocol):
    """What the factory of a ``TrackerSpec`` returns."""

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a finished epoch, counted from 1."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...


class Modality(Protocol):
    """Reads one store and turns clips into samples. Opened once a process; safe to pickle.

    ``clip_ids`` lists the clips it can serve. ``sample`` with a generator draws a training sample (random
    frames, augmentation, no flip); with ``None`` the one deterministic test sample. ``views`` yields the test
    samples whose logits are averaged (the deterministic sample alone unless the modality has several clips).
    """

    input: InputSpec
    clip_ids: NDArray[np.str_]

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> NDArray[Any]: ...

    def views(self, clip_id: str) -> list[NDArray[Any]]: ...

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror a sample horizontally: an involution that leaves its argument as it was."""
        ...


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """One clip of an importer.

    Args:
        start, stop: frames in its video, half-open.
        joints: (T, P, V, 3) float32, or None if the data set has no keypoints.
        label: class index, -1 if unknown; goes to labels.csv, never into a store.
        signals: name -> (T', C) float32 array at its own rate.
    """

    clip_id: str
    subject_id: str
    video_id: str
    start: int
    stop: int
    joints: NDArray[np.float32] | None
    label: int = -1
    signals: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A clip or file that was not imported, and why; or, as a ``note``, what to know of one that was.

    A note stops nothing; it is reported.
    """

    what: str
    why: str
    note: bool = False


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """One unit of an importer's work, usually one recording with all its clips.

    Units are what ``mg data import`` shares out to processes and shards and what it resumes by.

    Args:
        name: the recording; unique, and what a shard is chosen by.
        read: picklable (a module's function, or ``functools.partial`` of one), as it may run in another
            process; returns the clips and what had to be left out (and notes). It raises DataError if the
            whole unit cannot be read. What it leaves out or raises ends the import unless ``--keep-going``.
        clips: how many clips it should give.
        files: what it reads; a change of one is a change of the unit.
    """

    name: str
    read: Callable[[], tuple[list[RawClip], list[Dropped]]]
    clips: int = 1
    files: tuple[Path, ...] = ()


@dataclass(kw_only=True)
class DatasetImport:
    """What an importer returns: facts about all clips, and where the clips come from.

    Give ``sources`` (read in parallel, sharded, resumed) or, for a small data set, ``clips`` and ``total``:
    ``clips`` is consumed once, lazily. ``dropped`` lists what was passed over when the tree was opened
    (a file of another kind, a recording without a clip): it is reported and stops nothing. Damage met while
    ``clips`` is consumed is appended to it, and stops the import unless ``--keep-going``.
    ``signals`` maps a signal's name to its attributes (``rate_hz``, ``units``, ``channels``).
    ``frame_rates`` has frames a second by video id, of the videos that tell, where clips are whole videos:
    the store keeps them for ``mg watch``.
    """

    class_names: tuple[str, ...]
    vocabulary: str
    layout: str
    columns: tuple[str, str, str]
    image_size: tuple[int, int]
    sources: Sequence[ClipSource] = ()
    clips: Iterable[RawClip] = ()
    total: int = 0
    camera: tuple[float, float, float, float] | None = None
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    frame_rates: Mapping[str, float] = field(default_factory=dict)

    def all_clips(self) -> Iterator[RawClip]:
        """Read everything in this process, one unit after another (for scripts and tests).

        ``dropped`` grows by what has to be left out; a unit that cannot be read at all raises DataError.
        """
        yield from self.clips
        for source in self.sources:
            clips, dropped = source.read()
            self.dropped.extend(dropped)
            yield from clips


class FrameSource(Protocol):
    """Opens the frames of one clip, in order, as (H, W, 3) uint8 RGB or (H, W) uint16 arrays.

    It may also have ``select(video_id, frame_numbers)``, which yields only the frames of ascending
    numbers, and ``video_path(video_id)``, the file they are decoded from: then cropping converts less, and a
    changed file is noticed on ``--resume``.
    """

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[Any]]: ...


class PoseEstimator(Protocol):
    """Finds people in the frames of one video. Made anew for each video, so it may carry state from frame
    to frame.
    """

    def estimate(self, frames: Iterable[NDArray[np.uint8]], fps: float) -> Iterator[NDArray[np.float32]]:
        """Yield for each (H, W, 3) uint8 RGB frame the people in it: (P, V, 3), P may be 0 and may change.

        The last axis is x, y in pixels and a confidence in [0, 1]; a point that was not found is 0, 0, 0.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TargetScores:
    """Scores of the unlabelled target, as an adapter sees them: there is no label in it.

    Args:
        clip_ids: (N,) text. class_names: K names.
        probs: (N, K) the weighted vote of all models.
        model_probs: (M, N, K), 0 where absent. present: (M, N) bool. model_names: M names.
        prior: (K,) class frequencies of the labelled source.
    """

    clip_ids: NDArray[np.str_]
    class_names: tuple[str, ...]
    probs: NDArray[np.float64]
    model_probs: NDArray[np.float64]
    present: NDArray[np.bool_]
    model_names: tuple[str, ...]
    prior: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What an adapter returns: ``rows`` of the target scores and the label given to each.

    Args:
        rows: (S,) int64. labels: (S,) int32. confidence: (S,) float32 in [0, 1].
        probs: (S, K) float32 for learning soft labels, or None.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int32]
    confidence: NDArray[np.float32]
    probs: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a command did.

    Args:
        data: JSON value, printed with ``--json`` and kept in the run's record.
        text: what a person reads on stdout.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


class Progress(Protocol):
    """A running progress bar."""

    def advance(self, steps: int = 1, note: str = "") -> None: ...


class Console(Protocol):
    """Where talk goes (stderr); silent with ``--quiet``. Results go to stdout through StageResult."""

    quiet: bool

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]: ...
