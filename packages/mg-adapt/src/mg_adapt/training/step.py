"""What is trained, and one optimizer step of it: forward, loss over the whole batch, backward, update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_adapt.blame import blamed, named
from mg_adapt.recipe import Recipe
from mg_adapt.training.cutmix import draw_cut
from mg_adapt.training.data import TrainingClips, torch_seed
from mg_adapt.training.engine import Engine
from mg_adapt.training.mixup import Mix, draw_mix
from mg_adapt.training.optim import AveragedWeights, build_optimizer, learning_rate_factor, set_learning_rate
from mg_adapt.training.precision import Precision
from mg_data.contract import DataError, Modality, ModelOutput


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What is trained on what.

    Args:
        model: maps a batch to ``ModelOutput``. losses: ``classification`` and auxiliary ones by name, with
            ``weights`` for the latter.
        validation: (clip_ids, labels) that are scored but not trained on, or None.
        mirror: (K,) permutation of classes under a flip.
        model_name: of the registered model, for messages.
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
    model_name: str = ""


class Place(NamedTuple):
    """Which step: ``epoch`` and ``step`` in it, both from 0, and the number of ``samples`` in its batch."""

    epoch: int
    step: int
    samples: int

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step + 1}"


class TrainingStep:
    """Holds what a step changes: model, losses, optimizer, averages, ``lr`` of heads, scale of losses.

    Args:
        label: how messages call the training. steps_per_epoch: for the schedule of the learning rate.
    """

    def __init__(self, task: TrainingTask, engine: Engine, label: str, steps_per_epoch: int) -> None:
        self.task, self.engine, self.label = task, engine, label
        self.recipe = recipe = task.recipe
        self.steps_per_epoch = steps_per_epoch
        self.lr = recipe.lr
        self.warmup_steps = round(recipe.warmup_epochs * steps_per_epoch)
        self.precision = Precision(recipe.amp, engine.device)
        self.model = task.model.to(engine.device)
        if recipe.sync_batchnorm:
            self.model = engine.synchronised(self.model)
        self.losses = task.losses.to(engine.device)
        compiled: Any = torch.compile(self.model) if recipe.compile else self.model
        self.forward = engine.prepare(compiled)
        self.optimizer = build_optimizer(self.model, self.losses, recipe)
        self.average = AveragedWeights(self.model, recipe.ema) if recipe.ema else None
        self.model_name = named("models", task.model_name)
        self.loss_name = named("losses", recipe.loss.name)

    def __call__(
        self, place: Place, x: Tensor, y: Tensor, indices: NDArray[np.int64]
    ) -> tuple[float, int, int]:
        """Make the step; return the batch's loss, how many samples were classified rightly, of how many.

        Samples without a label, which adversarial training has, count in neither number.

        ``x``, ``y`` and ``indices`` are this process's part of the batch; the loss is that of all of it.

        Raises:
            DataError: the loss or the gradient is not finite. PluginError: the model or a loss failed.
        """
        engine, recipe, count = self.engine, self.recipe, place.samples
        self._set_learning_rate(place)
        if engine.world > 1:  # dropout differs between processes and is not kept in the state
            torch.manual_seed(torch_seed(self.task.seed, place.epoch, place.step, engine.rank))
        inputs, target = x.to(engine.device, non_blocking=True), y.to(engine.device, non_blocking=True)
        target = engine.gather(target, count)
        mix = self._mix(place, inputs.shape[1:])
        if mix is not None:
            inputs = mix.inputs(engine.gather(inputs, count), engine.rows(count))
        self.optimizer.zero_grad(set_to_none=True)
        engine.begin(count)
        with blamed(self.model_name, place.__str__, recipe.compile), self.precision.autocast():
            own: ModelOutput = self.forward(inputs)
        output = ModelOutput(engine.gather(own.logits, count), engine.gather(own.feature, count))
        with blamed(self.loss_name, place.__str__):
            loss: Any = self._loss(output, target)
            if mix is not None:
                loss = mix.lam * loss + (1 - mix.lam) * self._loss(output, target[mix.partner])
                target = mix.main(target)
            value = float(loss.item())
        if not math.isfinite(value):
            raise self._not_finite(place, "loss", value, x, indices)
        with blamed(self.model_name, place.__str__, recipe.compile):
            engine.backward(self.precision.scaled(loss), count)
        if recipe.clip_norm:
            self.precision.unscale(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
            if not bool(norm.isfinite()) and not self.precision.skips_overflow:
                # Stepping would spoil every weight, and the loss would show it one step too late.
                raise self._not_finite(place, "gradient", float(norm), x, indices)
        if not self.precision.step(self.optimizer):
            raise self._not_finite(place, "gradient", math.nan, x, indices)
        if self.average is not None:
            self.average.update()
        classes = target if target.ndim == 1 else target.argmax(dim=1)
        right = output.logits.detach().argmax(dim=1) == classes
        correct, labelled = torch.stack([right.sum(), (classes >= 0).sum()]).tolist()
        return value, int(correct), int(labelled)

    def _set_learning_rate(self, place: Place) -> None:
        step = place.epoch * self.steps_per_epoch + place.step
        total = self.steps_per_epoch * self.recipe.epochs
        self.lr = self.recipe.lr * learning_rate_factor(step, total, self.warmup_steps)
        set_learning_rate(self.optimizer, self.lr)

    def _loss(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss: Tensor = self.losses["classification"](output, target)
        for name, weight in self.task.weights.items():
            loss = loss + weight * self.losses[name](output, target)
        return loss

    def _mix(self, place: Place, sample: torch.Size) -> Mix | None:
        """Draw how the whole batch is mixed, or None; ``sample`` is the shape of one sample."""
        where = {"seed": self.task.seed, "epoch": place.epoch, "step": place.step}
        mix: Mix | None = None
        if self.recipe.mixup:
            mix = draw_mix(self.recipe.mixup, place.samples, **where)
        elif self.recipe.cutmix:
            mix = draw_cut(self.recipe.cutmix, (place.samples, *sample), **where)
        return mix and replace(mix, partner=mix.partner.to(self.engine.device))

    def _not_finite(
        self, place: Place, what: str, value: float, x: Tensor, indices: NDArray[np.int64]
    ) -> DataError:
        """Return the error of a batch, naming the clips of it that are to blame, in whichever process."""
        device = self.engine.device
        finite = torch.isfinite(x.float()).flatten(1).all(dim=1).to(device)
        rows = self.engine.gather(torch.from_numpy(indices).to(device), place.samples).cpu().numpy()
        broken = ~self.engine.gather(finite, place.samples).cpu().numpy()
        ids = self.task.clips.clip_ids[rows]
        found = f"{self.label}: the {what} is {value} at {place}"
        if broken.any():
            return DataError(f"{found}: non-finite input in clip(s) {', '.join(ids[broken])}")
        return DataError(
            f"{found} with finite input: lower recipe.lr, set recipe.clip_norm or recipe.amp = 'none'; clips "
            f"of the batch: {', '.join(ids)}"
        )
