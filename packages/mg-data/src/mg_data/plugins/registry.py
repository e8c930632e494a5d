"""All records of all plugins, by kind and name, with conflicts found."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pluggy

from mg_data.contract import specs
from mg_data.contract.errors import PluginError
from mg_data.plugins.loading import PluginInfo, load_plugins

# Kind of record -> (hook, class).
KINDS: Mapping[str, tuple[str, type]] = {
    "datasets": ("mg_register_datasets", specs.DatasetSpec),
    "layouts": ("mg_register_layouts", specs.LayoutSpec),
    "pose_estimators": ("mg_register_pose_estimators", specs.PoseEstimatorSpec),
    "modalities": ("mg_register_modalities", specs.ModalitySpec),
    "models": ("mg_register_models", specs.ModelSpec),
    "losses": ("mg_register_losses", specs.LossSpec),
    "adapters": ("mg_register_adapters", specs.AdapterSpec),
    "fusers": ("mg_register_fusers", specs.FuserSpec),
    "trackers": ("mg_register_trackers", specs.TrackerSpec),
    "stages": ("mg_register_stages", specs.StageSpec),
    "commands": ("mg_register_commands", specs.CommandSpec),
}

SINGULAR = {
    "losses": "loss",
    "modalities": "modality",
    **{kind: kind[:-1].replace("_", " ") for kind in KINDS if kind not in ("losses", "modalities")},
}


@dataclass(frozen=True)
class Registry:
    """Records by name. ``owners`` maps ``(kind, name)`` to the distribution that registered it."""

    plugins: tuple[PluginInfo, ...]
    datasets: Mapping[str, specs.DatasetSpec] = field(default_factory=dict)
    layouts: Mapping[str, specs.LayoutSpec] = field(default_factory=dict)
    pose_estimators: Mapping[str, specs.PoseEstimatorSpec] = field(default_factory=dict)
    modalities: Mapping[str, specs.ModalitySpec] = field(default_factory=dict)
    models: Mapping[str, specs.ModelSpec] = field(default_factory=dict)
    losses: Mapping[str, specs.LossSpec] = field(default_factory=dict)
    adapters: Mapping[str, specs.AdapterSpec] = field(default_factory=dict)
    fusers: Mapping[str, specs.FuserSpec] = field(default_factory=dict)
    trackers: Mapping[str, specs.TrackerSpec] = field(default_factory=dict)
    stages: Mapping[str, specs.StageSpec] = field(default_factory=dict)
    commands: Mapping[str, specs.CommandSpec] = field(default_factory=dict)
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()

    def get(self, kind: str, name: str) -> Any:
        """Return a record; PluginError naming the nearest name if there is none."""
        records: Mapping[str, Any] = getattr(self, kind)
        if name in records:
            return records[name]
        for conflict in self.conflicts:
            if f"{kind} '{name}'" in conflict:
                raise PluginError(conflict)
        close = difflib.get_close_matches(name, records, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(records)) or 'none'}"
        failed = [info.distribution for info in self.plugins if info.status == "failed"]
        broken = f"; failed plugins: {', '.join(failed)} (see 'mg plugins')" if failed else ""
        raise PluginError(f"no {SINGULAR[kind]} named '{name}' ({hint}{broken})")

    def dataset_of(self, stored: str) -> specs.DatasetSpec:
        """Return the importer of a store's data set, which may be ``NAME`` or ``NAME:COLLECTION``."""
        found: specs.DatasetSpec = self.get("datasets", stored.partition(":")[0])
        return found

    def version_of(self, kind: str, name: str) -> str:
        """Return ``distribution version`` of the plugin that registered a record."""
        owner = self.owners.get((kind, name), "?")
        version = next((info.version for info in self.plugins if info.distribution == owner), "?")
        return f"{owner} {version}"


def record_name(record: Any) -> str:
    """Return what a record is called: its name, or the words of a command."""
    return " ".join(record.path) if type(record) is specs.CommandSpec else str(record.name)


