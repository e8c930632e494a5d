"""Bulk prediction on a Ray cluster: one task for each shard of the clips. Imports ray when it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from mg_data.contract import Console, MgError, UsageError

Result = TypeVar("Result")


def ray_map(
    function: Callable[..., Result],
    calls: Callable[[int], list[tuple[Any, ...]]],
    console: Console,
    *,
    label: str,
    threads: int = 1,
    gpu: bool = False,
) -> list[Result]:
    """Call an importable function in Ray tasks and return the results in order.

    A cluster is taken as ``ray.init`` finds it (``RAY_ADDRESS``); without one, Ray starts on this machine and
    stops afterwards. A task whose machine is lost is done again elsewhere.

    Args:
        calls: given the number of tasks that can run at once, the arguments of each task.
        threads: processors of a task. gpu: whether a task wants a GPU, if the cluster has any.

    Raises:
        UsageError: ray is not installed. MgError: what a task raised.
    """
    try:
        import ray as installed
    except ModuleNotFoundError as error:
        raise UsageError("--launcher ray needs ray: pip install 'mg-adapt[ray]'") from error
    ray: Any = installed
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    try:
        found = ray.cluster_resources()
        processors = max(1, threads)
        gpus = 1 if gpu and found.get("GPU", 0) >= 1 else 0
        room = int(found.get("GPU", 0)) if gpus else int(found.get("CPU", 1)) // processors
        task = ray.remote(num_cpus=processors, num_gpus=gpus)(function)
        pending = [task.remote(*arguments) for arguments in calls(max(1, room))]
        order = {reference: place for place, reference in enumerate(pending)}
        results: dict[int, Result] = {}
        with console.progress(label, len(pending)) as progress:
            while pending:
                done, pending = ray.wait(pending)
                for reference in done:
                    results[order[reference]] = ray.get(reference)
                    progress.advance(1)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MgError):
            raise cause from None
        raise MgError(f"a Ray task failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise MgError(f"Ray: {' '.join(str(error).split())[:300]}") from error
    finally:
        if own:
            ray.shutdown()
    return [results[place] for place in sorted(results)]
