"""Whose code failed: errors of a stranger's model or loss name it, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from mg_data.contract import MgError, PluginError, UsageError
from mg_data.plugins import registry

_COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")


def named(kind: str, name: str) -> str:
    """Return a plugin's name with its distribution: ``model 'posec3d' (mg-skeleton 0.1.0)``."""
    try:
        return f"{kind[:-1] if kind != 'losses' else 'loss'} '{name}' ({registry().version_of(kind, name)})"
    except (MgError, KeyError):
        return f"model '{name}'"


@contextmanager
def blamed(
    who: str, where: Callable[[], str], compiled: bool = False, batch: str = "recipe.batch_size"
) -> Iterator[None]:
    """Turn whatever the block raises into an error that names ``who`` and ``where()``.

    Args:
        compiled: the block may compile the model. batch: what the user calls the number of samples in it.

    Raises:
        UsageError: memory does not suffice, or the model cannot be compiled.
        PluginError: anything else that is no MgError.
    """
    try:
        yield
    except MgError:
        raise
    except torch.OutOfMemoryError as error:
        raise UsageError(f"{where()}: the device's memory is full: lower {batch}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if torch.are_deterministic_algorithms_enabled() and "deterministic" in text:
            raise  # told by deterministic_operations
        if compiled and type(error).__module__.startswith(_COMPILER):
            raise UsageError(
                f"recipe.compile: torch cannot compile {who}: {text} (install a C++ compiler, for CUDA also "
                "Triton, or set compile = false)"
            ) from error
        raise PluginError(f"{who} failed at {where()}: {type(error).__name__}: {text}") from error
