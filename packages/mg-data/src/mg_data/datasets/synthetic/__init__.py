"""The synthetic corpus: people whose micro-gestures are made up, in the files of a real data set.

style.py (who), motion.py (what they do), skeleton.py (where their points are), render.py (what a camera
sees), corpus.py (files). Lengths are in shoulder widths: origin at the neck, x to the image's right, y down.
"""
