"""Pickles of other people's tools, read by a machine of our own that can execute nothing.

Public: :func:`load_pickle`, and :class:`PickledArray` with :func:`called` for what stands in the result.
"""

from mg_data.pickles.arrays import PickledArray, called
from mg_data.pickles.machine import load_pickle

__all__ = ["PickledArray", "called", "load_pickle"]
