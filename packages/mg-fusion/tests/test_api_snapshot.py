"""The public names and signatures are those that were promised (``api_snapshot.txt``)."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from pathlib import Path

import mg_fusion

SNAPSHOT = Path(__file__).with_name("api_snapshot.txt")


def describe() -> str:
    """Return a line for each public name: functions with their signature, classes with theirs and methods."""
    lines = []
    for name in sorted(mg_fusion.__all__):
        item = getattr(mg_fusion, name)
        if inspect.isclass(item):
            bases = ", ".join(base.__name__ for base in item.__bases__ if base is not object)
            lines.append(f"class {name}({bases})")
            if dataclasses.is_dataclass(item):
                lines += [f"    {field.name}: {field.type}" for field in dataclasses.fields(item)]
            for method, value in sorted(vars(item).items()):
                function = inspect.unwrap(getattr(value, "__func__", value))
                if not method.startswith("_") and inspect.isfunction(function):
                    lines.append(f"    {method}{inspect.signature(function)}")
                elif not method.startswith("_") and isinstance(value, property):
                    lines.append(f"    {method} (property)")
        elif callable(item):
            lines.append(f"{name}{inspect.signature(item)}")
        else:
            lines.append(f"{name}: {type(item).__name__}")
    return "\n".join(lines) + "\n"


def test_the_public_api_is_the_promised_one() -> None:
    found, promised = describe(), SNAPSHOT.read_text(encoding="utf-8")
    if found != promised:
        change = "\n".join(
            difflib.unified_diff(promised.splitlines(), found.splitlines(), "promised", "found", lineterm="")
        )
        raise AssertionError(
            "the public API of mg_fusion changed. Names may be added in a minor version, removed or changed "
            "in a major one only, with a line in CHANGELOG.md. If that is what you mean, write the snapshot "
            f"anew: python {Path(__file__).name} (in {Path(__file__).parent.name}/)\n{change}"
        )


if __name__ == "__main__":
    SNAPSHOT.write_text(describe(), encoding="utf-8")
    print(f"{SNAPSHOT}: {len(describe().splitlines())} lines")
