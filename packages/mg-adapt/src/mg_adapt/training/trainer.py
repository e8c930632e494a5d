"""The trainer that every registered model shares: a plain torch loop that can be killed at any moment.

What a step computes depends on (recipe, seed, data) and on the step's number alone, and the state on disk is
always a whole one, so a resumed training ends with the very weights of an uninterrupted one on that machine.
Several processes walk through it in step (:mod:`mg_adapt.training.engine`); the first alone writes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mg_adapt.blame import blamed
from mg_adapt.trackers import Trackers
from mg_adapt.training.data import (
    EpochBatches,
    TestSamples,
    TrainingSamples,
    batch_count,
    test_loader,
    torch_seed,
    training_loader,
)
from mg_adapt.training.engine import Engine, one_process
from mg_adapt.training.epoch_log import EpochLog
from mg_adapt.training.loading import raised
from mg_adapt.training.memory import keep_freed_memory
from mg_adapt.training.state import (
    StateFolder,
    on_cpu,
    on_device,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
)
from mg_adapt.training.step import Place, TrainingStep, TrainingTask
from mg_data.contract import Console, Progress, StoreError, UsageError

__all__ = ["Trainer", "TrainingResult", "TrainingTask"]

# Writing state at the ends of epochs may take this part of the time; beyond it, every `state_every` seconds.
STATE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Weights and history of a finished training; ``epoch`` is the one whose weights these are.

    ``history`` has a row for each epoch done: fewer than the recipe's if validation ended the training.
    """

    model_state: dict[str, Tensor]
    loss_state: dict[str, Tensor]
    history: list[dict[str, Any]]
    epoch: int
    resumed_at: int


