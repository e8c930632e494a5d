"""Checks and fakes for plugin authors."""
