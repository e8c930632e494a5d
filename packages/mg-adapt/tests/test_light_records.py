"""Listing what mg-adapt offers imports nothing heavy, and every factory takes its record's options."""

from __future__ import annotations

import inspect
import subprocess
import sys

from mg_adapt.records import ADAPTERS, LOSSES, STAGES
from mg_adapt.records_target import TARGET_STAGES
from mg_adapt.run.records import COMMANDS
from mg_adapt.watch.records import COMMANDS as WATCH
from mg_data.plugins import resolve


def test_the_plugin_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, mg_adapt.plugin as p; list(p.mg_register_stages()); "
        "print([name for name in ('torch', 'numpy', 'h5py', 'safetensors') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_stage_factories_take_exactly_their_records_parameters() -> None:
    for spec in (*STAGES, *TARGET_STAGES):
        parameters = inspect.signature(resolve(spec.factory)).parameters
        assert set(parameters) == {"console"} | {param.name for param in spec.params}
        for param in spec.params:
            required = parameters[param.name].default is inspect.Parameter.empty
            assert required == param.required, (spec.name, param.name)


def test_commands_take_exactly_their_records_parameters() -> None:
    for spec in (*COMMANDS, *WATCH):
        parameters = inspect.signature(resolve(spec.factory)).parameters
        assert set(parameters) == {"console"} | {param.name for param in spec.params}


def test_loss_and_adapter_options_have_the_factorys_defaults() -> None:
    for spec in (*ADAPTERS, *LOSSES):
        parameters = inspect.signature(resolve(spec.factory)).parameters
        defaults = {name: parameters[name].default for name in spec.options if name != "feature_dim"}
        assert defaults == {name: value for name, value in spec.options.items() if name != "feature_dim"}
        assert set(parameters) - {"scores", "class_counts"} == set(spec.options)
    assert {spec.kind for spec in LOSSES} == {"classification", "auxiliary"}
