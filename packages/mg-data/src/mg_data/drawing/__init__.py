"""Skeletons, boxes and maps drawn on frames (OpenCV), and layouts drawn as figures (matplotlib).

Importing this package loads neither library.
"""
