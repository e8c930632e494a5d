"""The checks as pytest parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mg_data.testing.checks import Level
from mg_data.testing.collect import checks_of

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    distribution: str, *, level: Level = "api", expected_failed_checks: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Return a pytest decorator that gives a test's argument ``check`` each check of an installed plugin.

    Args:
        distribution: name of the distribution.
        level: ``api``, or ``quality`` for those checks too.
        expected_failed_checks: a check's id (``model mine: batch-of-one-equals-row``) to the reason why it
            must fail; it is marked ``xfail(strict=True)``, so that it is taken off once it passes.

    Raises:
        ValueError: an expected failure names no check.
    """
    import pytest

    expected = dict(expected_failed_checks or {})
    checks = checks_of(distribution, level)
    unknown = sorted(set(expected) - {check.id for check in checks})
    if unknown:
        raise ValueError(f"expected_failed_checks names '{unknown[0]}', which is no check of {distribution}")
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                check,
                id=check.id,
                marks=[pytest.mark.xfail(strict=True, reason=expected[check.id])]
                if check.id in expected
                else [],
            )
            for check in checks
        ],
    )
