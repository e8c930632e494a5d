"""Forward passes in float32, bfloat16 or float16; the last with a scaled loss, on CUDA only."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mg_adapt.recipe import Recipe
from mg_adapt.training.engine import Engine
from mg_data.contract import Console, UsageError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Below this scale gradients do not overflow any more: they are not numbers.
_LEAST_SCALE = 2.0**-10


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 itself; others take many times as long as in float32.

    CUDA: from Ampere (8.0) on, and ROCm. x86: AVX512-BF16 or AMX; ARM: BF16. Elsewhere False.
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def with_precision(recipe: Recipe, engine: Engine, console: Console) -> Recipe:
    """Return the recipe with ``amp = "auto"`` settled by the first process; warn of slow bfloat16."""
    if recipe.amp == "auto":
        amp = engine.from_first(lambda: "bf16" if has_bfloat16(engine.device) else "none")
        return dataclasses.replace(recipe, amp=amp)
    if recipe.amp == "bf16" and not has_bfloat16(engine.device):
        console.warn(
            f"recipe.amp = 'bf16', but this {engine.device.type} has no bfloat16 and is many times slower "
            "than with 'auto' or 'none'"
        )
    return recipe


class Precision:
    """What ``recipe.amp`` asks for on a device, settled by :func:`with_precision`.

    Raises:
        UsageError: ``fp16`` off CUDA.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        if amp == "fp16" and device.type != "cuda":
            raise UsageError(f"recipe.amp = 'fp16' needs CUDA, the device is {device.type}: take 'auto'")
        self._dtype = _TYPES.get(amp)
        self._device = device.type
        self._scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device, dtype=self._dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss whose gradients are computed."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring gradients back to the loss's own scale, before they are clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    @property
    def skips_overflow(self) -> bool:
        """Return whether a step whose gradients overflow is passed over, as part of scaling."""
        return self._scaler is not None

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Make the optimizer's step; return False if gradients are no numbers at any scale."""
        if self._scaler is None:
            optimizer.step()
            return True
        self._scaler.step(optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= _LEAST_SCALE

    def state(self) -> dict[str, Any]:
        """Return JSON values that :meth:`load` takes back."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)
