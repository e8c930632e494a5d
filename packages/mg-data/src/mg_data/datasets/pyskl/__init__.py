"""Annotation pickles of pyskl and mmaction2."""
