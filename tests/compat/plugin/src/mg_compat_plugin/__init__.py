"""A plugin as contract 1.0 knows plugins."""

__version__ = "1.0.0"
