"""Measurements: one JSON file for each finished cell below results/, and the tables made of them."""
