"""The trainer that every registered model shares: a plain torch loop that can be killed at any moment.

What a step computes depends on (recipe, seed, data) and on the step's number alone, and the state on disk is
always a whole one, so a resumed training ends with the very weights of an uninterrupted one on that machine.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_adapt.data import (
    EpochBatches,
    TestSamples,
    TrainingClips,
    TrainingSamples,
    batch_count,
    test_loader,
    torch_seed,
    training_loader,
)
from mg_adapt.mixup import Mix, draw_mix
from mg_adapt.optim import AveragedWeights, build_optimizer, learning_rate_factor, set_learning_rate
from mg_adapt.recipe import Recipe
from mg_adapt.state import StateFolder, TrainingState, optimizer_tensors, restore_optimizer
from mg_adapt.trackers import Trackers
from mg_data.contract import Console, DataError, Modality, ModelOutput, Progress, StoreError
from mg_data.store import publish_text

# Writing state at the ends of epochs may take this part of the time; beyond it, every `state_every` seconds.
STATE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What is trained on what.

    Args:
        model: maps a batch to ``ModelOutput``. losses: ``classification`` and auxiliary ones by name, with
            ``weights`` for the latter.
        validation: (clip_ids, labels) that are scored but not trained on, or None.
        mirror: (K,) permutation of classes under a flip.
    """

    model: nn.Module
    losses: nn.ModuleDict
    weights: Mapping[str, float]
    modality: Modality
    clips: TrainingClips
    recipe: Recipe
    seed: int
    mirror: NDArray[np.int64]
    validation: tuple[NDArray[np.str_], NDArray[np.int64]] | None = None


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
    count: int = 0
    seconds: float = 0.0
    loader_seconds: float = 0.0


