"""Convolutions by planes are torch's 3D ones, and right in bfloat16 on maps smaller than their kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mg_skeleton.plane_convolution import PlaneConv3d, by_planes

# kernel, stride, padding
KINDS = [
    ((1, 1, 1), (1, 2, 2), (0, 0, 0)),
    ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
    ((1, 3, 3), (2, 2, 2), (0, 1, 1)),
    ((1, 7, 5), (1, 2, 1), (0, 3, 2)),
    ((3, 1, 1), (1, 1, 1), (1, 0, 0)),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ((3, 3, 3), (1, 2, 2), (1, 1, 1)),
    ((1, 1, 1), (1, 1, 1), (1, 0, 0)),
]


def passes(layer: nn.Module, x: Tensor, autocast: bool = False) -> list[Tensor]:
    """Return output and the gradients of input and kernels."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(x)
    out.float().backward(torch.cos(torch.arange(out.numel()).float()).view(out.shape))
    assert x.grad is not None
    return [out.detach().float(), x.grad, next(layer.parameters()).grad]


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_is_torchs_own_convolution(settings: tuple[tuple[int, ...], ...], channels_last: bool) -> None:
    kernel, stride, padding = settings
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((2, 4, 6, 9, 7), generator=generator)
    own: nn.Conv3d = nn.Conv3d(4, 6, kernel, stride=stride, padding=padding, groups=2)  # type: ignore[arg-type]
    network = nn.Sequential(nn.Conv3d(4, 6, kernel, stride=stride, padding=padding, groups=2))  # type: ignore[arg-type]
    by_planes(network)
    assert type(network[0]) is PlaneConv3d
    network[0].load_state_dict(own.state_dict())
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    for found, wanted in zip(passes(network, x), passes(own, x)):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [1, 2])
def test_bfloat16_over_a_map_smaller_than_the_kernel_is_right(side: int) -> None:
    """torch 2.15 writes elsewhere there: gradients were wrong by chance, so it is asked several times."""
    x = torch.randn((16, 32, 4, side, side), generator=torch.Generator().manual_seed(2))
    network = nn.Sequential(nn.Conv3d(32, 32, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
    by_planes(network)
    wanted = passes(network, x)
    for _ in range(5):
        for found, exact in zip(passes(network, x, autocast=True), wanted):
            torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-2)
