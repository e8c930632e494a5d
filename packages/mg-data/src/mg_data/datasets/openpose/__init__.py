"""Raw OpenPose output: files.py (which files), people.py (what is in them), importer.py (clips)."""
