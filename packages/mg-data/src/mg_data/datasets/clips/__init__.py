"""A csv of clips: table.py (the csv), keypoints.py (where keypoints come from), facts.py, importer.py."""
