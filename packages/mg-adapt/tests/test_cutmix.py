"""CutMix: the area of the box is the share of the loss, frames move together, draws repeat."""

from __future__ import annotations

import pytest
import torch

from mg_adapt.training.cutmix import Cut, draw_cut
from mg_data.contract import UsageError

SHAPE = (6, 2, 4, 20, 30)


def batch() -> torch.Tensor:
    """Samples that are their own number everywhere."""
    return torch.arange(6.0).view(6, 1, 1, 1, 1).expand(SHAPE).contiguous()


@pytest.mark.parametrize("step", range(6))
def test_lam_is_the_share_that_stays_in_every_frame(step: int) -> None:
    cut = draw_cut(1.0, SHAPE, seed=0, epoch=1, step=step)
    x = batch()
    before = x.clone()
    mixed = cut.inputs(x)
    assert torch.equal(x, before)
    assert 0 <= cut.lam <= 1
    for row, partner in enumerate(cut.partner.tolist()):
        own = (mixed[row] == row).float().mean(dim=(2, 3))  # (C, T)
        other = (mixed[row] == partner).float().mean(dim=(2, 3))
        torch.testing.assert_close(own, torch.full_like(own, cut.lam if partner != row else 1.0))
        torch.testing.assert_close(other, torch.full_like(own, 1 - cut.lam if partner != row else 1.0))


def test_rows_of_a_batch_are_those_of_the_whole() -> None:
    cut = draw_cut(1.0, SHAPE, seed=3, epoch=0, step=0)
    whole = cut.inputs(batch())
    assert torch.equal(torch.cat([cut.inputs(batch(), slice(0, 2)), cut.inputs(batch(), slice(2, 6))]), whole)


def test_frames_of_whole_numbers_stay_whole() -> None:
    cut = draw_cut(1.0, SHAPE, seed=0, epoch=0, step=0)
    assert cut.inputs(batch().to(torch.uint8)).dtype == torch.uint8


def test_a_draw_is_a_function_of_seed_epoch_and_step() -> None:
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    draws = [draw_cut(1.0, SHAPE, seed=s, epoch=e, step=n) for s, e, n in places]
    assert len({draw.box for draw in draws}) == 4
    again = draw_cut(1.0, SHAPE, seed=0, epoch=0, step=0)
    assert (again.lam, again.box) == (draws[0].lam, draws[0].box)
    assert torch.equal(again.partner, draws[0].partner)


def test_the_main_target_has_the_larger_part() -> None:
    labels, partner = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])
    assert torch.equal(Cut(0.6, partner, (0, 1, 0, 1)).main(labels), labels)
    assert torch.equal(Cut(0.4, partner, (0, 1, 0, 1)).main(labels), labels[partner])


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recipe.cutmix: samples have shape \(3, 64\), wanted pictures"):
        draw_cut(1.0, (8, 3, 64), seed=0, epoch=0, step=0)
