"""What commands check before they begin: libraries that are there, options that a plugin knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from mg_data.contract import UsageError


def require(what: str, *modules: str, extra: str = "prep") -> None:
    """Check that modules can be imported, without importing them.

    Args:
        what: the command or data set, as the message calls it.
        modules: names of top-level modules.
        extra: the extra of mg-data that brings them.

    Raises:
        UsageError: naming what is missing and how to install it.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"{what} needs {', '.join(missing)}, which is not installed: pip install 'mg-data[{extra}]'"
        )


def check_option_names(what: str, options: Iterable[str], known: Mapping[str, Any]) -> None:
    """Raise UsageError for an option that a plugin's record does not have, naming the nearest one.

    Args:
        what: how the message calls the record, such as ``data set 'imigue'``.
    """
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(known) or 'none'}"
            raise UsageError(f"{what} has no option '{name}' ({hint})")


def check_flags(what: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise UsageError unless options that are true or false by default are one of these.

    The words ``no`` and ``False`` of a command line are texts, and as such they would count as true.
    """
    for name, value in options.items():
        if isinstance(known.get(name), bool) and not isinstance(value, bool):
            raise UsageError(f"{what}: option {name} is '{value}', wanted true or false")
