"""Which checks a distribution has: those of the plugin, and those of each of its records."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mg_data.plugins.registry import SINGULAR, record_name
from mg_data.testing import (
    adapter_checks,
    dataset_checks,
    fuser_checks,
    layout_checks,
    loss_checks,
    modality_checks,
    model_bench,
    model_checks,
    other_checks,
    plugin_checks,
    record_checks,
)
from mg_data.testing.checks import LEVELS, Check, CheckFailed, Level, bind
from mg_data.testing.inputs import Workplace

_RECORD: dict[str, tuple[Callable[..., Any], ...]] = {
    "layouts": record_checks.ANY,
    "models": record_checks.MODEL,
    "stages": record_checks.COMMAND,
    "commands": record_checks.COMMAND,
}


def checks_of(distribution: str, level: Level = "api") -> list[Check]:
    """Return the checks of an installed plugin; what is costly happens when they are made.

    Args:
        distribution: its name. level: ``api``, or ``quality`` for those checks too.

    Raises:
        PluginError: no such plugin is installed. ValueError: another level.
    """
    if level not in LEVELS:
        raise ValueError(f"level is '{level}', wanted one of: {', '.join(LEVELS)}")
    info = plugin_checks.find_plugin(distribution)
    checks = bind(f"plugin {info.distribution}", partial(plugin_checks.load_records, info), plugin_checks.API)
    try:
        plugin = plugin_checks.load_records(info)
    except CheckFailed:
        return checks  # the first of them tells why
    place = Workplace()
    for kind, records in plugin.records.items():
        for spec in records:
            subject = f"{SINGULAR[kind]} {record_name(spec)}"
            record = record_checks.Record(kind=kind, spec=spec)
            functions = _RECORD.get(kind, record_checks.OPTIONS)
            checks += bind(subject, partial(_itself, record), functions)
            checks += _own(kind, subject, spec, place)
    module = importlib.import_module(info.module)
    if hasattr(module, "mg_store_written"):
        observer = other_checks.ObserverBench(module=module)
        checks += bind("observer of stores", lambda: observer, other_checks.OBSERVER)
    return checks if level == "quality" else [check for check in checks if check.level == "api"]


def _itself(record: record_checks.Record) -> record_checks.Record:
    return record


def _own(kind: str, subject: str, spec: Any, place: Workplace) -> Sequence[Check]:
    """Return the checks that only records of this kind have."""
    if kind == "models":
        make = partial(model_bench.open_bench, spec, place)
        return bind(subject, make, model_checks.API, model_checks.QUALITY)
    if kind == "modalities":
        return bind(subject, partial(modality_checks.open_bench, spec, place), modality_checks.API)
    if kind == "datasets":
        return bind(subject, partial(dataset_checks.open_bench, spec, place), dataset_checks.API)
    if kind == "fusers":
        make_fuser = partial(fuser_checks.open_bench, spec)
        return bind(subject, make_fuser, fuser_checks.API, fuser_checks.QUALITY)
    if kind == "adapters":
        return bind(subject, partial(adapter_checks.open_bench, spec, place), adapter_checks.API)
    if kind == "losses":
        return bind(subject, partial(loss_checks.open_bench, spec), loss_checks.API)
    if kind == "layouts":
        return bind(subject, lambda: spec, layout_checks.API)
    if kind == "pose_estimators":
        return bind(subject, lambda: spec, other_checks.POSE)
    if kind == "trackers":
        tracker = other_checks.TrackerBench(spec=spec, place=place)
        return bind(subject, lambda: tracker, other_checks.TRACKER)
    return ()
