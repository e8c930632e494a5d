"""Annotation pickles of pyskl and mmaction2, read by a machine of our own that can execute nothing."""
