"""Find and import plugins, one by one, so that a broken one is reported and harms no other.

pluggy's own loader drops the second of two entry points with one name silently and stops at the first
import error; this one compares the metadata itself.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from importlib import metadata
from types import ModuleType

import pluggy

from mg_data.contract import hookspecs
from mg_data.contract.errors import PluginError
from mg_data.contract.version import ENTRY_POINT_GROUP, PROJECT_NAME


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A distribution that offers a plugin, and what became of it.

    ``status`` is ``loaded``, ``failed`` or ``ignored`` (not in MG_PLUGINS).
    """

    distribution: str
    version: str
    module: str
    status: str
    error: str = ""


def normalise(name: str) -> str:
    """Return a distribution's name in its canonical spelling (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


def _identity(distribution: metadata.Distribution) -> tuple[str, str]:
    """Return name and version, from the header's lines: parsing the metadata as an e-mail is slow."""
    text = distribution.read_text("METADATA") or ""
    header = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
    if "Name" in header and "Version" in header:
        return header["Name"].strip(), header["Version"].strip()
    return distribution.metadata["Name"], distribution.version


def _discover() -> list[tuple[str, str, metadata.EntryPoint]]:
    found = []
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        name, version = _identity(entry.dist) if entry.dist else (entry.name, "?")
        found.append((normalise(name), version, entry))
    return sorted(found, key=lambda item: (item[0], item[2].value))


def _check_signatures(plugin: object, owner: str) -> None:
    """Raise PluginError for hooks with defaults (not passed on by every pluggy) or unknown names."""
    import inspect

    for name in dir(plugin):
        if not name.startswith("mg_"):
            continue
        hook = getattr(plugin, name)
        if not callable(hook) or not hasattr(hook, f"{PROJECT_NAME}_impl"):
            continue
        if not hasattr(hookspecs, name):
            raise PluginError(f"{owner}: '{name}' is no hook of this project (see docs/plugin-hooks.md)")
        wanted = list(inspect.signature(getattr(hookspecs, name)).parameters)
        for parameter in inspect.signature(hook).parameters.values():
            if parameter.default is not inspect.Parameter.empty:
                raise PluginError(f"{owner}: {name}({parameter.name}=...) must not have a default")
            if parameter.name not in wanted:
                raise PluginError(
                    f"{owner}: {name} has no argument '{parameter.name}' "
                    f"(it has: {', '.join(wanted) or 'none'})"
                )


def load_plugins() -> tuple[pluggy.PluginManager, list[PluginInfo]]:
    """Import all plugins that MG_PLUGINS allows (all if unset).

    Raises:
        PluginError: with MG_STRICT_PLUGINS=1, for the first plugin that fails; always when MG_PLUGINS
            names a distribution that is not installed.
    """
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    allowed = {
        normalise(name.strip()) for name in os.environ.get("MG_PLUGINS", "").split(",") if name.strip()
    }
    strict = os.environ.get("MG_STRICT_PLUGINS", "") not in ("", "0")
    infos: list[PluginInfo] = []
    found = _discover()
    unknown = allowed - {name for name, _, _ in found}
    if unknown:
        raise PluginError(
            f"MG_PLUGINS names '{min(unknown)}', which is not installed "
            f"(installed: {', '.join(sorted({name for name, _, _ in found})) or 'none'})"
        )
    owners: dict[str, str] = {}
    for distribution, version, entry in found:
        base = PluginInfo(distribution=distribution, version=version, module=entry.value, status="loaded")
        if allowed and distribution not in allowed:
            infos.append(replace(base, status="ignored"))
            continue
        try:
            if entry.name in owners and owners[entry.name] != distribution:
                raise PluginError(
                    f"entry point '{entry.name}' is claimed by both {owners[entry.name]} and {distribution}: "
                    "an entry point bears its own distribution's name"
                )
            owners[entry.name] = distribution
            module: ModuleType = importlib.import_module(entry.value)
            _check_signatures(module, f"{distribution} {version}")
            if not manager.is_registered(module):
                manager.register(module, name=distribution)
            infos.append(base)
        except Exception as error:  # whatever a stranger's module raises
            if strict:
                raise PluginError(
                    f"plugin {distribution} {version} failed: {type(error).__name__}: {error}"
                ) from error
            infos.append(replace(base, status="failed", error=f"{type(error).__name__}: {error}"))
    return manager, infos