def build_registry(
    manager: pluggy.PluginManager, infos: list[PluginInfo], kinds: Collection[str] = tuple(KINDS)
) -> Registry:
    """Call the registration hooks of every plugin by itself and sort what they return.

    A name that two plugins register belongs to neither: it is listed in ``conflicts`` and raises when used.

    Args:
        kinds: what to ask for; of other kinds there is nothing in the result.
    """
    strict = os.environ.get("MG_STRICT_PLUGINS", "") not in ("", "0")
    states = {info.distribution: info for info in infos}
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    owners: dict[tuple[str, str], str] = {}
    clashes: dict[tuple[str, str], set[str]] = {}
    for owner, plugin in sorted(manager.list_name_plugin()):
        if plugin is None:
            continue
        for kind in kinds:
            hook_name, record_type = KINDS[kind]
            hook = getattr(plugin, hook_name, None)
            if hook is None:
                continue
            try:
                records = list(hook())
                for record in records:
                    if not isinstance(record, record_type):
                        raise PluginError(
                            f"{hook_name} returned {type(record).__name__}, wanted {record_type.__name__}"
                        )
            except Exception as error:  # whatever a stranger's hook raises
                if strict:
                    raise PluginError(f"plugin {owner}: {hook_name}: {error}") from error
                if owner in states:
                    text = f"{hook_name}: {type(error).__name__}: {error}"
                    states[owner] = replace(states[owner], status="failed", error=text)
                continue
            for record in records:
                name = record_name(record)
                if (kind, name) in owners:
                    clashes.setdefault((kind, name), {owners[kind, name]}).add(owner)
                    continue
                owners[kind, name] = owner
                found[kind][name] = record
    conflicts = []
    for (kind, name), names in sorted(clashes.items()):
        del found[kind][name]
        who = " and ".join(sorted(names))
        conflicts.append(f"{kind} '{name}' is registered by {who}: uninstall one, or allow one by MG_PLUGINS")
    if strict and conflicts:
        raise PluginError(conflicts[0])
    return Registry(
        plugins=tuple(states[info.distribution] for info in infos),
        owners=owners,
        conflicts=tuple(conflicts),
        **found,
    )


class _State:
    """The process's plugins: loaded on first use, and again after :func:`use_plugins`."""

    loaded: tuple[pluggy.PluginManager, list[PluginInfo]] | None = None
    registry: Registry | None = None
    commands: Registry | None = None
    extra: tuple[ModuleType, ...] = ()


def _load() -> tuple[pluggy.PluginManager, list[PluginInfo]]:
    if _State.loaded is None:
        manager, infos = load_plugins()
        for module in _State.extra:
            manager.register(module, name=module.__name__)
            infos.append(
                PluginInfo(distribution=module.__name__, version="0", module=module.__name__, status="loaded")
            )
        _State.loaded = manager, infos
    return _State.loaded


def registry() -> Registry:
    """Return the records of all plugins; loaded once a process."""
    if _State.registry is None:
        _State.registry = build_registry(*_load())
    return _State.registry


def command_registry() -> Registry:
    """Return the stages and commands of all plugins; ``mg --help`` need not import the other records."""
    if _State.commands is None:
        _State.commands = _State.registry or build_registry(*_load(), kinds=("stages", "commands"))
    return _State.commands


def use_plugins(*modules: ModuleType) -> Registry:
    """Reload the plugins, with further modules beside the installed ones (for tests and notebooks)."""
    _State.extra = modules
    _State.loaded = _State.registry = _State.commands = None
    return registry()


def notify_store_written(path: str, kind: str, digest: str) -> None:
    """Tell the observers that a store got its final name; an observer that fails is reported, not raised."""
    manager, _ = _load()
    try:
        manager.hook.mg_store_written(path=path, kind=kind, digest=digest)
    except Exception as error:  # an observer must not lose a store that is already written
        import warnings

        warnings.warn(f"an mg_store_written observer failed: {type(error).__name__}: {error}", stacklevel=2)


def resolve(factory: str) -> Callable[..., Any]:
    """Import ``"package.module:callable"``; PluginError says what is missing."""
    module_name, _, attribute = factory.partition(":")
    if not module_name or not attribute:
        raise PluginError(f"factory '{factory}' is not of the form 'package.module:callable'")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(f"factory '{factory}' cannot be imported: {error}") from error
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise PluginError(f"factory '{factory}': module {module_name} has no '{attribute}'")
        target = getattr(target, part)
    if not callable(target):
        raise PluginError(f"factory '{factory}' is no callable")
    return target  # type: ignore[no-any-return]
