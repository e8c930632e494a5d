"""A pool of processes that end with their owner, however that ends.

The workers of :class:`~concurrent.futures.ProcessPoolExecutor` hold both ends of the pipe they read from, so
those of a killed owner would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection


def _watch(alive: Connection) -> None:
    """End this process when the other end of the pipe is closed, be it by the death of its owner."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(1)


def _begin(alive: Connection) -> None:
    # An interrupt at the terminal reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(alive,), daemon=True).start()


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool; if the block raises, the workers end at once and not after the work that waits."""
    # spawn: a forked child would share the parent's open HDF5 files and OpenCV threads, and hold the pipe's
    # other end.
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(receiver,))
    try:
        yield pool
        pool.shutdown(wait=True)
    finally:
        sender.close()
        _close_results(pool)
        pool.shutdown(wait=True, cancel_futures=True)
        receiver.close()


def _close_results(pool: ProcessPoolExecutor) -> None:
    """Close our writing end of the pool's results, if it still has one.

    A worker may end amid a result. The thread that reads results would wait for the rest of it for ever, as
    long as any process could still write there.
    """
    results = getattr(pool, "_result_queue", None)  # None after a shutdown
    if results is not None:
        results._writer.close()
