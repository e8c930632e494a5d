"""Tables of positions for another size of sample than the one a checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

_MODES = {1: "linear", 2: "bicubic", 3: "trilinear"}


def resize_table(table: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Return a table (P, C) over a grid ``old`` of one to three axes, interpolated to the grid ``new``.

    A table whose P is not that of ``old`` comes back as it is, for the caller's check of shapes to name.
    """
    count = 1
    for size in old:
        count *= size
    if len(table) != count or tuple(old) == tuple(new):
        return table
    grid = table.T.reshape(1, table.shape[1], *old)
    resized = interpolate(grid, size=tuple(new), mode=_MODES[len(old)], align_corners=False)
    return resized.reshape(table.shape[1], -1).T.contiguous()


def square(count: int) -> tuple[int, int]:
    """Return the sides of a square grid of ``count`` points; (count, 1) if there is none."""
    side = round(count**0.5)
    return (side, side) if side * side == count else (count, 1)
