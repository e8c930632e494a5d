"""The recipe of ``mg run``: a TOML file, checked key by key, with ``${VAR:-default}`` filled in."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mg_data.contract import UsageError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# What the vote's own files and rows are called.
_TAKEN = ("fused", "equal", "equal-weight", "single-best")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the recordings are. ``synth`` holds the options of a synthetic corpus that is made first."""

    dataset: str
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    synth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BranchSettings:
    """One model on one modality.

    Args:
        crops: which crop store it reads, for modalities that read streams.
        train: training settings over the model's own recipe; ``adapt``: changes to them after adaptation.
        options: of the model. input: of the modality.
        flip_average: average the logits with those of the mirrored clip (paper 4.2); None = as trained.
        dann: weight of adversarial training against the target's inputs in the first round, 0 = off.
        floor: accuracy below which the result calls the branch failing.
    """

    name: str
    model: str
    preset: str = ""
    modality: str = ""
    crops: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    adapt: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    flip_average: bool | None = None
    dann: float = 0.0
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """Pseudo-labelling (paper 3.3). ``rounds`` = 0 leaves it out; most of the rest is of ``mg adapt``.

    ``folds`` = 0 keeps the vote of the first round; K > 0 searches it again after retraining, on logits of
    validation clips by models of which each left out one of K parts of the validation people.
    """

    rounds: int = 1
    adapter: str = "threshold"
    threshold: float = 0.65
    temperature: float | str = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    use: tuple[str, ...] = ("train", "val")
    folds: int = 0


@dataclass(frozen=True, kw_only=True)
class RowSettings:
    """One row of ``mg ablate``: a branch of the recipe, a change of one, or a fusion of all of them.

    Args:
        title: what tables call it.
        branch: the branch that is scored, or that the row starts from if it changes anything.
        when: ``before`` or ``after`` pseudo-labels.
        fuser: ``soft-vote`` is the recipe's own vote, ``equal-weight`` its mean; any other registered fuser
            is fitted on validation in the first round and keeps its parameters.
        crop: changes to the options of the crops, the row's own or those of the branch. The rest: changes to
            the branch.
    """

    name: str
    title: str = ""
    branch: str = ""
    when: str = "before"
    fuser: str = ""
    fuser_options: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    preset: str = ""
    modality: str = ""
    crops: str = ""
    crop: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    flip_average: bool | None = None
    dann: float = 0.0

    @property
    def trains(self) -> tuple[str, ...]:
        """Names of the changes that need a training of their own."""
        names = ("model", "preset", "modality", "crops", "crop", "train", "options", "input", "dann")
        return tuple(name for name in names if getattr(self, name))

    @property
    def changes(self) -> tuple[str, ...]:
        """Names of all changes to the branch."""
        return (*self.trains, *(("flip_average",) if self.flip_average is not None else ()))


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """What ``mg ablate`` compares: ``rows`` in their order (none: the paper's Table 2) over ``seeds``."""

    seeds: tuple[int, ...] = ()
    rows: tuple[RowSettings, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """How much runs at once: ``jobs`` steps with ``threads`` threads each. No result depends on ``jobs``."""

    jobs: int = 1
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A whole recipe. ``trackers`` are told of every training's epochs; no result depends on them."""

    name: str
    data: DataSettings
    split: Mapping[str, Any]
    branches: tuple[BranchSettings, ...]
    seed: int = 0
    flip: bool = False
    crops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    fuse: Mapping[str, Any] = field(default_factory=dict)
    adapt: AdaptSettings = field(default_factory=AdaptSettings)
    submit: Mapping[str, Any] = field(default_factory=dict)
    machine: MachineSettings = field(default_factory=MachineSettings)
    ablation: AblationSettings = field(default_factory=AblationSettings)
    trackers: tuple[str, ...] = ()


def expand(value: Any, where: str) -> Any:
    """Fill in ``${VAR}`` and ``${VAR:-default}`` in all texts of a TOML value."""
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], match[2])
            if found is None:
                raise UsageError(f"{where}: environment variable {match[1]} is not set")
            return found

        return _VARIABLE.sub(replace, value)
    if isinstance(value, list):
        return [expand(item, where) for item in value]
    if isinstance(value, dict):
        return {key: expand(item, f"{where}.{key}" if where else key) for key, item in value.items()}
    return value


