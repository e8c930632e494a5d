"""Measurements: one JSON file for each finished cell below results/, and the tables made of them."""

import os

# Measured as installed packages run: compiled files are written and read again, by the processes started too.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
