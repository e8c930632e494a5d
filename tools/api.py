"""The public names of mg_data as a text, and the rule they change by within a major version: only additions.

``python tools/api.py`` fails if tests/compat/api/mg_data.txt is not what the code offers; ``--write`` writes
it anew. A release keeps its text beside it (``mg-data-1.0.txt``); the tests compare those of the present
major with the present text, and mg-fusion's likewise.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOTS = ROOT / "tests" / "compat" / "api"
MG_DATA = SNAPSHOTS / "mg_data.txt"

# Modules all of whose public names are promised.
PUBLIC = (
    "mg_data.contract",
    "mg_data.contract.hookspecs",
    "mg_data.plugins",
    "mg_data.store",
    "mg_data.testing",
)
# Protocols that plugins call and only mg-data implements: these may grow.
OURS = ("Console", "Progress")


def _siblings_use() -> Iterator[tuple[str, str]]:
    """Yield module and name of what siblings import from mg_data: their pinned releases go on needing it."""
    for path in sorted(ROOT.glob("packages/*/src/*/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if source.split(".")[0] == "mg_data" and "mg-data" not in path.relative_to(ROOT).parts:
                yield from ((source, alias.name) for alias in node.names)


def _released_names() -> Iterator[tuple[str, str]]:
    """Yield the names that releases of mg-data promised, by module."""
    for path in sorted(SNAPSHOTS.glob("mg-data-*.txt")):
        for name in entries(path.read_text(encoding="utf-8")):
            module, _, rest = name.partition("/")
            if "/" not in rest:
                yield module, rest


def public_names() -> dict[str, list[str]]:
    """Return the names of mg_data by module: public ones, those that siblings use, those once promised."""
    found: dict[str, set[str]] = {"mg_data": {"__version__"}}
    for name in PUBLIC:
        module = importlib.import_module(name)
        hooks = [hook for hook in vars(module) if hook.startswith("mg_")]
        found[name] = set(getattr(module, "__all__", hooks))
    for module_name, name in [*_siblings_use(), *_released_names()]:
        found.setdefault(module_name, set()).add(name)
    return {name: sorted(found[name]) for name in sorted(found)}


def _attributes(cls: type) -> dict[str, str]:
    """Return the public attributes that a class's own methods give to ``self``, with their types."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls)))):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and ast.unparse(target.value) == "self"
                and not target.attr.startswith("_")
            ):
                kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                found[target.attr] = kind or found.get(target.attr, "")
    return found


def _field(field: dataclasses.Field[Any]) -> str:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return f"{field.name}: {field.type}" + (" (required)" if required else " = ...")


def _written(annotation: Any) -> str:
    # NamedTuple turns the text of an annotation into a reference.
    return str(getattr(annotation, "__forward_arg__", annotation))


def _members(cls: type) -> Iterator[str]:
    if dataclasses.is_dataclass(cls):
        yield from map(_field, dataclasses.fields(cls))
    elif hasattr(cls, "_fields"):
        yield from (f"{name}: {_written(kind)} (required)" for name, kind in cls.__annotations__.items())
    else:
        for name, kind in getattr(cls, "__annotations__", {}).items():
            if not name.startswith("_"):
                yield f"{name}: {kind}"
    seen: set[str] = set(getattr(cls, "__annotations__", {}))
    for base in cls.__mro__:
        if not base.__module__.startswith("mg_data"):
            continue
        for name, value in sorted(vars(base).items()):
            function = inspect.unwrap(getattr(value, "__func__", value))
            if name in seen or (name.startswith("_") and name not in ("__init__", "__enter__", "__len__")):
                continue
            if isinstance(value, property):
                yield f"{name} (attribute)"
            elif inspect.isfunction(function) and not (
                # A record's is its fields, a protocol's is Python's own.
                name == "__init__" and (dataclasses.is_dataclass(cls) or Protocol in base.__bases__)
            ):
                yield f"{name}{_signature(function)}"
            elif isinstance(value, int | str) and not dataclasses.is_dataclass(base) and name != "__doc__":
                yield f"{name} = {value!r}"
            else:
                continue
            seen.add(name)
        for name in sorted(set(_attributes(base)) - seen):
            seen.add(name)
            yield f"{name} (attribute)"


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    # What has an address in its text would differ from run to run.
    parameters = [
        item.replace(default=...)
        if repr(item.default).startswith("<") and item.default is not item.empty
        else item
        for item in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters)).replace("Ellipsis", "...")


