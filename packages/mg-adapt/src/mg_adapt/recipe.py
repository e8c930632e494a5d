"""Training settings: names, defaults, and how several sources of them are laid over one another.

Later sources win: the trainer's defaults, the model's own recipe, the user's table, ``--set``. A ``loss``
with a name replaces the earlier one as a whole; without a name it changes options of the one below it, as
``--set recipe.loss.options.gamma=1`` does. Imports no torch.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mg_data.contract import UsageError

SECTIONS = ("recipe", "model", "modality")
SAMPLERS = ("uniform", "square-root", "class-balanced")


@dataclass(frozen=True, kw_only=True)
class LossChoice:
    """A loss by name with its options; ``weight`` matters for auxiliary losses only."""

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Args:
        optimizer: ``adamw`` or ``sgd`` (with ``momentum``, Nesterov off).
        lr: learning rate at its peak. weight_decay: of all parameters of two or more dimensions, and of the
            others too if ``decay_vectors``.
        epochs, batch_size: the last batch of an epoch may be smaller.
        warmup_epochs: linear warm-up from 0, may be a fraction. schedule: ``cosine`` to 0, step by step.
        amp: ``none``, ``bf16``, ``auto`` = bf16 on a device that has it, else none; or, on CUDA, ``fp16``
            with a scaled loss (autocast of the forward pass; losses are computed in float32).
        clip_norm: largest gradient norm, 0 = no clipping.
        ema: decay of the averaged weights that are then evaluated and saved, 0 = off.
        flip: mirror half of the training samples, labels of mirrored classes with them.
        loss: the classification loss. auxiliary: further losses with their weights.
        label_smoothing: passed to the classification loss unless its own options say otherwise.
        workers: loader processes; has no influence on the result.
        backbone_lr_scale: factor on ``lr`` outside modules named head, classifier or projection.
        log_every: validate every so many epochs (always after the last).
        select: ``last``, or ``best`` = the epoch of highest validation accuracy (taints those clips).
        sampler: how often a class is met: ``uniform`` (each clip once an epoch), ``square-root``,
            ``class-balanced`` (:mod:`mg_adapt.training.sampler`). An epoch has as many samples in any case.
        mixup, cutmix: alpha of the Beta distribution of mixed pairs of samples, or of boxes exchanged between
            pictures, 0 = off; one of them at most.
        patience: end after so many epochs without a better validation accuracy (it taints), 0 = never.
        pseudo_targets: ``hard`` learns a pseudo-label's class, ``soft`` the probabilities stored with it.
        deterministic: allow deterministic torch operations only; one that has no such form is an error.
        compile: train through ``torch.compile``.
        sync_batchnorm: under torchrun, BatchNorm over the whole batch instead of each process's part of it.
    """

    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    decay_vectors: bool = True
    momentum: float = 0.9
    epochs: int = 50
    batch_size: int = 32
    warmup_epochs: float = 0.0
    schedule: str = "cosine"
    amp: str = "none"
    clip_norm: float = 0.0
    ema: float = 0.0
    flip: bool = False
    loss: LossChoice = field(default_factory=lambda: LossChoice(name="focal"))
    auxiliary: tuple[LossChoice, ...] = ()
    label_smoothing: float = 0.0
    workers: int = 0
    backbone_lr_scale: float = 1.0
    log_every: int = 5
    select: str = "last"
    sampler: str = "uniform"
    mixup: float = 0.0
    cutmix: float = 0.0
    patience: int = 0
    pseudo_targets: str = "hard"
    deterministic: bool = False
    compile: bool = False
    sync_batchnorm: bool = False

    @property
    def selects(self) -> bool:
        """Return whether validation decides what is published, which it may not when it is trained on."""
        return self.select == "best" or self.patience > 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build from plain values; UsageError for an unknown key, a wrong type or an impossible value."""
        defaults = cls()
        known = {item.name: getattr(defaults, item.name) for item in fields(cls)}
        check_options(values, known, "recipe")
        changed: dict[str, Any] = {}
        for name, value in values.items():
            if name == "loss":
                changed[name] = _loss_choice(value, "recipe.loss")
            elif name == "auxiliary":
                changed[name] = _loss_choices(value)
            else:
                changed[name] = check_type(value, known[name], f"recipe.{name}")
        recipe = cls(**changed)
        recipe._check()
        return recipe

    def _check(self) -> None:
        _one_of(self.optimizer, ("adamw", "sgd"), "recipe.optimizer")
        _one_of(self.schedule, ("cosine",), "recipe.schedule")
        _one_of(self.amp, ("none", "auto", "bf16", "fp16"), "recipe.amp")
        _one_of(self.select, ("last", "best"), "recipe.select")
        _one_of(self.sampler, SAMPLERS, "recipe.sampler")
        _one_of(self.pseudo_targets, ("hard", "soft"), "recipe.pseudo_targets")
        for name, lowest in (("epochs", 1), ("batch_size", 1), ("log_every", 1), ("workers", 0)):
            _at_least(getattr(self, name), lowest, f"recipe.{name}")
        for name in ("weight_decay", "momentum", "warmup_epochs", "clip_norm", "ema", "backbone_lr_scale"):
            _at_least(getattr(self, name), 0, f"recipe.{name}")
        for name in ("mixup", "cutmix", "patience"):
            _at_least(getattr(self, name), 0, f"recipe.{name}")
        if self.mixup and self.cutmix:
            raise UsageError("recipe.mixup and recipe.cutmix exclude each other: set one of them to 0")
        if not self.lr > 0:
            raise UsageError(f"recipe.lr must be positive, found {self.lr}")
        for name in ("ema", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"recipe.{name} must lie in [0, 1), found {getattr(self, name)}")

    def files(self) -> dict[str, str]:
        """Return the files that losses read, by ``<loss>.<option>``: options whose name ends in ``_file``."""
        return {
            f"{choice.name}.{name}": str(value)
            for choice in (self.loss, *self.auxiliary)
            for name, value in choice.options.items()
            if name.endswith("_file") and value
        }

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that :meth:`from_dict` reads back."""
        value = asdict(self)
        value["loss"] = _choice_json(self.loss)
        value["auxiliary"] = [_choice_json(choice) for choice in self.auxiliary]
        return value

    def decisive(self) -> dict[str, Any]:
        """Return what of :meth:`to_json` the weights depend on: a training under way may change the rest."""
        return {name: value for name, value in self.to_json().items() if name != "workers"}


