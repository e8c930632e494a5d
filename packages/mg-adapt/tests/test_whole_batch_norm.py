"""BatchNorm over all processes is torch's own where there is one process, and where each has a part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mg_adapt.training.whole_batch_norm import WholeBatchNorm, over_all_processes


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def passes(layer: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = layer(x)
    out.backward(gradient)
    assert x.grad is not None
    return out.detach(), x.grad


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 7), (3, 5, 4, 6), (2, 5, 3, 4, 4)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("alone")
def test_one_process_gets_what_torchs_own_layer_gives(
    shape: tuple[int, ...], affine: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (100 + 3 * torch.randn(shape, generator=generator)).to(dtype)
    gradient = torch.randn(shape, generator=generator).to(dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    own = kinds[x.ndim](5, affine=affine)
    if affine:
        with torch.no_grad():
            own.weight.uniform_(0.5, 2, generator=generator)
            own.bias.uniform_(-1, 1, generator=generator)
    shared = over_all_processes(kinds[x.ndim](5, affine=affine))
    assert isinstance(shared, WholeBatchNorm)
    shared.load_state_dict(own.state_dict())
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    for found, wanted in zip(passes(shared, x, gradient), passes(own, x, gradient)):
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted, **tolerance)
    for name, wanted in own.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], wanted, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(shared.parameters(), own.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def _part(rank: int, folder: str, rows: list[slice]) -> None:
    torch.set_num_threads(1)
    method = f"file://{folder}/group"
    torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=len(rows))
    layer = WholeBatchNorm(3)
    saved = torch.load(f"{folder}/batch.pt")
    out, of_x = passes(layer, saved["x"][rows[rank]], saved["gradient"][rows[rank]])
    sums = [layer.weight.grad, layer.bias.grad]
    for total in sums:
        torch.distributed.all_reduce(total)
    found = {"out": out, "of_x": of_x, "sums": sums, "state": layer.state_dict()}
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_with_unequal_parts_get_what_the_whole_batch_gives(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    # One process's rows lie elsewhere than the other's: their own statistics would be far off.
    x = torch.randn((5, 3, 4, 6), generator=generator) + torch.tensor([0.0, 0, 0, 8, 8]).view(5, 1, 1, 1)
    gradient = torch.randn(x.shape, generator=generator)
    torch.save({"x": x, "gradient": gradient}, tmp_path / "batch.pt")
    rows = [slice(0, 3), slice(3, 5)]
    torch.multiprocessing.spawn(_part, (str(tmp_path), rows), nprocs=2)
    own = nn.BatchNorm2d(3)
    out, of_x = passes(own, x, gradient)
    for rank, part in enumerate(rows):
        found = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found["out"], out[part], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["of_x"], of_x[part], rtol=1e-5, atol=1e-5)
        for total, wanted in zip(found["sums"], (own.weight.grad, own.bias.grad)):
            torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-4)
        for name, value in own.state_dict().items():
            torch.testing.assert_close(found["state"][name], value)
