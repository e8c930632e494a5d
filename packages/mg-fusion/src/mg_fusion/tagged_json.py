"""Records kept as JSON objects that name their format and version."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from mg_data.contract import StoreError


def tagged(record: Any, format_name: str, version: int) -> dict[str, Any]:
    """Return a dataclass as a JSON object that names its format and version; tuples become lists."""
    value: dict[str, Any] = {"format": format_name, "version": version}
    for item in fields(record):
        content = getattr(record, item.name)
        value[item.name] = list(content) if isinstance(content, tuple) else content
    return value


def read_tagged(path: str | Path, format_name: str, version: int, what: str, fix: str) -> dict[str, Any]:
    """Read a JSON object that :func:`tagged` made.

    Args:
        what: how messages call it, such as ``calibration``. fix: what to give instead of another file.

    Raises:
        StoreError: the file is missing, no such JSON, or of another version.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(path, "is not a JSON file", fix) from error
    if not isinstance(value, dict) or value.get("format") != format_name:
        raise StoreError(path, f"is no {what}: wanted format {format_name!r}", fix)
    if value.get("version") != version:
        found = value.get("version")
        raise StoreError(path, f"has version {found}, this mg-fusion reads {version}", "upgrade mg-fusion")
    return value
