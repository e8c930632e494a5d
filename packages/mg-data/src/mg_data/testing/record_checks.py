"""Checks of any record: its fields, and that what it names can be found and takes its options."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mg_data.cli.build import make_command
from mg_data.contract import CommandSpec, ModelSpec
from mg_data.plugins import registry, resolve
from mg_data.testing.checks import CheckFailed, require

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_WORD = re.compile(r"[a-z][a-z0-9-]*")
# Fields that name a callable.
_CALLABLES = ("factory", "frames", "fit", "example")
# What a factory is called with besides the options of the record: positional and named.
_GIVEN: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "datasets": (1, ()),
    "pose_estimators": (0, ()),
    "modalities": (1, ()),
    "models": (1, ("input",)),
    "losses": (0, ("class_counts",)),
    "adapters": (1, ()),
    "fusers": (2, ()),
    "trackers": (1, ()),
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record and the kind it was registered as."""

    kind: str
    spec: Any


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(_fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True


def check_fields_are_valid(record: Record) -> None:
    """Every field is of its type, and the summary is one line."""
    spec = record.spec
    hints = typing.get_type_hints(type(spec))
    for item in dataclasses.fields(spec):
        value = getattr(spec, item.name)
        require(
            _fits(value, hints[item.name]),
            f"field {item.name} is {value!r} ({type(value).__name__}), wanted {item.type}",
        )
    summary = spec.summary.strip()
    require(summary and "\n" not in summary, f"summary is {spec.summary!r}, wanted one line of text")


def check_name_is_legal(record: Record) -> None:
    """The name can be typed: small letters, digits, '-', '_' and '.'."""
    if isinstance(record.spec, CommandSpec):
        for word in record.spec.path:
            require(_WORD.fullmatch(word), f"command word '{word}', wanted small letters, digits and '-'")
        require(record.spec.path, "path is empty, wanted the words after 'mg'")
    name = getattr(record.spec, "name", None)
    if name is not None:
        require(_NAME.fullmatch(name), f"name '{name}', wanted small letters, digits, '-', '_' and '.'")


def check_factories_resolve(record: Record) -> None:
    """Everything that the record names as 'package.module:callable' can be imported."""
    for name in _CALLABLES:
        text = getattr(record.spec, name, "")
        if text:
            resolve(text)


def check_factory_takes_its_options(record: Record) -> None:
    """The factory can be called with the options that the record declares, and needs no other."""
    spec = record.spec
    factory = resolve(spec.factory)
    positional, named = _GIVEN.get(record.kind, (0, ("console",)))
    options = [param.name for param in spec.params] if isinstance(spec, CommandSpec) else list(spec.options)
    try:
        inspect.signature(factory).bind(*[None] * positional, **dict.fromkeys([*named, *options]))
    except TypeError as error:
        call = ", ".join(["..."] * positional + [f"{name}=..." for name in (*named, *options)])
        raise CheckFailed(f"{spec.factory}({call}) is not possible: {error}") from error
    except ValueError:
        return  # a callable of C has no signature to look at


def check_options_are_json(record: Record) -> None:
    """Options, presets and recipe are JSON values, as checkpoints and recipes keep them."""
    for name in ("options", "presets", "modality_options", "recipe"):
        value = getattr(record.spec, name, {})
        try:
            json.dumps(value, default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CheckFailed(f"{name} is no JSON value: {error}") from error
        for key in value if name == "options" else ():
            require(key.isidentifier(), f"option '{key}' is no Python name")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def check_presets_name_known_options(record: Record) -> None:
    """Presets set options that the model or its modality has, and the modalities are registered."""
    spec: ModelSpec = record.spec
    require(spec.modalities, "modalities is empty, wanted the names of those it reads, the default one first")
    for preset, options in spec.presets.items():
        unknown = sorted(set(options) - set(spec.options))
        require(
            not unknown, f"preset '{preset}' sets '{(unknown or [''])[0]}', which is no option of the record"
        )
    unknown = sorted(set(spec.modality_options) - set(spec.presets))
    require(not unknown, f"modality_options name '{(unknown or [''])[0]}', which is no preset")
    reads = registry().get("modalities", spec.modalities[0])
    for preset, options in spec.modality_options.items():
        unknown = sorted(set(options) - set(reads.options))
        require(
            not unknown,
            f"modality_options of '{preset}' set '{(unknown or [''])[0]}', which '{reads.name}' lacks",
        )


def check_command_line_can_be_made(record: Record) -> None:
    """Its parameters make a command line with help: names once, defaults among the choices."""
    spec: CommandSpec = record.spec
    names = [param.name for param in spec.params]
    require(len(set(names)) == len(names), f"a parameter is named twice: {', '.join(names)}")
    for param in spec.params:
        require(param.name.isidentifier(), f"parameter '{param.name}' is no Python name")
        require(param.help.strip(), f"parameter '{param.name}' has no help")
        unset = param.default in (None, "") or param.multiple
        require(
            unset or not param.choices or param.default in param.choices,
            f"parameter '{param.name}' has the default {param.default!r}, which is none of {param.choices}",
        )
    command = make_command(spec, "?", lambda *_: None)
    with command.make_context("mg", [], resilient_parsing=True) as context:
        text = "".join(command.get_help(context).split())  # help is folded
        require("".join(spec.summary.split()) in text, "its help lacks its summary")


ANY = (check_fields_are_valid, check_name_is_legal)
WITH_FACTORY = (*ANY, check_factories_resolve, check_factory_takes_its_options)
MODEL = (*WITH_FACTORY, check_options_are_json, check_presets_name_known_options)
OPTIONS = (*WITH_FACTORY, check_options_are_json)
COMMAND = (*WITH_FACTORY, check_command_line_can_be_made)
