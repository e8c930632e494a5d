"""Batches of loader processes: equal to those of this process, and the main process's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mg_adapt.training.data import collate
from mg_adapt.training.loading import Carrying, CarryingCollate, raised
from mg_adapt.training.worker_batches import own, stack_samples
from mg_data.contract import DataError


class Numbers(Dataset[Any]):
    """Samples full of their own index; of an odd shape where told."""

    def __init__(self, count: int, dtype: str = "uint8", odd: int = -1) -> None:
        self.count, self.dtype, self.odd = count, dtype, odd

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int]:
        shape = (2, 3, 5 if index == self.odd else 4)
        return np.full(shape, index, self.dtype), index % 3, index


def loader(samples: Numbers, workers: int, batch_size: int = 3) -> DataLoader[Any]:
    return DataLoader(
        Carrying(samples),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=CarryingCollate(collate),
        persistent_workers=workers > 0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_all_batches_stay_what_they_were_however_long_they_are_kept(dtype: str) -> None:
    samples = Numbers(50, dtype)
    many, one = loader(samples, 2), loader(samples, 0)
    for _ in range(2):  # the second pass fills the same memory
        kept, expected = list(raised(many)), list(raised(one))
        assert len(kept) == 17
        for (x, y, rows), (x_here, y_here, rows_here) in zip(kept, expected):
            assert not x.is_shared()
            assert x.dtype == x_here.dtype
            assert torch.equal(x, x_here)
            assert torch.equal(y, y_here)
            assert np.array_equal(rows, rows_here)


@pytest.mark.slow
def test_the_shape_that_differs_is_told_across_processes() -> None:
    with pytest.raises(DataError, match=r"samples of unequal shapes: \[\(2, 3, 4\), \(2, 3, 5\)\]"):
        list(raised(loader(Numbers(12, odd=7), 2)))


def test_in_the_main_process_nothing_is_shared_or_copied() -> None:
    x = stack_samples([np.zeros((2, 2), np.float32)] * 3)
    assert x.shape == (3, 2, 2)
    assert not x.is_shared()
    assert own((x, 1, 2))[0] is x
    assert own("an error in its place") == "an error in its place"


def test_memory_is_used_again_only_when_nobody_holds_the_batch() -> None:
    def copied(value: int) -> torch.Tensor:
        return own((torch.full((2, 3), value).share_memory_(), 0))[0]

    first = copied(1)
    view = first[1:]
    place = first.data_ptr()
    del first
    second = copied(2)
    assert second.data_ptr() != place, "a view still reads the first one"
    assert view.tolist() == [[1, 1, 1]]
    del view
    assert copied(3).data_ptr() == place
    assert second.tolist() == [[2, 2, 2]] * 2
