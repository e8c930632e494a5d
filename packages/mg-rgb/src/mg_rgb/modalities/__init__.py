"""Stored clips as samples for a model, one stream a file; records name the classes.

Nothing here imports torch when it is loaded: loaders of several processes start faster without it.
"""
