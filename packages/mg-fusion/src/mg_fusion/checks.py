"""What a fitted fuser is given back: parameters from a JSON file, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.vote import FloatArray


def fitted_table(fitted: Mapping[str, Any] | None, fuser: str) -> Mapping[str, Any]:
    """Return the fitted parameters.

    Raises:
        SettingError: there are none. ScoresError: they are no table.
    """
    if fitted is None:
        raise SettingError(
            f"fuser '{fuser}' has to be fitted on labelled clips: give --fit and --labels, or the --params "
            "that such a fit wrote"
        )
    if not isinstance(fitted, Mapping):
        raise ScoresError(f"fuser '{fuser}': its fitted parameters are no table; fit again")
    return fitted


def fitted_array(fitted: Mapping[str, Any], name: str, shape: tuple[int, ...], fuser: str) -> FloatArray:
    """Return one array of the fitted parameters; an extent of -1 may be anything.

    Raises:
        ScoresError: absent, not finite numbers, or of another shape.
    """
    try:
        values = np.asarray(fitted[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise ScoresError(
            f"fuser '{fuser}': fitted '{name}' is absent or not made of numbers; fit again"
        ) from None
    fits = values.ndim == len(shape) and all(
        want in (-1, found) for want, found in zip(shape, values.shape, strict=True)
    )
    if not fits or not np.isfinite(values).all():
        raise ScoresError(
            f"fuser '{fuser}': fitted '{name}' has shape {values.shape}, wanted {shape} of finite "
            "numbers: it was fitted on other models or classes; fit again"
        )
    return values


def positive(value: float, name: str, *, zero: bool = False) -> float:
    """Return a setting as a float.

    Raises:
        SettingError: not a finite number above 0 (or at least 0 with ``zero``).
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise SettingError(
            f"{name}: found {value!r}, wanted a finite number {'of at least' if zero else 'above'} 0"
        )
    return number


def whole(value: Any, name: str, lowest: int) -> int:
    """Return a setting as a whole number.

    Raises:
        SettingError: not one, or below ``lowest``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise SettingError(f"{name}: found {value!r}, wanted a whole number of at least {lowest}")
    return value