@dataclass
class _Best:
    accuracy: float = -1.0
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """Trains one task on one device.

    Args:
        state: where resumable state is kept. log: the JSON-lines file with one row per epoch.
        state_every: seconds after which state is written even in the middle of an epoch.
        trackers: told of every epoch.
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
    ) -> None:
        self.task, self.recipe, self.device = task, task.recipe, device
        self.state, self.log, self.console, self.label = state, log, console, label
        self.state_every = state_every
        self.trackers = trackers or Trackers({}, console)
        self.model = task.model.to(device)
        self.losses = task.losses.to(device)
        self.optimizer = build_optimizer(self.model, self.losses, self.recipe)
        self.average = AveragedWeights(self.model, self.recipe.ema) if self.recipe.ema else None
        self.steps_per_epoch = batch_count(len(task.clips.clip_ids), self.recipe.batch_size)
        self.total_steps = self.steps_per_epoch * self.recipe.epochs
        self.warmup_steps = round(self.recipe.warmup_epochs * self.steps_per_epoch)
        self.running = _Running()
        self.history: list[dict[str, Any]] = []
        self.best = _Best()
        self._began = self._last_state = time.monotonic()
        self._state_seconds = self._state_cost = 0.0

    def run(self) -> TrainingResult:
        """Train to the last epoch, from the newest whole state if there is one.

        Raises:
            DataError: the loss is not finite; names the clips of the batch.
        """
        resumed_at = self._resume()
        publish_text(self.log, "".join(json.dumps(row) + "\n" for row in self.history))
        samples = TrainingSamples(
            self.task.modality,
            self.task.clips,
            seed=self.task.seed,
            flip=self.recipe.flip,
            mirror=self.task.mirror,
        )
        batches = EpochBatches(
            self.task.clips.labels, self.recipe.batch_size, self.task.seed, self.recipe.sampler
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
        chosen = self.best if self.recipe.select == "best" else None
        return TrainingResult(
            model_state=chosen.tensors if chosen else self._evaluated_weights(),
            loss_state=_on_cpu(self.losses.state_dict()),
            history=self.history,
            epoch=chosen.epoch if chosen else len(self.history),
            resumed_at=resumed_at,
        )

    def _run_epoch(self, loader: Any, progress: Progress) -> None:
        self.model.train()
        self.losses.train()
        running = self.running
        mark = time.monotonic()
        for x, y, indices in loader:
            loaded = time.monotonic()
            running.loader_seconds += loaded - mark
            loss, correct = self._step(x, y, indices)
            running.loss += loss * len(indices)
            running.correct += correct
            running.count += len(indices)
            running.step += 1
            note = f"epoch {running.epoch + 1}/{self.recipe.epochs} loss {running.loss / running.count:.3f}"
            progress.advance(1, note)
            now = time.monotonic()
            running.seconds += now - mark
            mark = now
            if now - self._last_state >= self.state_every and running.step < self.steps_per_epoch:
                self._save_state()
                mark = time.monotonic()

    def _step(self, x: Tensor, y: Tensor, indices: NDArray[np.int64]) -> tuple[float, int]:
        """Make one optimizer step; return the loss and the number of samples classified rightly."""
        step = self.running.epoch * self.steps_per_epoch + self.running.step
        lr = self.recipe.lr * learning_rate_factor(step, self.total_steps, self.warmup_steps)
        set_learning_rate(self.optimizer, lr)
        inputs, target = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        mix = self._mix(len(indices))
        if mix is not None:
            inputs = mix.inputs(inputs)
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            output: ModelOutput = self.model(inputs)
        loss: Any = self._loss(output, target)
        if mix is not None:
            loss = mix.lam * loss + (1 - mix.lam) * self._loss(output, target[mix.partner])
            target = mix.main(target)
        value = float(loss.item())
        if not math.isfinite(value):
            raise self._not_finite("loss", value, x, indices)
        loss.backward()
        if self.recipe.clip_norm:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
            if not bool(norm.isfinite()):
                # Stepping would spoil every weight, and the loss would show it one step too late.
                raise self._not_finite("gradient", float(norm), x, indices)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        classes = target if target.ndim == 1 else target.argmax(dim=1)
        return value, int((output.logits.detach().argmax(dim=1) == classes).sum().item())

    def _loss(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss: Tensor = self.losses["classification"](output, target)
        for name, weight in self.task.weights.items():
            loss = loss + weight * self.losses[name](output, target)
        return loss

    def _mix(self, count: int) -> Mix | None:
        if not self.recipe.mixup:
            return None
        place = {"seed": self.task.seed, "epoch": self.running.epoch, "step": self.running.step}
        mix = draw_mix(self.recipe.mixup, count, **place)
        return Mix(mix.lam, mix.partner.to(self.device))

    def _patience_is_over(self) -> bool:
        """Return whether ``patience`` epochs have passed without a better validation accuracy."""
        if not self.recipe.patience or not self.history:
            return False
        scores = [row["val_accuracy"] for row in self.history]
        return len(scores) - (1 + scores.index(max(scores))) >= self.recipe.patience

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.amp == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _not_finite(self, what: str, value: float, x: Tensor, indices: NDArray[np.int64]) -> DataError:
        ids = self.task.clips.clip_ids[indices]
        where = f"epoch {self.running.epoch + 1}, step {self.running.step + 1}"
        broken = ids[~torch.isfinite(x.float()).flatten(1).all(dim=1).numpy()]
        if len(broken):
            listing = ", ".join(broken)
            return DataError(
                f"{self.label}: the {what} is {value} at {where}: non-finite input in clip(s) {listing}"
            )
        return DataError(
            f"{self.label}: the {what} is {value} at {where} with finite input: lower recipe.lr, set "
            f"recipe.clip_norm or recipe.amp = 'none'; clips of the batch: {', '.join(ids)}"
        )

    def _end_epoch(self) -> None:
        running, number = self.running, self.running.epoch + 1
        row: dict[str, Any] = {
            "epoch": number,
            "loss": running.loss / running.count,
            "lr": self.optimizer.param_groups[0]["lr"] / (self.optimizer.param_groups[0]["scale"] or 1.0),
            "train_accuracy": running.correct / running.count,
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
        with self.log.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
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
        samples = TestSamples(self.task.modality, *self.task.validation)
        self.model.eval()
        correct = 0
        with torch.no_grad(), self.average.in_place() if self.average else nullcontext():
            for x, y, _ in test_loader(samples, self.recipe.batch_size, self.recipe.workers):
                with self._autocast():
                    logits = self.model(x.to(self.device)).logits
                correct += int((logits.argmax(dim=1).cpu() == y).sum())
        return correct / max(1, len(samples))

    def _evaluated_weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are scored and published: the averages, if there are any."""
        with self.average.in_place() if self.average else nullcontext():
            return _on_cpu(self.model.state_dict())

    # -- state on disk -------------------------------------------------------------------------------------

    def _save_state(self) -> None:
        began = time.monotonic()
        header = {
            "steps": self.running.epoch * self.steps_per_epoch + self.running.step,
            "running": vars(self.running),
            "history": self.history,
            "best": {"accuracy": self.best.accuracy, "epoch": self.best.epoch},
            "average_updates": self.average.updates if self.average else 0,
        }
        sections: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "loss": self.losses.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "average": self.average.values if self.average else {},
            "best": self.best.tensors,
            "random": _random_state(self.device),
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
        state = self.state.load(self.console)
        if state is None:
            return 0
        header = state.header
        self.model.load_state_dict(state.section("model"))
        self.losses.load_state_dict(state.section("loss"))
        restore_optimizer(self.optimizer, _on_device(state, "optimizer", self.device))
        if self.average is not None:
            self.average.load(state.section("average").items(), int(header["average_updates"]))
        self.best = _Best(header["best"]["accuracy"], header["best"]["epoch"], state.section("best"))
        self.history = list(header["history"])
        self.running = _Running(**header["running"])
        _restore_random_state(state.section("random"), self.device)
        steps = int(header["steps"])
        epoch = self.running.epoch + 1
        self.console.say(f"{self.label}: resumed after {steps} of {self.total_steps} steps (epoch {epoch})")
        return steps


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _on_device(state: TrainingState, section: str, device: torch.device) -> dict[str, Tensor]:
    # Step counters stay on the CPU, where the optimizers keep them.
    return {
        name: value if name.endswith(".step") else value.to(device)
        for name, value in state.section(section).items()
    }


def _random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
