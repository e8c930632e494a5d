"""Losses, trainer, inference, cross-modal pseudo-labelling and the whole recipe."""

__version__ = "0.1.0"
