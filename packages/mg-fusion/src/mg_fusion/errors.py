"""What the library raises: errors that a command shows as one line and a script catches as ValueError."""

from __future__ import annotations

from mg_data.contract import DataError, UsageError


class SettingError(UsageError, ValueError):
    """An argument out of range: a weight, a temperature, a metric, a number of folds, the name of a rule."""


class ScoresError(DataError, ValueError):
    """Values that cannot be used as they are: shapes, NaN, labels out of range, names or answers twice."""
