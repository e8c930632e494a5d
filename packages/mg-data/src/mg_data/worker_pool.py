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
    over = threading.Event()
    guard = threading.Thread(target=_end_with_the_first, args=(pool, sender, over), daemon=True)
    guard.start()
    try:
        yield pool
        pool.shutdown(wait=True)
    finally:
        over.set()
        guard.join()  # it may be closing what is closed here
        sender.close()
        _close_results(pool)
        pool.shutdown(wait=True, cancel_futures=True)
        receiver.close()


def _end_with_the_first(pool: ProcessPoolExecutor, sender: Connection, over: threading.Event) -> None:
    """End all workers once one of them was killed, so that the pool is broken and not waited for.

    The pool sees that itself, unless the worker died amid a result: then it reads on, and the other workers
    wait for the lock that went with the dead one.
    """
    while not over.wait(0.2):
        if any(process.exitcode for process in list((pool._processes or {}).values())):
            sender.close()
            _close_results(pool)
            return


def _close_results(pool: ProcessPoolExecutor) -> None:
    """Close our writing end of the pool's results, if it still has one.

    A worker may end amid a result. The thread that reads results would wait for the rest of it for ever, as
    long as any process could still write there.
    """
    results = getattr(pool, "_result_queue", None)  # None after a shutdown
    if results is not None:
        results._writer.close()
