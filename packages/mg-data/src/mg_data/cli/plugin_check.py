"""``mg plugins check``: the checks of one plugin, counted."""

from __future__ import annotations

from typing import cast

from mg_data.contract.errors import PluginError
from mg_data.contract.runtime import Console, StageResult


def check(*, distribution: str, level: str, console: Console) -> StageResult:
    """Check an installed plugin.

    Args:
        distribution: its name. level: ``api`` or ``quality``.

    Raises:
        PluginError: it is not installed, or does not pass; the report comes first.
    """
    from mg_data.testing import checks_of, run_checks
    from mg_data.testing.checks import Level, Outcome
    from mg_data.testing.plugin_checks import find_plugin
    from mg_data.testing.runner import as_json, as_text, count, verdict

    info = find_plugin(distribution)
    checks = checks_of(distribution, cast(Level, level))
    with console.progress(f"check {info.distribution}", len(checks)) as bar:

        def seen(outcome: Outcome) -> None:
            bar.advance(1, outcome.check.subject)

        outcomes = run_checks(checks, seen)
    numbers, why = count(outcomes), verdict(outcomes)
    name = f"{info.distribution} {info.version}"
    summary = f"{name}: {numbers['ran']} checks ran ({level}), {numbers['passed']} passed, "
    summary += f"{numbers['failed']} failed, {numbers['skipped']} skipped"
    result = StageResult(
        data={
            "distribution": info.distribution,
            "version": info.version,
            "level": level,
            "good": not why,
            **numbers,
            "checks": as_json(outcomes),
        },
        text=f"{as_text(outcomes)}\n\n{summary}",
    )
    if why:
        error = PluginError(f"{name} does not keep the contract: {why}")
        error.result = result
        raise error
    return result
