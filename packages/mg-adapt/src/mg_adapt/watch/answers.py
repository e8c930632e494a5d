"""What every checkpoint answers for every window of a video, and the vote over them.

A modality reads its clips from a store, whoever wrote it. So windows are written into small temporary stores,
some hundreds at a time, and any registered modality cuts its samples out of them as it does in training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mg_adapt.blame import named
from mg_adapt.branch import build_modality
from mg_adapt.checkpoint import Checkpoint, load_checkpoint
from mg_adapt.choice import Branch, resolve_branch
from mg_adapt.inference import predict_logits
from mg_adapt.stages.predict import check_input, load_model
from mg_adapt.target import VoteParameters, tempered, vote_weights
from mg_adapt.training.data import mirror_permutation
from mg_adapt.watch.segments import Windows
from mg_adapt.watch.videos import Video
from mg_data.contract import Progress, StoreError, UsageError
from mg_data.store import ClipsStore, ClipsWriter, StreamsStore, StreamsWriter

# Windows in one temporary store; frames of video take far more room than keypoints.
_WINDOWS = {"clips": 512, "streams": 64}


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A checkpoint with its model built and what it reads."""

    path: Path
    trained: Checkpoint
    branch: Branch
    model: nn.Module
    mirror: NDArray[np.int64] | None

    @property
    def kind(self) -> str:
        """Kind of store its modality reads."""
        return self.branch.modality.store_kind


def open_answerers(paths: Sequence[Path], *, has_crops: bool) -> list[Answerer]:
    """Open checkpoints that answer together.

    Raises:
        StoreError: a checkpoint that cannot be read, of other classes than the first, or of features.
        UsageError: two of one branch, or one that reads frames and there are none.
    """
    opened: list[Answerer] = []
    for path in paths:
        trained = load_checkpoint(path)
        branch = resolve_branch(
            trained.model, trained.modality, "", trained.model_options, trained.modality_options
        )
        kind = branch.modality.store_kind
        if kind not in _WINDOWS:
            raise StoreError(
                path, f"reads '{trained.modality}' from a store of kind '{kind}', which has no windows"
            )
        if kind == "streams" and not has_crops:
            raise UsageError(
                f"{path}: reads '{trained.modality}', frames of video: give --crops, the streams store of "
                "the same whole videos ('mg data crop')"
            )
        if opened and trained.class_names != opened[0].trained.class_names:
            raise StoreError(path, _other_classes(trained, opened[0]), "all must name the same, in order")
        if trained.key in [other.trained.key for other in opened]:
            raise UsageError(f"{path}: a second checkpoint of branch '{trained.key}': name it with --branch")
        flips = bool(trained.recipe.get("flip", False))
        opened.append(
            Answerer(
                path=path,
                trained=trained,
                branch=branch,
                model=load_model(path, trained, branch),
                mirror=mirror_permutation(trained.mirror_classes, len(trained.class_names))
                if flips
                else None,
            )
        )
    return opened


def _other_classes(trained: Checkpoint, first: Answerer) -> str:
    ours, theirs = trained.class_names, first.trained.class_names
    for place, (name, other) in enumerate(zip(ours, theirs)):
        if name != other:
            return f"class {place} is '{name}', in {first.path} it is '{other}'"
    return f"has {len(ours)} classes, {first.path} has {len(theirs)}"


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Weights (M,) of sum 1 and the temperature of the probabilities (paper Eq. 2-3)."""

    weights: NDArray[np.float64]
    temperature: float

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N, K) weighted mean of softmax(L_m / tau) of (M, N, K) logits."""
        voted: NDArray[np.float64] = np.einsum("m,mnk->nk", self.weights, tempered(logits, self.temperature))
        return voted