@dataclass
class _Running:
    """Sums over the epoch under way."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    labelled: int = 0
    count: int = 0
    seconds: float = 0.0
    loader_seconds: float = 0.0


@dataclass
class _Best:
    accuracy: float = -1.0
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """Trains one task, on one device or in step with other processes.

    Args:
        state: where resumable state is kept. log: the JSON-lines file with one row per epoch.
        state_every: seconds after which state is written even in the middle of an epoch.
        trackers: told of every epoch.
        engine: this process alone if not given.

    Raises:
        UsageError: the recipe asks for what the device cannot do, or torchrun started several processes for a
            training that is made for one.
    """

    def __init__(
        self,
        task: TrainingTask,
        *,
        device: torch.device,
        state: StateFolder,
        log: Path,
        console: Console,
        label: str,
        state_every: float = 15.0,
        trackers: Trackers | None = None,
        engine: Engine | None = None,
    ) -> None:
        if engine is None:
            one_process(f"the training of {label}")
            engine = Engine(device)
        self.task, self.recipe, self.device, self.engine = task, task.recipe, device, engine
        if self.recipe.batch_size < 2 * engine.world:
            raise UsageError(
                f"recipe.batch_size = {self.recipe.batch_size} is shared by {engine.world} processes, which "
                "need at least 2 samples each"
            )
        self.console, self.label = engine.console(console), label
        self.state, self.state_every = state, state_every
        self.log = EpochLog(log, self.console, active=engine.first)
        self.trackers = trackers or Trackers({}, console)
        self.steps_per_epoch = batch_count(len(task.clips.clip_ids), self.recipe.batch_size)
        self.total_steps = self.steps_per_epoch * self.recipe.epochs
        self.step = TrainingStep(task, engine, label, self.steps_per_epoch)
        self.model, self.losses, self.optimizer = self.step.model, self.step.losses, self.step.optimizer
        self.average, self.precision = self.step.average, self.step.precision
        self.running = _Running()
        self.history: list[dict[str, Any]] = []
        self.best = _Best()
        self._began = self._last_state = time.monotonic()
        self._state_seconds = self._state_cost = 0.0

    def run(self) -> TrainingResult:
        """Train to the last epoch, from the newest whole state if there is one.

        Raises:
            DataError: the loss is not finite; names the clips of the batch.
            PluginError: the model, a loss or the modality raises; names it.
            UsageError: another process is training this checkpoint.
        """
        if self.engine.first:
            self.state.acquire()
        if self.device.type == "cpu":
            keep_freed_memory()
        try:
            return self._run()
        except BaseException:
            self.state.release()
            raise

    def _run(self) -> TrainingResult:
        resumed_at = self._resume()
        self.log.begin(self.history)
        samples = TrainingSamples(
            self.task.modality,
            self.task.clips,
            seed=self.task.seed,
            flip=self.recipe.flip,
            mirror=self.task.mirror,
        )
        batches = EpochBatches(
            self.task.clips.labels,
            self.recipe.batch_size,
            self.task.seed,
            self.recipe.sampler,
            rows=self.engine.rows,
        )
        loader = training_loader(samples, batches, self.recipe.workers)
        with self.console.progress(self.label, self.total_steps) as progress:
            if resumed_at:
                progress.advance(resumed_at)
            while self.running.epoch < self.recipe.epochs and not self._patience_is_over():
                batches.epoch, batches.first = self.running.epoch, self.running.step
                for loss in self.losses.values():
                    tell: Any = getattr(loss, "at_epoch", None)
                    if tell is not None:
                        tell(self.running.epoch, self.recipe.epochs)
                if self.running.step == 0:
                    torch.manual_seed(torch_seed(self.task.seed, self.running.epoch))
                self._run_epoch(loader, progress)
                self._end_epoch()
        self.log.finish(self.history)
        chosen = self.best if self.recipe.select == "best" else None
        return TrainingResult(
            model_state=chosen.tensors if chosen else self._evaluated_weights(),
            loss_state=on_cpu(self.losses.state_dict()),
            history=self.history,
            epoch=chosen.epoch if chosen else len(self.history),
            resumed_at=resumed_at,
        )

    def _run_epoch(self, loader: Any, progress: Progress) -> None:
        self.model.train()
        self.losses.train()
        running = self.running
        mark = time.monotonic()
        for x, y, indices in raised(loader):
            loaded = time.monotonic()
            running.loader_seconds += loaded - mark
            count = self._batch_count()
            loss, correct, labelled = self._step(x, y, indices)
            running.loss += loss * count
            running.correct += correct
            running.labelled += labelled
            running.count += count
            running.step += 1
            now = time.monotonic()
            running.seconds += now - mark
            mark = now
            progress.advance(1, self._note())
            if now - self._last_state >= self.state_every and running.step < self.steps_per_epoch:
                self._save_state()
                mark = time.monotonic()

    def _batch_count(self) -> int:
        """Return the samples of the batch under way, those of all processes."""
        left = len(self.task.clips.clip_ids) - self.running.step * self.recipe.batch_size
        return min(self.recipe.batch_size, left)

    def _note(self) -> str:
        running = self.running
        milliseconds = 1000 * running.seconds / running.step
        waiting = running.loader_seconds / max(running.seconds, 1e-9)
        return (
            f"epoch {running.epoch + 1}/{self.recipe.epochs} loss {running.loss / running.count:.3f}, "
            f"{milliseconds:.0f} ms a step, {waiting:.0%} of it loading"
        )

    def _step(self, x: Tensor, y: Tensor, indices: NDArray[np.int64]) -> tuple[float, int, int]:
        """Make one optimizer step; return the loss, the samples classified rightly and those labelled."""
        return self.step(Place(self.running.epoch, self.running.step, self._batch_count()), x, y, indices)

    def _patience_is_over(self) -> bool:
        """Return whether ``patience`` epochs have passed without a better validation accuracy."""
        if not self.recipe.patience or not self.history:
            return False
        scores = [row["val_accuracy"] for row in self.history]
        return len(scores) - (1 + scores.index(max(scores))) >= self.recipe.patience

    def _end_epoch(self) -> None:
        running, number = self.running, self.running.epoch + 1
        row: dict[str, Any] = {
            "epoch": number,
            "loss": running.loss / running.count,
            "lr": self.step.lr,
            "train_accuracy": running.correct / max(1, running.labelled),
        }
        last = number == self.recipe.epochs
        due = last or number % self.recipe.log_every == 0 or self.recipe.selects
        if self.task.validation is not None and due:
            row["val_accuracy"] = self._validate()
            if self.recipe.select == "best" and row["val_accuracy"] > self.best.accuracy:
                self.best = _Best(row["val_accuracy"], number, self._evaluated_weights())
        row["seconds"] = round(running.seconds, 3)
        row["loader_seconds"] = round(running.loader_seconds, 3)
        self.history.append(row)
        self.log.add(row)
        self.trackers.epoch(row)
        self.running = _Running(epoch=number)
        if not last and self._patience_is_over():
            patience = self.recipe.patience
            self.console.say(
                f"{self.label}: ends after epoch {number}: validation has not improved for {patience} epochs"
            )
        now = time.monotonic()
        affordable = self._state_seconds + self._state_cost <= STATE_SHARE * (now - self._began)
        if last or affordable or now - self._last_state >= self.state_every:
            self._save_state()

    def _validate(self) -> float:
        assert self.task.validation is not None
        ids, labels = self.task.validation
        own = slice(self.engine.rank, None, self.engine.world)
        samples = TestSamples(self.task.modality, ids[own], labels[own])
        # Each process has BatchNorm statistics of its own from the last step: one model is scored.
        self.engine.share_buffers(self.model)
        self.model.eval()
        correct = 0
        with torch.no_grad(), self.average.in_place() if self.average else nullcontext():
            for x, y, _ in raised(test_loader(samples, self.recipe.batch_size, self.recipe.workers)):
                with blamed(self.step.model_name, lambda: "validation"), self.precision.autocast():
                    logits = self.model(x.to(self.device)).logits
                correct += int((logits.argmax(dim=1).cpu() == y).sum())
        return self.engine.total(correct) / max(1, len(ids))

    def _evaluated_weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are scored and published: the averages, if there are any."""
        with self.average.in_place() if self.average else nullcontext():
            return on_cpu(self.model.state_dict())

    # -- state on disk -------------------------------------------------------------------------------------

    def _save_state(self) -> None:
        if not self.engine.first:
            return
        began = time.monotonic()
        header = {
            "steps": self.running.epoch * self.steps_per_epoch + self.running.step,
            "running": vars(self.running),
            "history": self.history,
            "best": {"accuracy": self.best.accuracy, "epoch": self.best.epoch},
            "average_updates": self.average.updates if self.average else 0,
            "precision": self.precision.state(),
        }
        sections: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "loss": self.losses.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "average": self.average.values if self.average else {},
            "best": self.best.tensors,
            "random": random_state(self.device),
        }
        tensors = {f"{name}.{key}": value for name, part in sections.items() for key, value in part.items()}
        try:
            self.state.save(header, tensors)
        except StoreError as error:
            # A full disk must not end a training that is going well: only the way back is lost.
            self.console.warn(f"training goes on without a new state to resume from: {error}")
        self._last_state = time.monotonic()
        self._state_cost = self._last_state - began
        self._state_seconds += self._state_cost

    def _resume(self) -> int:
        """Put the newest whole state in place; return the steps it has done, 0 for a fresh start."""
        state = self.engine.from_first(lambda: self.state.load(self.console))
        if state is None:
            return 0
        header = state.header
        self.model.load_state_dict(state.section("model"))
        self.losses.load_state_dict(state.section("loss"))
        restore_optimizer(self.optimizer, on_device(state.section("optimizer"), self.device))
        if self.average is not None:
            self.average.load(state.section("average").items(), int(header["average_updates"]))
        self.best = _Best(header["best"]["accuracy"], header["best"]["epoch"], state.section("best"))
        self.history = list(header["history"])
        self.running = _Running(**header["running"])
        self.precision.load(header["precision"])
        restore_random_state(state.section("random"), self.device)
        steps = int(header["steps"])
        epoch = self.running.epoch + 1
        self.console.say(f"{self.label}: resumed after {steps} of {self.total_steps} steps (epoch {epoch})")
        return steps
