"""A plugin for tests: a toy data set, a modality over its clips store, and a small model with dropout.

Three classes: a point that drifts left, right, or stays. A flip swaps the first two.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import (
    AdapterSpec,
    DatasetSpec,
    InputSpec,
    LossSpec,
    ModalitySpec,
    ModelOutput,
    ModelSpec,
    PseudoLabels,
    TargetScores,
    hookimpl,
)
from mg_data.store import ClipsWriter, open_clips, write_split

CLASSES = ("left", "right", "still")
FRAMES, POINTS = 8, 3


class Drift:
    """(3, T, V) coordinates with noise while training; ``poison`` names a clip that yields NaN."""

    def __init__(self, path: Path, *, noise: float = 0.1, poison: str = "") -> None:
        self.store = open_clips(path)
        self.clip_ids = self.store.clip_ids
        self.noise, self.poison = noise, poison
        self.input = InputSpec(kind="keypoints", shape=(3, FRAMES, POINTS), layout="toy")

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> NDArray[np.float32]:
        joints = self.store.joints(int(self.store.rows([clip_id])[0]))[:, 0]
        sample = np.ascontiguousarray(joints.transpose(2, 0, 1), dtype=np.float32)
        if rng is not None:
            sample = sample + self.noise * rng.standard_normal(sample.shape, dtype=np.float32)
        if clip_id == self.poison:
            sample[0, 0, 0] = np.nan
        return sample

    def views(self, clip_id: str) -> list[NDArray[np.float32]]:
        return [self.sample(clip_id, None)]

    def flip(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        mirrored = sample.copy()
        mirrored[0] *= -1
        return mirrored


def build(
    num_classes: int,
    *,
    input: InputSpec,
    width: int = 8,
    delay: float = 0.0,
    kink: bool = False,
    weights: str = "",
) -> Any:
    """Return a small network; ``delay`` seconds a batch make a training long enough to kill.

    ``kink`` adds a term whose value is 0 and whose gradient is infinite; ``weights`` is a safetensors file.
    """
    import torch
    from torch import nn

    if weights and not Path(weights).is_file():
        raise FileNotFoundError(weights)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(input.shape[0], width, (3, 1)), nn.BatchNorm2d(width), nn.ReLU()
            )
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(width, num_classes)

        def forward(self, x: torch.Tensor) -> ModelOutput:
            if self.training and delay:
                time.sleep(delay)
            feature = self.stem(x).mean(dim=(2, 3))
            if kink:
                feature = feature + (0 * feature).abs().sqrt()
            return ModelOutput(self.head(self.drop(feature)), feature)

    net = Net()
    if weights:
        from safetensors.torch import load_file

        found = {name.removeprefix("model."): value for name, value in load_file(weights).items()}
        net.load_state_dict({name: found[name] for name in net.state_dict()})
    return net


@hookimpl
def mg_register_datasets() -> Iterable[DatasetSpec]:
    return (DatasetSpec(name="toy", summary="drifting points", factory="x:y", mirror_classes=((0, 1),)),)


@hookimpl
def mg_register_modalities() -> Iterable[ModalitySpec]:
    options = {"noise": 0.1, "poison": ""}
    factory = "mg_adapt_toy:Drift"
    return (
        ModalitySpec(name="drift", summary="points", factory=factory, store_kind="clips", options=options),
    )


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    return (
        ModelSpec(
            name="toy-net",
            summary="a small network",
            factory="mg_adapt_toy:build",
            modalities=("drift",),
            options={"width": 8, "delay": 0.0, "kink": False, "weights": ""},
            presets={"wide": {"width": 16}},
            recipe={"epochs": 3, "batch_size": 8, "lr": 0.01},
        ),
    )


def hard_only(*, class_counts: Any) -> Any:
    """Return a loss that is a plain function and knows classes only."""
    from torch.nn import functional

    return lambda output, target: functional.cross_entropy(output.logits, target)


def strange(
    scores: TargetScores, *, rows: tuple[int, ...] = (), labels: tuple[int, ...] = ()
) -> PseudoLabels:
    """Answer with what it is told."""
    return PseudoLabels(
        rows=np.array(rows, np.int64),
        labels=np.array(labels, np.int32),
        confidence=np.ones(len(labels), np.float32),
    )


@hookimpl
def mg_register_losses() -> Iterable[LossSpec]:
    return (LossSpec(name="hard-only", summary="classes only", factory="mg_adapt_toy:hard_only"),)


@hookimpl
def mg_register_adapters() -> Iterable[AdapterSpec]:
    options = {"rows": (), "labels": ()}
    factory = "mg_adapt_toy:strange"
    return (AdapterSpec(name="strange", summary="any answer", factory=factory, options=options),)


def write_toy(
    folder: Path, *, train: int = 37, val: int = 9, target: int = 12, seed: int = 0, shift: float = 0.0
) -> tuple[Path, Path]:
    """Write ``clips.h5`` and ``split.h5`` and return their paths; ``shift`` moves the target's points up."""
    rng = np.random.default_rng(seed)
    clips, split = folder / "clips.h5", folder / "split.h5"
    names = ["train"] * train + ["val"] * val + ["target"] * target
    truth = np.arange(len(names)) % len(CLASSES)
    ids = [f"c{number:03d}" for number in range(len(names))]
    subjects = [f"s-{name}" for name in names]
    with ClipsWriter(
        clips,
        dataset="toy",
        class_names=CLASSES,
        vocabulary="toy",
        layout="toy",
        columns=("x", "y", "confidence"),
        image_size=(100, 100),
    ) as writer:
        for clip_id, subject, label in zip(ids, subjects, truth):
            joints = 0.3 * rng.standard_normal((FRAMES, 1, POINTS, 3)).astype(np.float32)
            joints[..., 1] += shift if subject == "s-target" else 0.0
            joints[..., 0] += (-1, 1, 0)[label] * np.linspace(0, 1, FRAMES, dtype=np.float32)[:, None, None]
            writer.add(
                clip_id=clip_id, subject_id=subject, video_id=clip_id, start=0, stop=FRAMES, joints=joints
            )
    labels = np.where(np.array(names) == "target", -1, truth)
    write_split(
        split,
        dataset="toy",
        clip_ids=ids,
        names=names,
        labels=labels,
        class_names=CLASSES,
        vocabulary="toy",
        subject_ids=subjects,
    )
    return clips, split


class Talk:
    """A console that remembers what it was told."""

    quiet = True

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def progress(self, label: str, total: int | None) -> Talk:
        return self

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self, steps: int = 1, note: str = "") -> None:
        return None
