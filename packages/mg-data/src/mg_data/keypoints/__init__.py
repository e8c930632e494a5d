"""Keypoints: named layouts, pure transforms and the modalities built of them. numpy only, no torch.

Importing this package loads nothing: ``records`` holds what the plugin registers, ``layouts`` what acts on
arrays.
"""
