"""Freed memory stays with a process that trains on processors, instead of going back to the system.

A step frees its activations at its end. glibc then hands the top of the heap back, and the next step fetches
it again page by page: a quarter of a million page faults an epoch, a tenth of the time of a small model.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of mallopt(3). Blocks beyond the second limit, the largest that glibc takes, come from the
# system one by one and go back there.
_TRIM_THRESHOLD, _KEPT_BYTES = -1, 2**31 - 1
_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK = -3, 2**25


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; return whether its memory is glibc's and nobody has tuned it."""
    tuned = "MALLOC_TRIM_THRESHOLD_" in os.environ or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if tuned or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
    return bool(kept)
