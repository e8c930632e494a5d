"""Contract, plugins, stores, data preparation and the mg command of multi-modal micro-gesture recognition."""

__version__ = "1.0.0"