def choose_vote(answerers: Sequence[Answerer], parameters: VoteParameters | None) -> Vote:
    """Return equal weights at temperature 1, or those of a ``fusion.json``.

    Raises:
        UsageError: it is of other classes, or its branches are not those of the checkpoints.
    """
    weights = vote_weights(
        [answerer.trained.key for answerer in answerers],
        parameters,
        classes=answerers[0].trained.class_names,
        option="--fusion",
        holder=str(answerers[0].path),
        lack="checkpoint is",
    )
    return Vote(weights=weights, temperature=1.0 if parameters is None else parameters.temperature)


def answer_windows(
    answerers: Sequence[Answerer],
    store: ClipsStore,
    video: Video,
    windows: Windows,
    *,
    crops: tuple[StreamsStore, int] | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return (M, N, K) logits of every checkpoint for every window of one video.

    Args:
        crops: the streams store of the videos and this video's row in it.

    Raises:
        StoreError: what the store holds is not what a checkpoint was trained on.
    """
    classes = len(answerers[0].trained.class_names)
    logits = np.zeros((len(answerers), len(windows), classes))
    with tempfile.TemporaryDirectory(prefix="mg-watch-") as folder:
        for kind, size in _WINDOWS.items():
            places = [place for place, answerer in enumerate(answerers) if answerer.kind == kind]
            for first in range(0, len(windows) if places else 0, size):
                rows = np.arange(first, min(first + size, len(windows)))
                path = Path(folder) / f"{kind}.h5"
                if kind == "clips":
                    _write_keypoints(path, store, video, windows, rows)
                else:
                    assert crops is not None  # open_answerers has seen to it
                    _write_frames(path, *crops, windows, rows)
                for place in places:
                    logits[place, rows] = _ask(
                        answerers[place], path, store.path, rows, classes, batch_size, device, progress
                    )
    return logits


def _name(row: int) -> str:
    return f"window{row:08d}"


def _write_keypoints(
    path: Path, store: ClipsStore, video: Video, windows: Windows, rows: NDArray[np.int64]
) -> None:
    if not store.layout:
        raise StoreError(store.path, "holds no keypoints", "write them with 'mg data pose'")
    joints = store.joints(video.row)
    with ClipsWriter(
        path,
        dataset=store.dataset,
        class_names=store.class_names,
        layout=store.layout,
        columns=store.columns,
        image_size=store.image_size,
        camera=store.camera,
    ) as writer:
        for row in rows.tolist():
            start, stop = int(windows.start[row]), int(windows.stop[row])
            writer.add(
                clip_id=_name(row),
                subject_id="",
                video_id=video.video_id,
                start=start,
                stop=stop,
                joints=joints[start:stop],
            )


def _write_frames(
    path: Path, crops: StreamsStore, row_of_video: int, windows: Windows, rows: NDArray[np.int64]
) -> None:
    boxes = crops.boxes(row_of_video)
    with StreamsWriter(
        path,
        dataset=crops.dataset,
        stream=crops.stream,
        encoding=crops.encoding,
        channels=crops.channels,
        scale=crops.scale,
        offset=crops.offset,
    ) as writer:
        for row in rows.tolist():
            numbers = np.arange(windows.start[row], windows.stop[row])
            frames = [frame.tobytes() for frame in crops.frame_bytes(row_of_video, numbers)]
            writer.add(clip_id=_name(row), frames=frames, boxes=boxes[numbers])


def _ask(
    answerer: Answerer,
    path: Path,
    source: Path,
    rows: NDArray[np.int64],
    classes: int,
    batch_size: int,
    device: torch.device | None,
    progress: Progress | None,
) -> NDArray[np.float32]:
    branch = answerer.branch
    modality = build_modality(branch, path)
    check_input(answerer.trained, source, modality)
    return predict_logits(
        answerer.model,
        modality,
        np.array([_name(row) for row in rows.tolist()]),
        num_classes=classes,
        mirror=answerer.mirror,
        batch_size=batch_size,
        device=device,
        progress=progress,
        who=named("models", answerer.trained.model),
    )
