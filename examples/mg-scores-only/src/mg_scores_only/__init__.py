"""A program beside mg: it shares a file format with it and no line of code."""