def describe() -> str:
    """Return a line for each public name of mg_data and each public member of its classes."""
    lines = []
    for module_name, names in public_names().items():
        lines.append(f"[{module_name}]")
        for name in names:
            try:
                item = getattr(importlib.import_module(module_name), name)
            except (ImportError, AttributeError):
                continue  # promised once and gone: the comparison says so
            if inspect.isclass(item):
                bases = ", ".join(base.__name__ for base in item.__bases__ if base is not object)
                lines.append(f"class {name}({bases})")
                lines += [f"    {member}" for member in _members(item)]
            elif inspect.isfunction(item):
                lines.append(f"{name}{_signature(item)}")
            else:
                lines.append(f"{name}: {type(item).__name__}")
    return "\n".join(lines) + "\n"


_NAME = re.compile(r"(?:class )?(\w+)(.*)", re.DOTALL)


def entries(text: str) -> dict[str, str]:
    """Return what is said of each name (``module/class/member``)."""
    found: dict[str, str] = {}
    module = owner = ""
    for line in text.splitlines():
        if line.startswith("["):
            module = line.strip("[]") + "/"
            continue
        match = _NAME.match(line.strip())
        if match is None:
            continue
        if not line.startswith(" "):
            owner = match[1]
        key = f"{module}{owner}" + (f"/{match[1]}" if line.startswith(" ") else "")
        found[key] = line.strip()
    return found


def _parameters(line: str) -> tuple[dict[str, str], str] | None:
    """Return the parameters of a signature with kind and type, and what it returns; None if it is none."""
    try:
        function = ast.parse(f"def {line}: ...").body[0]
    except SyntaxError:
        return None
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found = {}
    for place, (argument, default) in enumerate(zip(plain, defaults, strict=True)):
        found[argument.arg] = f"{place} {ast.unparse(argument)}" + (
            f" = {ast.unparse(default)}" if default is not None else ""
        )
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[argument.arg] = f"* {ast.unparse(argument)}" + (
            f" = {ast.unparse(default)}" if default is not None else ""
        )
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            found[star.arg] = f"** {ast.unparse(star)}"
    return found, ast.unparse(function.returns) if function.returns else ""


def _is_only_added_to(name: str, before: str, after: str) -> bool:
    old, new = _parameters(before), _parameters(after)
    if old is None or new is None or old[1] != new[1]:
        return False
    if any(new[0].get(parameter) != text for parameter, text in old[0].items()):
        return False
    added = [text for parameter, text in new[0].items() if parameter not in old[0]]
    # pluggy passes an implementation only the arguments that it names.
    is_hook = name.rpartition("/")[2].startswith("mg_")
    return is_hook or all(" = " in text for text in added)


def broken_promises(before: str, after: str) -> list[str]:
    """Return how ``after`` breaks what ``before`` promised, one line each; additions break nothing.

    A function may gain parameters with defaults, a record fields with defaults, a class members; a protocol
    that plugins implement may gain nothing.
    """
    old, new = entries(before), entries(after)
    problems = []
    for name, text in old.items():
        if name not in new:
            problems.append(f"{name} was removed: {text}")
        elif new[name] != text and not _is_only_added_to(name, text, new[name]):
            problems.append(f"{name} was changed: {text} -> {new[name]}")
    for name in sorted(set(new) - set(old)):
        owner = name.rpartition("/")[0]
        if owner not in old or not old[owner].startswith("class "):
            continue
        if new[name].endswith("(required)"):
            problems.append(f"{name} is a new field without a default: {new[name]}")
        elif "(Protocol)" in old[owner] and owner.rpartition("/")[2] not in OURS:
            problems.append(f"{name} is new in a protocol that plugins implement: {new[name]}")
    return problems


def main(arguments: list[str]) -> int:
    """Compare or write the text of mg_data's public names."""
    found = describe()
    if "--write" in arguments:
        MG_DATA.write_text(found, encoding="utf-8")
        print(f"{MG_DATA.relative_to(ROOT)}: {len(entries(found))} names")
        return 0
    kept = MG_DATA.read_text(encoding="utf-8") if MG_DATA.exists() else ""
    sys.stderr.writelines(
        difflib.unified_diff(kept.splitlines(True), found.splitlines(True), "promised", "found")
    )
    return int(found != kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
