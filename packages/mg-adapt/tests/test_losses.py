"""Losses of paper 3.2 against hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mg_adapt.losses import Focal, OrthogonalSemantic, class_weights, cross_entropy, orthogonal_anchors
from mg_adapt.losses.targets import smoothed_entropy
from mg_adapt.losses.weights import checked_counts, log_prior
from mg_data.contract import ModelOutput, UsageError

IMIGUE_TRAIN_COUNTS = (
    *(10, 393, 38, 199, 80, 23, 57, 824, 80, 3, 284, 137, 97, 41, 26, 24, 304, 82, 1, 887, 157, 360),
    *(656, 690, 11, 280, 84, 60, 1155, 6, 2079, 3765),
)


def output(logits: list[list[float]], feature: list[list[float]] | None = None) -> ModelOutput:
    return ModelOutput(torch.tensor(logits), torch.tensor(feature or [[0.0]] * len(logits)))


def test_square_root_weights_have_mean_one_over_samples_and_the_papers_ratios() -> None:
    weights = class_weights(IMIGUE_TRAIN_COUNTS)
    counts = np.array(IMIGUE_TRAIN_COUNTS)
    assert counts.sum() == 12893
    assert np.isclose((weights * counts).sum() / counts.sum(), 1.0)
    assert np.isclose(weights[9] / weights[31], math.sqrt(3766 / 4))
    assert weights.max() / weights.min() == pytest.approx(43.4, abs=0.1)


def test_a_class_without_samples_has_a_finite_weight() -> None:
    assert np.isfinite(class_weights([0, 5, 5])).all()
    assert np.isfinite(class_weights([0, 5, 5], "inverse")).all()


def test_no_weighting_is_one_everywhere() -> None:
    assert class_weights([1, 100], "none").tolist() == [1.0, 1.0]


def test_inverse_weights_by_hand() -> None:
    # Raw 1/2 and 1/4; over the four samples their mean is (1/2 + 3/4) / 4 = 5/16.
    assert class_weights([1, 3], "inverse").tolist() == pytest.approx([8 / 5, 4 / 5])


def test_the_prior_is_the_share_of_each_class_and_an_empty_class_counts_as_one_sample() -> None:
    assert np.exp(log_prior([1, 3])).tolist() == pytest.approx([1 / 4, 3 / 4])
    assert np.exp(log_prior([0, 4])).tolist() == pytest.approx([1 / 5, 4 / 5])


@pytest.mark.parametrize("counts", [[], [[1, 2]], [[1], [2]], [-1, 2], [0, 0], 3])
def test_what_counts_no_samples_of_classes_is_refused(counts: list[int]) -> None:
    with pytest.raises(UsageError, match=r"class counts must be K numbers >= 0 with at least one sample"):
        checked_counts(counts)
    assert checked_counts([1, 0]).dtype == np.float64


def test_smoothing_gives_each_sample_its_own_mean_over_the_classes() -> None:
    log_probs = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    expected = [-math.log(0.5), -0.9 * math.log(0.8) - 0.1 * math.log(0.2)]
    assert smoothed_entropy(log_probs, torch.tensor([0, 1]), 0.2).tolist() == pytest.approx(expected)
    one_hot = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert smoothed_entropy(log_probs, one_hot, 0.2).tolist() == pytest.approx(expected)


def test_focal_equals_the_hand_calculation_with_p_t_from_the_unweighted_softmax() -> None:
    # Two samples, K = 2, counts (3, 0): raw weights 1/2 and 1, scale 3 / (3 * 1/2) = 2 -> w = (1, 2).
    logits = [[math.log(3.0), 0.0], [math.log(3.0), 0.0]]  # p = (3/4, 1/4)
    loss = Focal(class_counts=[3, 0])
    expected = (1 * 0.25**2 * -math.log(0.75) + 2 * 0.75**2 * -math.log(0.25)) / 2
    assert float(loss(output(logits), torch.tensor([0, 1]))) == pytest.approx(expected, rel=1e-6)


def test_focal_with_gamma_zero_is_torchs_cross_entropy_with_smoothing_too() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 1, 1])
    for smoothing in (0.0, 0.1):
        ours = cross_entropy(class_counts=[1, 3, 1, 1], label_smoothing=smoothing)
        theirs = torch.nn.functional.cross_entropy(logits, target, label_smoothing=smoothing)
        assert torch.allclose(ours(ModelOutput(logits, None), target), theirs, atol=1e-6)


def test_focal_gradient_is_finite_for_certain_answers_and_small_gamma() -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    Focal(class_counts=[1, 1], gamma=0.5)(ModelOutput(logits, None), torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_anchors_are_orthogonal_of_norm_four_and_fixed_by_the_seed() -> None:
    anchors = orthogonal_anchors(32, 256)
    assert torch.allclose(anchors @ anchors.T, 16 * torch.eye(32), atol=1e-4)
    assert torch.equal(anchors, orthogonal_anchors(32, 256))
    assert not torch.equal(anchors, orthogonal_anchors(32, 256, seed=1))


def test_anchor_components_are_of_one_size_for_every_dimension() -> None:
    assert orthogonal_anchors(4, 64).square().mean() == pytest.approx(16 / 256, rel=1e-5)
    assert orthogonal_anchors(4, 64, norm=3.0).norm(dim=1).tolist() == pytest.approx([3.0] * 4)


def test_drawn_anchors_are_gram_schmidt_of_the_seeds_numbers() -> None:
    # Whatever the signs that a LAPACK prefers: each vector points to the side of the number it comes from.
    drawn = np.random.default_rng(3).standard_normal((6, 4))
    basis: list[np.ndarray] = []
    for column in drawn.T:
        rest = column - sum(((column @ other) * other for other in basis), np.zeros(6))
        basis.append(rest / np.linalg.norm(rest))
    anchors = orthogonal_anchors(4, 6, norm=1.0, seed=3).numpy()
    assert anchors == pytest.approx(np.array(basis), abs=1e-6)


def test_as_many_classes_as_dimensions_still_fit() -> None:
    anchors = orthogonal_anchors(3, 3, norm=1.0)
    assert torch.allclose(anchors @ anchors.T, torch.eye(3), atol=1e-6)


@pytest.mark.parametrize("norm", [0.0, -1.0])
def test_an_anchor_without_length_is_refused(norm: float) -> None:
    for norm in ("four", True, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"norm must be a positive number, found {norm!r}"):
            orthogonal_anchors(2, 4, norm=norm)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed must be at least 0, found -1"):
        orthogonal_anchors(2, 4, seed=-1)
    with pytest.raises(UsageError, match="norm must be a positive number, found"):
        orthogonal_anchors(2, 4, norm=norm)


def test_more_classes_than_dimensions_cannot_be_orthogonal() -> None:
    with pytest.raises(UsageError, match=r"32 classes .* only d = 16 dimensions"):
        orthogonal_anchors(32, 16)


def test_semantic_loss_is_the_mean_squared_difference_to_the_anchor() -> None:
    loss = OrthogonalSemantic(class_counts=[1, 1], feature_dim=3, norm=2.0)
    anchors = loss.anchors.tolist()
    feature = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    by_hand = [sum((f - m) ** 2 for f, m in zip(feature[n], anchors[y])) / 3 for n, y in enumerate((1, 0))]
    found = float(loss(output([[0.0, 0.0]] * 2, feature), torch.tensor([1, 0])))
    assert found == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    assert by_hand[1] == pytest.approx(4 / 3, rel=1e-5)  # an anchor of norm 2 in three dimensions


def test_anchors_are_saved_with_the_losses_state_and_are_not_trained() -> None:
    loss = OrthogonalSemantic(class_counts=[1, 1], feature_dim=3)
    assert "anchors" in loss.state_dict()
    assert list(loss.parameters()) == []


def test_the_seed_decides_the_losss_anchors_and_is_0_if_not_given() -> None:
    plain = OrthogonalSemantic(class_counts=[1, 1], feature_dim=3)
    assert torch.equal(plain.anchors, orthogonal_anchors(2, 3, seed=0))
    other = OrthogonalSemantic(class_counts=[1, 1], feature_dim=3, norm=2.0, seed=5)
    assert torch.equal(other.anchors, orthogonal_anchors(2, 3, norm=2.0, seed=5))
