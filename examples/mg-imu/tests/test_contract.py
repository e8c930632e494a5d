"""mg-imu keeps the contract of mg: each check of ``mg plugins check mg-imu`` is a test."""

from __future__ import annotations

from mg_data.testing import Check, parametrize_with_checks


@parametrize_with_checks("mg-imu", level="quality")
def test_contract(check: Check) -> None:
    check()
