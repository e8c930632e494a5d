"""Plugins: found by entry point, loaded one by one, their records sorted by kind and name."""

from mg_data.plugins.loading import PluginInfo
from mg_data.plugins.registry import Registry, notify_store_written, registry, resolve, use_plugins

__all__ = ["PluginInfo", "Registry", "notify_store_written", "registry", "resolve", "use_plugins"]
