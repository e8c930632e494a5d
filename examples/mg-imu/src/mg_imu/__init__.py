"""Inertial signals as a modality of mg, and a network that reads them."""
