"""Generate docs/cli.md and docs/plugin-hooks.md from the records and hookspecs, or check that they are true.

python tools/reference.py           # exit code 1 if a page is out of date
python tools/reference.py --write
"""

# ruff: noqa: E501 -- prose of the pages

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path

from mg_data.contract import hookspecs, runtime, specs
from mg_data.plugins import registry

DOCS = Path(__file__).parent.parent / "docs"
# Shown with each hook, in this order.
RECORDS = (
    specs.DatasetSpec, specs.LayoutSpec, specs.PoseEstimatorSpec, specs.ModalitySpec, specs.ModelSpec,
    specs.WeightsSpec, specs.LossSpec, specs.AdapterSpec, specs.FuserSpec, specs.TrackerSpec,
    specs.Param, specs.CommandSpec, specs.StageSpec,
)  # fmt: skip


def _usage(param: specs.Param) -> str:
    if param.positional:
        return f"{param.name.upper()}{'...' if param.multiple else ''}"
    dashed = param.name.replace("_", "-")
    names = ", ".join([*param.flags, f"--{dashed}/--no-{dashed}" if param.type == "bool" else f"--{dashed}"])
    return names + ("..." if param.multiple else "")


def cli_page() -> str:
    """Return the reference of all commands of the five packages."""
    known = registry()
    entries = {
        spec.path: (spec, known.owners[kind, name])
        for kind in ("stages", "commands")
        for name, spec in getattr(known, kind).items()
        if known.owners[kind, name].startswith("mg-")
    }
    lines = [
        "# The `mg` command",
        "",
        "Generated from the commands' records by `make pages`. Every command also takes `--json` (result as",
        "JSON), `--quiet` (no talk on stderr), `--debug` (tracebacks) and `--help`. Results go to stdout, talk to",
        "stderr.",
        "Exit codes: 0 success, 2 usage or configuration, 3 store, 4 plugin, 5 data.",
    ]
    for path, (spec, owner) in sorted(entries.items()):
        words = " ".join(_usage(param) for param in spec.params if param.positional)
        lines += [
            "",
            f"## `mg {' '.join(path)}{' ' + words if words else ''}`",
            "",
            f"{spec.summary} From `{owner}`.",
        ]
        if spec.params:
            lines += ["", "| parameter | type | default | |", "|---|---|---|---|"]
        for param in spec.params:
            default = (
                "required"
                if param.required
                else ("" if param.default in (None, "", ()) else f"`{param.default}`")
            )
            text = param.help.replace("|", "\\|")
            choices = (
                f" One of {', '.join(f'`{choice}`' for choice in param.choices)}." if param.choices else ""
            )
            lines.append(f"| `{_usage(param)}` | {param.type} | {default} | {text}{choices} |")
    return "\n".join(lines) + "\n"


def _fields(record: type) -> list[str]:
    """Return the table of a dataclass's fields."""
    lines = ["| field | type | default |", "|---|---|---|"]
    for item in dataclasses.fields(record):
        if item.default is not dataclasses.MISSING:
            default = f"`{item.default!r}`"
        elif item.default_factory is not dataclasses.MISSING:
            default = f"`{item.default_factory()!r}`"
        else:
            default = "required"
        kind = str(item.type).replace("|", "\\|")
        lines.append(f"| `{item.name}` | `{kind}` | {default} |")
    return lines


def hooks_page() -> str:
    """Return the reference of hooks and records."""
    lines = [
        "# Hooks and records",
        "",
        "Generated from `mg_data.contract` by `make pages`. A plugin is a distribution with an entry point of",
        "group `mg.plugins`, named like the distribution, that points at a module with hook implementations:",
        "",
        "```toml",
        '[project.entry-points."mg.plugins"]',
        'my-plugin = "my_plugin.plugin"',
        "```",
        "",
        "```python",
        "from mg_data.contract import ModelSpec, hookimpl",
        "",
        "",
        "@hookimpl",
        "def mg_register_models():",
        "    return [",
        "        ModelSpec(",
        '            name="my-model",',
        '            summary="What it is, in one line.",',
        '            factory="my_plugin.model:build",',
        '            modalities=("joint",),',
        "        )",
        "    ]",
        "```",
        "",
        "Factories are named as text, so that listing plugins imports nothing heavy. Two plugins that register one",
        "name make that name unusable until one of them goes; a plugin that fails is listed by `mg plugins` with its",
        "cause. `MG_PLUGINS=a,b` allows only those distributions, `MG_STRICT_PLUGINS=1` raises at the first failure.",
        "",
        "## Hooks",
    ]
    for name, hook in sorted(vars(hookspecs).items()):
        if name.startswith("mg_"):
            signature = str(inspect.signature(hook)).replace("'", "")
            lines += ["", f"### `{name}{signature}`", "", inspect.getdoc(hook) or ""]
    lines += ["", "## Records"]
    for record in RECORDS:
        lines += ["", f"### `{record.__name__}`", "", "```text", inspect.getdoc(record) or "", "```", ""]
        lines += _fields(record)
    lines += [
        "",
        "## What is passed at run time",
        "",
        "What factories take and return; all of it is imported from `mg_data.contract`.",
    ]
    for passed in vars(runtime).values():
        if not (inspect.isclass(passed) and passed.__module__ == runtime.__name__):
            continue
        lines += ["", f"### `{passed.__name__}`", "", "```text", inspect.getdoc(passed) or "", "```"]
        lines += ["", *_fields(passed)] if dataclasses.is_dataclass(passed) else []
        methods = [
            (f"{name}{inspect.signature(method)}".replace("'", ""), inspect.getdoc(method))
            for name, method in vars(passed).items()
            if getattr(passed, "_is_protocol", False)
            and inspect.isfunction(method)
            and (name == "__call__" or not name.startswith("_"))
        ]
        lines += ["", *(f"- `{signature}`" + (f": {text}" if text else "") for signature, text in methods)]
        if not methods:
            lines.pop()
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the pages, or say which is out of date."""
    stale = []
    for name, text in (("cli.md", cli_page()), ("plugin-hooks.md", hooks_page())):
        path = DOCS / name
        if "--write" in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"docs/{name} is out of date: run 'make pages'", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
