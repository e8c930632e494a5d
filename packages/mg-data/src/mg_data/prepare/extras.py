"""Tell which extra brings a library that is not installed."""

from __future__ import annotations

from importlib.util import find_spec

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