def _choice_json(choice: LossChoice) -> dict[str, Any]:
    return {"name": choice.name, "weight": choice.weight, "options": dict(choice.options)}


def _loss_choice(value: Any, where: str) -> LossChoice:
    if isinstance(value, str):
        return LossChoice(name=value)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise UsageError(
            f"{where}: wanted a name or a table with 'name', 'weight' and 'options', found {value!r}"
        )
    check_options(value, {"name": "", "weight": 1.0, "options": {}}, where)
    options = value.get("options", {})
    if not isinstance(options, Mapping):
        raise UsageError(f"{where}.options: wanted a table, found {options!r}")
    weight = check_type(value.get("weight", 1.0), 1.0, f"{where}.weight")
    return LossChoice(name=value["name"], weight=weight, options=dict(options))


def _loss_choices(value: Any) -> tuple[LossChoice, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise UsageError(f"recipe.auxiliary: wanted a list of losses, found {value!r}")
    choices = tuple(_loss_choice(item, f"recipe.auxiliary[{place}]") for place, item in enumerate(value))
    names = [choice.name for choice in choices]
    if len(set(names)) != len(names):
        raise UsageError(f"recipe.auxiliary: a loss stands twice in {names}")
    return choices


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise UsageError(f"{where}: '{value}' is unknown{nearest(value, known)} (known: {', '.join(known)})")


def _at_least(value: float, lowest: float, where: str) -> None:
    if not value >= lowest:
        raise UsageError(f"{where} must be at least {lowest}, found {value}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the known name next to a misspelt one, or an empty text."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


def check_options(values: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a key that is not among the known ones, naming the nearest."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: wanted a table of settings, found {values!r}")
    for name in values:
        if name not in known:
            listing = ", ".join(known) or "none"
            raise UsageError(f"{where}: unknown setting '{name}'{nearest(name, known)} (known: {listing})")


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the range
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"{where}: wanted a finite number, found {number}")
    return number


def check_type(value: Any, default: Any, where: str) -> Any:
    """Return a value as the type of ``default``; UsageError if it is another one."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise UsageError(f"{where}: wanted true or false, found {value!r}")
    if isinstance(default, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and isinstance(default, float):
            return _finite(value, where)
        if number and (isinstance(value, int) or value.is_integer()):
            return int(value)
        wanted = "a number" if isinstance(default, float) else "a whole number"
        raise UsageError(f"{where}: wanted {wanted}, found {value!r}")
    if isinstance(default, str) and not isinstance(value, str):
        raise UsageError(f"{where}: wanted a text, found {value!r}")
    # JSON and TOML know lists only.
    return tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value


def overlay_options(
    defaults: Mapping[str, Any], layers: Iterable[Mapping[str, Any]], where: str
) -> dict[str, Any]:
    """Lay option tables over ``defaults``, later ones winning; UsageError for unknown names and types."""
    result = dict(defaults)
    for layer in layers:
        check_options(layer, defaults, where)
        for name, value in layer.items():
            result[name] = check_type(value, defaults[name], f"{where}.{name}")
    return result


def read_settings(settings: Mapping[str, Any] | None, overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Join a ``{recipe, model, modality}`` table with ``--set section.key=value`` texts, which win.

    Values are read as JSON and taken as plain text if they are none.
    """
    given = settings or {}
    check_options(given, dict.fromkeys(SECTIONS), "settings")
    result: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        table = given.get(section) or {}
        if not isinstance(table, Mapping):
            raise UsageError(f"settings.{section}: wanted a table, found {table!r}")
        result[section] = json.loads(json.dumps(table))  # a deep copy of plain values
    return _apply(result, overrides)


def _apply(tables: dict[str, dict[str, Any]], overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    for text in overrides:
        path, equals, raw = text.partition("=")
        words = path.strip().split(".")
        if not equals or len(words) < 2 or words[0] not in SECTIONS or not all(words):
            raise UsageError(
                f"--set '{text}': wanted SECTION.KEY=VALUE with a section of {', '.join(SECTIONS)}"
            )
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):  # also a number of thousands of digits
            value = raw.strip()
        table: Any = tables[words[0]]
        for word in words[1:-1]:
            inner = table.get(word)
            # "loss = 'focal'" is short for {name = 'focal'}; a deeper setting opens it into the table.
            if isinstance(inner, str):
                inner = {"name": inner}
            table[word] = {} if inner is None else inner
            table = table[word]
            if not isinstance(table, dict):
                raise UsageError(f"--set '{text}': '{word}' is no table")
        table[words[-1]] = value
    return tables


def merge_recipes(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Lay training settings over one another, the last one on top.

    A ``loss`` table without a name keeps the name (and options) of the layer below it.

    >>> merge_recipes({"loss": "ldam", "lr": 0.1}, {"loss": {"options": {"scale": 30.0}}})
    {'loss': {'name': 'ldam', 'options': {'scale': 30.0}}, 'lr': 0.1}

    Raises:
        UsageError: a layer that is no table.
    """
    merged: dict[str, Any] = {}
    for table in tables:
        if not isinstance(table, Mapping):
            raise UsageError(f"recipe: wanted a table of settings, found {table!r}")
        below, loss = merged.get("loss"), table.get("loss")
        merged |= table
        if isinstance(loss, Mapping) and "name" not in loss and below is not None:
            inner = {"name": below} if isinstance(below, str) else below
            merged["loss"] = {**inner, **loss}
            first, then = inner.get("options", {}), loss.get("options", {})
            if isinstance(first, Mapping) and isinstance(then, Mapping):  # else refused where it is read
                merged["loss"]["options"] = {**first, **then}
    return merged


def check_adversarial(recipe: Recipe) -> None:
    """Raise UsageError for a setting that ``mg dann`` gives no meaning to."""
    for setting, wrong in (
        ("mixup", recipe.mixup > 0),
        ("cutmix", recipe.cutmix > 0),
        ("sampler", recipe.sampler != "uniform"),
        ("select", recipe.select == "best"),
        ("patience", recipe.patience > 0),
    ):
        if wrong:
            raise UsageError(
                f"mg dann: recipe.{setting} = {getattr(recipe, setting)!r} has no meaning where "
                "many clips have no label; leave it at its default"
            )


def resolve_recipe(model_recipe: Mapping[str, Any], user: Mapping[str, Any]) -> Recipe:
    """Lay the user's recipe over the model's and over the defaults, as :func:`merge_recipes` does."""
    base = {**Recipe().to_json(), **model_recipe}
    for name in set(base) - {item.name for item in fields(Recipe)}:
        raise UsageError(f"the model's own recipe has an unknown setting '{name}'")
    return Recipe.from_dict(merge_recipes(base, user))
