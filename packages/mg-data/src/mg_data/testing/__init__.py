"""Checks and fakes for plugin authors.

``mg plugins check DIST`` runs all checks of a distribution; in its own tests the same checks are

    from mg_data.testing import parametrize_with_checks

    @parametrize_with_checks("my-plugin")
    def test_my_plugin_keeps_the_contract(check):
        check()

Importing this module brings neither pytest nor torch.
"""

from __future__ import annotations

from mg_data.testing.checks import Check, CheckFailed, CheckSkipped, DoesNotApply, Outcome
from mg_data.testing.collect import checks_of
from mg_data.testing.fakes import FakeConsole, write_fake_clips, write_fake_features, write_fake_streams
from mg_data.testing.parametrize import parametrize_with_checks
from mg_data.testing.runner import run_checks

__all__ = [
    "Check",
    "CheckFailed",
    "CheckSkipped",
    "DoesNotApply",
    "FakeConsole",
    "Outcome",
    "checks_of",
    "parametrize_with_checks",
    "run_checks",
    "write_fake_clips",
    "write_fake_features",
    "write_fake_streams",
]
