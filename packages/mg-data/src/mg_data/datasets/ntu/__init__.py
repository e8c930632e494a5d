"""NTU RGB+D: skeleton.py (its text files), joint_files.py (joints in json, npy, npz, txt), importer.py."""
