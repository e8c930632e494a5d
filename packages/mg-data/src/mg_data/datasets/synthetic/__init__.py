"""The synthetic corpus: people whose micro-gestures are made up, in the files of a real data set.

plan.py (how many of what), style.py (who), motion.py (what they do), skeleton.py (where their points are),
observe.py (what a pose estimator finds), shot.py (camera, occlusions, motion behind), render.py and press.py
(what the camera sees), table.py, xlsx.py and corpus.py (files), workplace.py (processes, unfinished folders).
Lengths are in shoulder widths: origin at the neck, x to the image's right, y down.

A corpus is a function of its options. Options of the first version give the first version's files, byte for
byte; a corpus that uses a later one says ``"version": 2`` in corpus.json.
"""
