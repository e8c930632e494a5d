"""The trainer beside a bare PyTorch loop: ``python -m benchmarks.trainer_overhead --work DIR``.

Both train a DecoupledSTCNN over joint-motion on the recordings of UTD-MHAD (``DIR`` holds the stores of
benchmarks/skeleton_utd.py, or gets them): the same initial weights, batches out of the same loader, float32,
cross-entropy, clipped gradients, AdamW with the same cosine. The bare loop is what one would write
in a notebook, and prints nothing. Each has a process of its own, and they take turns epoch by epoch; a time
of the trainer's is all that passes between two epochs' ends: log, progress line and resumable state included.
The losses of both must agree, or they would not have done the same work. Resident memory of the trainer's
process is read after each epoch.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine, publish
from benchmarks.record_run import commit
from benchmarks.skeleton_utd import prepare
from mg_adapt.branch import build_losses, build_model, open_modality, probe_feature_dim
from mg_adapt.choice import resolve_branch
from mg_adapt.recipe import Recipe, resolve_recipe
from mg_adapt.trackers import Trackers
from mg_adapt.training.data import (
    EpochBatches,
    TrainingSamples,
    mirror_permutation,
    select_training_clips,
    torch_seed,
    training_loader,
)
from mg_adapt.training.loading import raised
from mg_adapt.training.state import StateFolder
from mg_adapt.training.trainer import Trainer, TrainingTask
from mg_data.cli.console import TerminalConsole
from mg_data.store import read_split

SEED = 0
GOALS = {"overhead": 0.03, "memory": 1.02}
WARM_UP = 2  # epochs until memory and caches have settled
PRESET = "small"
RECIPE: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "batch_size": 32,
    "warmup_epochs": 0,
    "amp": "none",  # a bfloat16 that is not the processor's own takes many times as long
    "clip_norm": 1.0,
    "flip": True,
    "loss": {"name": "cross-entropy"},
    "label_smoothing": 0.0,
    "auxiliary": [],
}


def make_task(work: Path, epochs: int) -> TrainingTask:
    """Return what ``mg train decoupled-stcnn`` trains with this recipe; the same at each call."""
    split = read_split(work / "standard.h5")
    branch = resolve_branch("decoupled-stcnn", "joint-motion", PRESET, {}, {})
    recipe = resolve_recipe(branch.model.recipe, {**RECIPE, "epochs": epochs})
    modality = open_modality(branch, work / "clips.h5", split.dataset)
    clips = select_training_clips(split, ("train",), modality.clip_ids)
    classes = len(split.class_names)
    torch.manual_seed(SEED)
    model = build_model(branch, classes, modality.input)
    dim = probe_feature_dim(branch, model, modality, classes)
    losses, weights = build_losses(recipe, np.bincount(clips.labels, minlength=classes), dim)
    return TrainingTask(
        model=model,
        losses=losses,
        weights=weights,
        modality=modality,
        clips=clips,
        recipe=recipe,
        seed=SEED,
        mirror=mirror_permutation((), classes),
        model_name=branch.model.name,
    )


class BareLoop:
    """What one would write without the trainer."""

    def __init__(self, task: TrainingTask) -> None:
        recipe: Recipe = task.recipe
        self.model, self.clip_norm = task.model, recipe.clip_norm
        samples = TrainingSamples(task.modality, task.clips, seed=SEED, flip=recipe.flip, mirror=task.mirror)
        self.batches = EpochBatches(task.clips.labels, recipe.batch_size, SEED)
        self.loader = training_loader(samples, self.batches, recipe.workers)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        total = recipe.epochs * len(self.batches)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / total))
        )

    def epoch(self, number: int) -> float:
        """Train for an epoch; return its mean loss."""
        self.batches.epoch = number
        torch.manual_seed(torch_seed(SEED, number))  # the trainer's, for equal dropout
        self.model.train()
        total, count = 0.0, 0
        for x, y, _ in raised(self.loader):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(x).logits, y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            total += loss.item() * len(y)
            count += len(y)
        return total / count


def serve(work: Path, epochs: int, orders: Connection) -> None:
    """Train bare epochs as told; send the mean loss and the seconds of each."""
    torch.set_num_threads(1)
    loop = BareLoop(make_task(work, epochs))
    for number in range(epochs):
        orders.recv()
        began = time.perf_counter()
        loss = loop.epoch(number)
        orders.send((loss, time.perf_counter() - began))


class Turns:
    """A tracker of the trainer's epochs that gives the bare loop its turn after each of them."""

    def __init__(self, orders: Connection) -> None:
        self.orders = orders
        self.rows: list[dict[str, float]] = []
        self.began = time.perf_counter()

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Note the trainer's epoch and make the bare loop's."""
        ended = time.perf_counter()
        self.orders.send(epoch)
        bare_loss, bare_seconds = self.orders.recv()
        self.rows.append(
            {
                "trainer_seconds": ended - self.began,
                "bare_seconds": bare_seconds,
                "resident_mib": resident_mib(),
                "loss": values["loss"],
                "bare_loss": bare_loss,
            }
        )
        self.began = time.perf_counter()

    def close(self) -> None:
        """Nothing is open."""


def resident_mib() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(work: Path, epochs: int) -> dict[str, Any]:
    """Return the rows of all epochs and what they come to."""
    torch.set_num_threads(1)
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(work, epochs, theirs))
    process.start()
    turns = Turns(ours)
    console = TerminalConsole()
    with tempfile.TemporaryDirectory() as name:
        trainer = Trainer(
            make_task(work, epochs),
            device=torch.device("cpu"),
            state=StateFolder(Path(name) / "joint.safetensors", "overhead"),
            log=Path(name) / "joint.log.jsonl",
            console=console,
            label="trainer",
            trackers=Trackers({"turns": turns}, console),
        )
        turns.began = time.perf_counter()
        trainer.run()
    process.join()
    steady = turns.rows[WARM_UP:]
    ratios = [row["trainer_seconds"] / row["bare_seconds"] for row in steady]
    return {
        "overhead": statistics.median(ratios) - 1,
        "overhead_of_sums": sum(row["trainer_seconds"] for row in steady)
        / sum(row["bare_seconds"] for row in steady)
        - 1,
        "memory_growth": steady[-1]["resident_mib"] / steady[0]["resident_mib"],
        "loss_difference": max(abs(row["loss"] / row["bare_loss"] - 1) for row in turns.rows),
        "epochs": [{key: round(value, 5) for key, value in row.items()} for row in turns.rows],
    }


def main() -> None:
    """Write results/PROCESSOR/trainer-overhead.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the stores; made if missing")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--epochs", type=int, default=25)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    digests = prepare(given.work, given.source / "utd_mhad")
    before = os.getloadavg()
    result = {
        "kind": "trainer-overhead",
        "command": f"python -m benchmarks.trainer_overhead --work DIR --epochs {given.epochs}",
        "commit": commit(),
        "machine": machine("one thread"),
        "torch": torch.__version__,
        "seed": SEED,
        "inputs": {name: digests[name] for name in ("clips.h5", "standard.h5")},
        "model": f"decoupled-stcnn {PRESET} over joint-motion",
        "recipe": RECIPE,
        "wanted": GOALS,
        "load_before": before,
        **measure(given.work, given.epochs),
        "load_after": os.getloadavg(),
    }
    publish("trainer-overhead", result)


if __name__ == "__main__":
    main()
