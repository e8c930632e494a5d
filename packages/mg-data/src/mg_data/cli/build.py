"""Make click commands from records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from mg_data.contract.errors import UsageError
from mg_data.contract.specs import CommandSpec, Param


class JsonType(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.4
    """A JSON text, or ``key=value`` words where the value is JSON or else plain text."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the JSON value."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            key, sign, text = value.partition("=")
            if not sign:
                self.fail(f"'{value}' is neither JSON nor key=value", param, ctx)
            return {key: _plain(text)}


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "path": click.Path(path_type=Path),
    "json": JsonType(),
}


class GreedyOption(click.Option):
    """An option of several values that also takes the words that follow it: ``--fit A.h5 B.h5``."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser take every following word that is no option."""
        super().add_to_parser(parser, ctx)
        for name in self.opts:
            entry = parser._long_opt.get(name) or parser._short_opt.get(name)
            if entry is None:
                continue
            process = entry.process

            def greedy(value: Any, state: Any, process: Callable[[Any, Any], None] = process) -> None:
                process(value, state)
                while state.rargs and not state.rargs[0].startswith("-"):
                    process(state.rargs.pop(0), state)

            entry.process = greedy


def _click_type(param: Param) -> Any:
    return click.Choice(param.choices) if param.choices else _TYPES[param.type]


def _parameter(param: Param) -> click.Parameter:
    if param.positional:
        default = {} if param.required or param.multiple else {"default": param.default}
        return click.Argument(
            [param.name],
            type=_click_type(param),
            nargs=-1 if param.multiple else 1,
            required=param.required,
            **default,
        )
    spelled = f"--{param.name.replace('_', '-')}"
    if param.type == "bool":
        return click.Option(
            [param.name, *param.flags, f"{spelled}/--no-{spelled[2:]}"],
            default=param.default,
            help=param.help,
            show_default=param.default is not None,
        )
    kind = GreedyOption if param.multiple else click.Option
    # A default of None counts as given, and then a required option is never missed.
    default = {} if param.required else {"default": param.default}
    return kind(
        [param.name, *param.flags, spelled],
        type=_click_type(param),
        multiple=param.multiple,
        required=param.required,
        help=param.help,
        show_default=param.default not in (None, "", (), {}),
        **default,
    )


def collect(param: Param, value: Any) -> Any:
    """Bring a parsed value into the form the factory takes: lists for many, merged tables for JSON words."""
    if not param.multiple:
        return value
    values = list(value or ())
    if param.type == "json" and all(isinstance(item, dict) for item in values):
        merged: dict[str, Any] = {}
        for item in values:
            merged.update(item)
        return merged
    return values


def make_command(
    spec: CommandSpec, owner: str, invoke: Callable[[CommandSpec, dict[str, Any]], None]
) -> click.Command:
    """Return the click command of a record; ``invoke`` runs its factory."""

    def callback(**values: Any) -> None:
        invoke(spec, {param.name: collect(param, values[param.name]) for param in spec.params})

    arguments = [param for param in spec.params if param.positional]
    listing = "".join(f"\n\n  {param.name.upper()}: {param.help}" for param in arguments)
    return click.Command(
        spec.path[-1],
        callback=callback,
        params=[_parameter(param) for param in spec.params],
        help=f"{spec.summary}{listing}\n\nFrom {owner}.",
        short_help=spec.summary,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def check_places(spec: CommandSpec, values: Mapping[str, Any]) -> None:
    """See that no output of a command takes the place of a file that it reads, or of another output.

    Raises:
        UsageError: one does; whatever was there would be lost.
    """
    given = [
        (param, Path(os.path.realpath(path)), path)
        for param in spec.params
        if param.type == "path"
        for path in (values.get(param.name) or [] if param.multiple else [values.get(param.name)])
        if path is not None
    ]
    outputs: dict[Path, Param] = {}
    for param, place, path in given:
        if param.role == "output":
            if place in outputs:
                raise UsageError(
                    f"{_name(outputs[place])} and {_name(param)} are both {path}: wanted two files"
                )
            outputs[place] = param
    for param, place, path in given:
        if param.role == "input" and place in outputs and place.is_file():
            raise UsageError(
                f"{_name(outputs[place])} is {path}, which {_name(param)} names to be read: it would be "
                "overwritten, write another file"
            )


def _name(param: Param) -> str:
    return param.name.upper() if param.positional else f"--{param.name.replace('_', '-')}"


def run_params(spec: CommandSpec, values: dict[str, Any]) -> dict[str, Any]:
    """Complete and check values that come from a recipe rather than a command line.

    Raises:
        UsageError: an unknown or a missing parameter.
    """
    known = {param.name: param for param in spec.params}
    for name in values:
        if name not in known:
            raise UsageError(f"{' '.join(spec.path)} has no parameter '{name}' (it has: {', '.join(known)})")
    result: dict[str, Any] = {}
    for name, param in known.items():
        value = values.get(name, [] if param.multiple and param.type != "json" else param.default)
        if param.multiple and param.type == "json" and value is None:
            value = {}
        if param.required and value in (None, []):
            raise UsageError(f"{' '.join(spec.path)} needs the parameter '{name}'")
        if param.type == "path" and value is not None:
            value = [Path(item) for item in value] if param.multiple else Path(value)
        result[name] = value
    return result