def _build(kind: type[T], table: Mapping[str, Any], where: str, **given: Any) -> T:
    """Make a record of a TOML table; an unknown key is an error that names the nearest known one."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table, found {table!r}")
    known = {item.name for item in fields(kind)} - set(given)  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
            raise UsageError(f"{where}: unknown key '{key}' ({hint})")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    hints = get_type_hints(kind)
    for key, value in values.items():
        if not _fits(value, hints[key]):
            place = key if where == "the recipe" else f"{where} {key}"
            raise UsageError(f"{place}: wanted {_words(hints[key])}, found {table[key]!r}")
    try:
        return kind(**values, **given)
    except TypeError as error:
        missing = re.findall(r"'(\w+)'", str(error))
        raise UsageError(f"{where} lacks {', '.join(missing) or error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a TOML value is of a field's type."""
    kinds = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    origin = get_origin(hint) or hint
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, kinds[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(item, kinds[1]) for item in value.values())
    if origin in (int, float):
        return isinstance(value, (int, origin)) and not isinstance(value, bool)
    return origin is Any or isinstance(value, origin)


def _words(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if isinstance(hint, UnionType):
        return " or ".join(map(_words, kinds))
    origin = get_origin(hint) or hint
    if origin is tuple:
        return f"a list, each {_words(kinds[0])}"
    if origin is Mapping:
        return "a table of tables" if get_origin(kinds[1]) is Mapping else "a table"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[origin]


def changes_of(given: Any) -> dict[str, Any]:
    """Return what ``--set`` asks for: dotted keys and their values; UsageError for words of another form."""
    if given and not isinstance(given, Mapping):
        raise UsageError(f"--set: wanted KEY=VALUE, found {json.dumps(given)}")
    return dict(given or {})


def set_value(recipe: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in a nested table, as ``--set a.b.c=value`` asks."""
    *path, last = dotted.split(".")
    table = recipe
    for key in path:
        if key == "loss" and isinstance(table.get(key), str):
            table[key] = {"name": table[key]}  # "loss = 'focal'" is short for it
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {dotted}: '{key}' is no table")
    table[last] = value


def parse(recipe: Mapping[str, Any]) -> RunSettings:
    """Check a recipe and return it as records.

    Raises:
        UsageError: an unknown key, a missing one, a value of the wrong kind.
    """
    table = dict(recipe)
    table.pop("format", None)
    branches = table.pop("branches", {})
    if not isinstance(branches, Mapping) or not branches:
        raise UsageError("the recipe has no [branches.NAME] table: name at least one model")
    for name in branches:
        if not _NAME.fullmatch(name):
            raise UsageError(f"branch name '{name}' may hold letters, digits, '.', '_' and '-' only")
        if name in _TAKEN:
            raise UsageError(f"branch name '{name}' is taken by a row of the vote, call it otherwise")
    nested: dict[str, Any] = {
        "data": _build(DataSettings, table.pop("data", {}), "[data]"),
        "adapt": _build(AdaptSettings, table.pop("adapt", {}), "[adapt]"),
        "machine": _build(MachineSettings, table.pop("machine", {}), "[machine]"),
        "ablation": _ablation(table.pop("ablation", {})),
        "branches": tuple(
            _build(BranchSettings, value, f"[branches.{name}]", name=name) for name, value in branches.items()
        ),
    }
    settings = _build(RunSettings, table, "the recipe", **nested)
    if settings.adapt.rounds not in (0, 1):
        raise UsageError("[adapt] rounds must be 0 or 1: the recipe retrains once, from scratch (paper 3.3)")
    if not settings.name:
        raise UsageError("name: the recipe needs one, which the run folder is called by")
    for where, number, least in (
        ("seed", settings.seed, 0),
        ("[adapt] folds", settings.adapt.folds, 0),
        ("[machine] jobs", settings.machine.jobs, 1),
        ("[machine] threads", settings.machine.threads, 0),
        *((f"[branches.{branch.name}] dann", branch.dann, 0) for branch in settings.branches),
        *((f"[ablation.rows.{row.name}] dann", row.dann, 0) for row in settings.ablation.rows),
    ):
        if not number >= least:
            raise UsageError(f"{where} must be at least {least}, found {number}")
    for part in settings.adapt.use:
        if part not in ("train", "val"):
            raise UsageError(f"[adapt] use: '{part}' is no labelled part, wanted train or val or both")
    _check_temperature(settings.adapt.temperature)
    for branch in settings.branches:
        if not 0 <= branch.floor <= 1:
            raise UsageError(
                f"[branches.{branch.name}] floor must lie in [0, 1], such as 0.9, found {branch.floor:g}"
            )
        if branch.crops and branch.crops not in settings.crops:
            raise UsageError(f"[branches.{branch.name}]: there is no table [crops.{branch.crops}]")
    return settings


def _check_temperature(temperature: float | str) -> None:
    if temperature in ("fitted", "calibrated"):
        return
    try:
        good = 0 < float(temperature) < float("inf")
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"[adapt] temperature: wanted a positive number, 'fitted' or 'calibrated', found {temperature!r}"
        )


def _ablation(table: Any) -> AblationSettings:
    if not isinstance(table, Mapping):
        raise UsageError(f"[ablation] must be a table, found {table!r}")
    rows = table.get("rows", {})
    if not isinstance(rows, Mapping):
        raise UsageError(f"[ablation.rows] must be a table of rows, found {rows!r}")
    for name in rows:
        if not _NAME.fullmatch(name):
            raise UsageError(f"row name '{name}' may hold letters, digits, '.', '_' and '-' only")
    built = tuple(
        _build(RowSettings, value, f"[ablation.rows.{name}]", name=name) for name, value in rows.items()
    )
    rest = {key: value for key, value in table.items() if key != "rows"}
    found = _build(AblationSettings, rest, "[ablation]", rows=built)
    check_seeds(found.seeds, "[ablation] seeds")
    return found


def check_seeds(seeds: Any, where: str) -> None:
    """Raise UsageError unless these are distinct whole numbers of at least 0."""
    good = isinstance(seeds, (list, tuple)) and all(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds
    )
    if not good or len(set(seeds)) != len(seeds):
        raise UsageError(f"{where}: wanted distinct whole numbers of at least 0, found {seeds!r}")


def _resolve_files(value: Any, folder: Path) -> None:
    """Resolve ``anchors_file`` and the like, and ``weights`` that are a file, against the recipe's folder."""
    if isinstance(value, dict):
        for key, item in value.items():
            path = folder / item if isinstance(item, str) and item else None
            if path and (key.endswith("_file") or (key == "weights" and path.is_file())):
                value[key] = str(path.resolve())
            else:
                _resolve_files(item, folder)
    elif isinstance(value, list):
        for item in value:
            _resolve_files(item, folder)


def _resolve_options(data: Any, folder: Path) -> None:
    """Resolve the options of an importer that name files beside the recipe.

    Whoever starts runs in the folder of the files, and not in the recipe's, goes on finding them.
    """
    options = data.get("options") if isinstance(data, dict) else None
    if not isinstance(options, dict):
        return
    names = ("clips", "classes", "root", *(("keypoints",) if data.get("dataset") == "clips" else ()))
    for name in names:
        value = options.get(name)
        if isinstance(value, str) and value and (folder / value).exists():
            options[name] = str((folder / value).resolve())


def load(path: Path, changes: Mapping[str, Any]) -> tuple[RunSettings, dict[str, Any]]:
    """Read a recipe file with ``--set`` changes; return its records and its resolved table.

    Relative paths of ``source``, ``ids``, ``groups`` and of keys that end in ``_file`` are resolved against
    the recipe's folder; ``weights``, and an importer's options ``clips``, ``classes``, ``root`` and the data
    set clips' ``keypoints``, if such a file is there.
    """
    try:
        with path.open("rb") as handle:
            recipe = tomllib.load(handle)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no valid TOML: {error}") from error
    for dotted, value in changes.items():
        set_value(recipe, dotted, value)
    resolved = expand(recipe, "")
    parts = resolved.get("split")
    for table in (resolved.get("data"), *(parts.values() if isinstance(parts, dict) else ())):
        for key, value in table.items() if isinstance(table, dict) else ():
            if (key == "source" or key.endswith("_file")) and isinstance(value, str) and value:
                table[key] = str((path.parent / value).resolve())
    for section, name in (("submit", "ids"), ("fuse", "groups")):
        table = resolved.get(section)
        if isinstance(table, dict) and isinstance(table.get(name), str) and table[name]:
            table[name] = str((path.parent / table[name]).resolve())
    _resolve_options(resolved.get("data"), path.parent)
    for table in (resolved.get("train"), resolved.get("branches"), resolved.get("ablation")):
        _resolve_files(table, path.parent)
    return parse(resolved), resolved
