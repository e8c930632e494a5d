"""The ``mg`` command: a click group whose subcommands are the records of all plugins."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import click

from mg_data import __version__
from mg_data.cli.build import check_places, make_command
from mg_data.cli.console import TerminalConsole
from mg_data.cli.records import GROUP_SUMMARIES, HOMES
from mg_data.cli.text import one_line, printable
from mg_data.contract.errors import MgError, PluginError, StoreError
from mg_data.contract.specs import CommandSpec
from mg_data.plugins import Registry, registry, resolve
from mg_data.plugins.registry import command_registry


def _invoke(spec: CommandSpec, values: dict[str, Any]) -> None:
    settings = click.get_current_context().find_root().obj
    console = TerminalConsole(quiet=settings["quiet"])
    check_places(spec, values)
    try:
        result = resolve(spec.factory)(console=console, **values)
    except MgError as error:
        _print(error.result, settings["json"])
        raise
    _print(result, settings["json"])


def _print(result: Any, as_json: bool) -> None:
    from mg_data.contract.runtime import StageResult  # not for a listing of commands

    if not isinstance(result, StageResult):
        return
    if as_json:
        text = json.dumps(result.data, indent=2, ensure_ascii=False, default=str)
        text = text.encode("utf-8", "backslashreplace").decode()  # names of files need not be UTF-8
    else:
        text = printable(result.text)
    if not text:
        return
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer would be refused again at the end of the process.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = f"cannot be written: {error.strerror or error}"
        raise StoreError("standard output", reason, "the command's files are complete") from error


def _specs(known: Registry) -> dict[tuple[str, ...], tuple[CommandSpec, str]]:
    found: dict[tuple[str, ...], tuple[CommandSpec, str]] = {}
    for kind in ("stages", "commands"):
        for name, spec in getattr(known, kind).items():
            owner = known.version_of(kind, name)
            if spec.path in found:
                other = found[spec.path][1]
                raise PluginError(f"command 'mg {' '.join(spec.path)}' is claimed by {other} and {owner}")
            found[spec.path] = (spec, owner)
    return found


def add_output_flags(command: click.Command) -> click.Command:
    """Let --json, --quiet and --debug stand after the subcommand as well as before it."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and param.name:
            ctx.find_root().obj[param.name] = True

    for flags, text in (
        (["--json"], "print the result as JSON"),
        (["--quiet", "-q"], "no talk on stderr"),
        (["--debug"], "show tracebacks"),
    ):
        command.params.append(
            click.Option(flags, is_flag=True, expose_value=False, callback=remember, help=text)
        )
    return command


class PluginGroup(click.Group):
    """A group that looks its commands up among the plugins' records when they are needed."""

    def __init__(self, prefix: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.prefix = prefix

    def _below(self) -> Mapping[tuple[str, ...], tuple[CommandSpec, str]]:
        depth = len(self.prefix)
        known = _specs(command_registry())
        return {path: entry for path, entry in known.items() if path[:depth] == self.prefix}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the next words."""
        return sorted({path[len(self.prefix)] for path in self._below() if len(path) > len(self.prefix)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or the group of a word under which there are more."""
        path = (*self.prefix, cmd_name)
        below = self._below()
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in below)
        if path in below and not deeper:
            spec, owner = below[path]
            return add_output_flags(make_command(spec, owner, _invoke))
        if not deeper:
            return None
        if path in below and below[path][0].params:
            spec, owner = below[path]
            own = add_output_flags(make_command(spec, owner, _invoke))
            return CommandWithMore(path, own=own, name=cmd_name)
        group = PluginGroup(
            path,
            name=cmd_name,
            help=GROUP_SUMMARIES.get(cmd_name, f"Commands of {cmd_name}."),
            invoke_without_command=path in below,
            callback=_group_callback(below[path][0]) if path in below else None,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        return add_output_flags(group)  # the listing of a group such as ``mg models``

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands with their static summaries; nothing is imported for it."""
        below = self._below()
        rows = []
        for name in self.list_commands(ctx):
            path = (*self.prefix, name)
            summary = GROUP_SUMMARIES.get(name) if path not in below else below[path][0].summary
            rows.append((name, summary or ""))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
        if not self.prefix:
            missing = sorted({package for name, package in HOMES.items() if (name,) not in below})
            if missing:
                formatter.write_paragraph()
                formatter.write_text(f"More commands come with: {', '.join(missing)}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which package brings a command that is not installed."""
        name = args[0] if args else ""
        if not self.prefix and name in HOMES and self.get_command(ctx, name) is None:
            package = HOMES[name]
            failed = next((info for info in registry().plugins if info.distribution == package), None)
            if failed is not None and failed.status == "failed":
                raise PluginError(f"'mg {name}' comes with {package}, which failed to load: {failed.error}")
            raise PluginError(
                f"'mg {name}' comes with {package}, which is not installed: pip install {package}"
            )
        return super().resolve_command(ctx, args)


class CommandWithMore(PluginGroup):
    """A command with parameters and commands below it: ``mg submit probs.h5``, ``mg submit check file.zip``.

    The next word decides. A file that is called like a command below is given as ``./check``.
    """

    def __init__(self, prefix: tuple[str, ...], *, own: click.Command, **settings: Any) -> None:
        super().__init__(prefix, **settings)
        self.own = own
        self.short_help = own.short_help

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command that the next word means."""
        if args and args[0] in self.list_commands(click.Context(self)):
            return super().make_context(info_name, args, parent, **extra)
        more = ", ".join(self.list_commands(click.Context(self)))
        self.own.epilog = f"Commands below: {more} (mg {' '.join(self.prefix)} {more.split(',')[0]} --help)."
        return self.own.make_context(info_name, args, parent, **extra)


def _group_callback(spec: CommandSpec) -> Any:
    def callback() -> None:
        if click.get_current_context().invoked_subcommand is None:
            _invoke(spec, {})

    return callback


def _root() -> click.Group:
    def callback(as_json: bool, quiet: bool, debug: bool) -> None:
        settings = click.get_current_context().obj
        settings.update(json=as_json or settings["json"], quiet=quiet, debug=debug or settings["debug"])

    return PluginGroup(
        name="mg",
        callback=callback,
        params=[
            click.Option(["as_json", "--json"], is_flag=True, help="Print the result as JSON."),
            click.Option(["quiet", "--quiet", "-q"], is_flag=True, help="No talk on stderr."),
            click.Option(["debug", "--debug"], is_flag=True, help="Show tracebacks."),
            click.Option(
                ["version", "--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version of mg-data.",
            ),
        ],
        help="Multi-modal micro-gesture recognition: data, training, adaptation, fusion.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"mg-data {__version__}")
        ctx.exit()


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    settings: dict[str, Any] = {"json": False, "quiet": False, "debug": False}
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _root().main(words, prog_name="mg", standalone_mode=False, obj=settings)
    except MgError as error:
        if settings["debug"] or os.environ.get("MG_DEBUG"):
            traceback.print_exc()
        with contextlib.suppress(OSError):
            print(f"mg: error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("mg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if settings["debug"] or os.environ.get("MG_DEBUG"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"  # noqa: PTH119
        print(
            f"mg: internal error: {type(error).__name__}: {one_line(str(error))} (at {place}; --debug shows "
            "the traceback)",
            file=sys.stderr,
        )
        return 1
    return 0


def main() -> None:
    """Entry point of the ``mg`` script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
