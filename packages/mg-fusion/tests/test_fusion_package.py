"""The package is light, and its records name code that exists."""

from __future__ import annotations

import inspect
import subprocess
import sys

import mg_fusion
from mg_data.plugins import resolve
from mg_fusion.records import FUSERS, STAGES
from mg_fusion.records_compare import COMPARE
from mg_fusion.records_scores import CALIBRATE, COMMANDS


def test_importing_the_package_and_its_plugin_brings_nothing_heavy() -> None:
    code = (
        "import sys, mg_fusion, mg_fusion.plugin; mg_fusion.plugin.mg_register_stages();"
        "mg_fusion.plugin.mg_register_commands();"
        "heavy = ('numpy', 'h5py', 'jinja2', 'torch', 'sklearn', 'mg_fusion.report');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_voting_needs_no_torch() -> None:
    code = (
        "import sys, mg_fusion; mg_fusion.fuse_stores, mg_fusion.fit_soft_vote; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_exists() -> None:
    for name in mg_fusion.__all__:
        assert getattr(mg_fusion, name).__doc__


def test_stages_take_just_the_parameters_of_their_records() -> None:
    for spec in (*STAGES, CALIBRATE, *COMMANDS, COMPARE):
        parameters = dict(inspect.signature(resolve(spec.factory)).parameters)
        assert parameters.pop("console").kind is inspect.Parameter.KEYWORD_ONLY
        assert set(parameters) == {param.name for param in spec.params}
        for param in spec.params:
            required = parameters[param.name].default is inspect.Parameter.empty
            assert required == param.required, f"{spec.path}: {param.name}"


def test_fusers_take_just_the_options_of_their_records() -> None:
    for spec in FUSERS:
        parameters = inspect.signature(resolve(spec.factory)).parameters
        options = {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert options == dict(spec.options)
