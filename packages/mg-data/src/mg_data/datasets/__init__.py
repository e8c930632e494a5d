"""Importers of raw data sets. ``records.py`` lists them and imports nothing heavy."""
