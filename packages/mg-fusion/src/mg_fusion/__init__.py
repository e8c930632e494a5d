"""Calibration, temperature-scaled voting, search, metrics, submission and report."""

__version__ = "0.1.0"
