"""Which steps read what which others write."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mg_adapt.run.keys import paths
from mg_adapt.run.plan import Step
from mg_data.cli.build import run_params
from mg_data.plugins import Registry


def dependencies(steps: Sequence[Step], known: Registry) -> dict[str, set[str]]:
    """Return for each step the names of the steps whose outputs it reads."""
    calls = []
    for step in steps:
        spec = known.get("stages", step.stage)
        calls.append((step.name, spec, run_params(spec, dict(step.params))))
    makers = {path: name for name, spec, params in calls for _, path in paths(spec, params, "output")}
    return {
        name: {makers[path] for _, path in paths(spec, params, "input") if path in makers}
        for name, spec, params in calls
    }


def needed(steps: Sequence[Step], goals: Collection[str], known: Registry) -> list[Step]:
    """Return the steps that the named ones need, themselves included, in their order."""
    reads = dependencies(steps, known)
    found: set[str] = set()
    open_steps = list(goals)
    while open_steps:
        name = open_steps.pop()
        if name not in found:
            found.add(name)
            open_steps += reads[name]
    return [step for step in steps if step.name in found]
