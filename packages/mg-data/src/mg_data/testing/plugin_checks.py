"""Checks of a distribution as a whole: it loads, lightly, and what it registers is its own."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from mg_data.contract import ENTRY_POINT_GROUP, PluginError
from mg_data.plugins import PluginInfo, registry
from mg_data.plugins.loading import normalise
from mg_data.plugins.registry import KINDS, record_name
from mg_data.testing.checks import CheckFailed, require

# What may not come along when plugins are listed: 'mg --help' must not take seconds.
HEAVY = ("torch", "torchvision", "tensorflow", "jax", "cv2", "av", "scipy", "sklearn", "matplotlib", "pandas")
_PROBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
for name in json.loads(sys.argv[2]):
    hook = getattr(module, name, None)
    if hook is not None:
        list(hook())
print(json.dumps(sorted(name for name in json.loads(sys.argv[3]) if name in sys.modules)))
"""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """An installed plugin and its records by kind."""

    info: PluginInfo
    records: Mapping[str, tuple[Any, ...]]


def find_plugin(distribution: str) -> PluginInfo:
    """Return the state of an installed plugin.

    Raises:
        PluginError: it is not installed, offers no plugin, or MG_PLUGINS leaves it out.
    """
    wanted = normalise(distribution)
    infos = registry().plugins
    found = next((info for info in infos if normalise(info.distribution) == wanted), None)
    if found is None:
        known = ", ".join(info.distribution for info in infos) or "none"
        raise PluginError(
            f"no plugin of a distribution '{distribution}' is installed (installed: {known}); it needs an "
            f"entry point of the group '{ENTRY_POINT_GROUP}'"
        )
    if found.status == "ignored":
        raise PluginError(f"plugin {found.distribution} is not loaded: MG_PLUGINS does not name it")
    return found


def load_records(info: PluginInfo) -> Plugin:
    """Call all hooks of a plugin.

    Raises:
        CheckFailed: it could not be loaded, or a hook failed.
    """
    if info.status == "failed":
        raise CheckFailed(
            f"{info.distribution} {info.version} ({info.module}) is not loaded: {info.error}; the hooks and "
            "their signatures are in docs/plugin-hooks.md"
        )
    module = importlib.import_module(info.module)
    records = {}
    for kind, (hook_name, _) in KINDS.items():
        hook = getattr(module, hook_name, None)
        if hook is not None:
            records[kind] = tuple(hook())
    return Plugin(info=info, records=records)


def check_loads(plugin: Plugin) -> None:
    """The plugin's module can be imported and every hook returns records of its kind."""


def check_loads_without_heavy_libraries(plugin: Plugin) -> None:
    """Listing its records imports no torch, no cv2 and nothing else that takes long."""
    hooks = [hook for hook, _ in KINDS.values()]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, plugin.info.module, json.dumps(hooks), json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    require(done.returncode == 0, f"{plugin.info.module} fails in a process of its own: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    require(
        not found,
        f"{plugin.info.module} imports {', '.join(found)}: name the heavy code in the record's factory "
        "('package.module:callable') and import it there",
    )


def check_registers_something(plugin: Plugin) -> None:
    """The plugin registers at least one record or observes stores."""
    module = importlib.import_module(plugin.info.module)
    require(
        any(plugin.records.values()) or hasattr(module, "mg_store_written"),
        f"{plugin.info.module} returns no record from any hook: is a hook named as in docs/plugin-hooks.md "
        "and marked @hookimpl?",
    )


def check_names_are_its_own(plugin: Plugin) -> None:
    """No other installed plugin registers one of its names, and it registers none twice."""
    for kind, records in plugin.records.items():
        names = [record_name(record) for record in records]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"registers {kind} '{(twice or [''])[0]}' twice")
        for name in names:
            clash = next((text for text in registry().conflicts if f"{kind} '{name}'" in text), None)
            require(
                clash is None, f"{clash}; nobody wins by load order, so one of the two needs another name"
            )


def check_entry_point_bears_its_name(plugin: Plugin) -> None:
    """The entry point is named as the distribution, so that no other one can take its place."""
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry.value == plugin.info.module and entry.dist is not None:
            require(
                normalise(entry.name) == normalise(entry.dist.metadata["Name"]),
                f"entry point '{entry.name}' belongs to '{entry.dist.metadata['Name']}': name it so",
            )


API = (
    check_loads,
    check_loads_without_heavy_libraries,
    check_registers_something,
    check_names_are_its_own,
    check_entry_point_bears_its_name,
)
