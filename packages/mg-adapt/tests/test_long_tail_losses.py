"""Losses beyond the paper's, against their authors' formulas written out here for single samples."""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mg_adapt.branch import build_losses
from mg_adapt.losses import (
    LDAM,
    BalancedSoftmax,
    ClassBalanced,
    Focal,
    InformationMaximisation,
    LogitAdjustment,
    OrthogonalSemantic,
    cross_entropy,
    effective_numbers,
    orthogonal_anchors,
)
from mg_adapt.losses.semantic import given_anchors, read_anchor_file
from mg_adapt.recipe import Recipe
from mg_data.contract import DataError, ModelOutput, UsageError

COUNTS = (50, 7, 1, 20)
Formula = Callable[[NDArray[np.float64], int], float]


def batch(seed: int = 0, size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, len(COUNTS), generator=generator)
    return logits, torch.randint(0, len(COUNTS), (size,), generator=generator)


def value(loss: nn.Module, logits: torch.Tensor, target: torch.Tensor) -> float:
    return float(loss(ModelOutput(logits, torch.zeros(len(logits), 5)), target))


def softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(z)
    return powers / powers.sum()


def sum_over_samples(formula: Formula, logits: torch.Tensor, target: torch.Tensor) -> float:
    pairs = zip(logits.double().numpy(), target.tolist())
    return sum(formula(z, y) for z, y in pairs) / len(target)


def class_balanced_weights(beta: float) -> list[float]:
    raw = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    mean = sum(n * w for n, w in zip(COUNTS, raw)) / sum(COUNTS)
    return [w / mean for w in raw]


def class_balanced(z: NDArray[np.float64], y: int) -> float:
    return class_balanced_weights(0.99)[y] * -math.log(softmax(z)[y])


def class_balanced_focal(z: NDArray[np.float64], y: int) -> float:
    p = softmax(z)[y]
    return class_balanced_weights(0.9)[y] * (1 - p) ** 1.5 * -math.log(p)


def logit_adjustment(z: NDArray[np.float64], y: int) -> float:
    pi = np.array(COUNTS) / sum(COUNTS)
    others = sum((pi[c] / pi[y]) ** 1.3 * math.exp(z[c] - z[y]) for c in range(len(z)) if c != y)
    return math.log(1 + others)


def balanced_softmax(z: NDArray[np.float64], y: int) -> float:
    powers = [n * math.exp(value) for n, value in zip(COUNTS, z)]
    return -math.log(powers[y] / sum(powers))


def ldam(z: NDArray[np.float64], y: int) -> float:
    largest = max(n**-0.25 for n in COUNTS)
    margin = 0.5 * COUNTS[y] ** -0.25 / largest
    top = math.exp(30 * (z[y] / 30 - margin))
    return -math.log(top / (top + sum(math.exp(z[c]) for c in range(len(z)) if c != y)))


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (lambda: ClassBalanced(class_counts=COUNTS, beta=0.99), class_balanced),
        (lambda: ClassBalanced(class_counts=COUNTS, beta=0.9, gamma=1.5), class_balanced_focal),
        (lambda: LogitAdjustment(class_counts=COUNTS, tau=1.3), logit_adjustment),
        (lambda: BalancedSoftmax(class_counts=COUNTS), balanced_softmax),
    ],
)
def test_losses_are_their_papers_formulas(loss: Callable[[], nn.Module], formula: Formula) -> None:
    logits, target = batch()
    assert value(loss(), logits, target) == pytest.approx(sum_over_samples(formula, logits, target), rel=1e-5)


def test_ldam_of_cosines_is_the_authors_formula() -> None:
    logits, target = batch()
    cosines = ModelOutput(logits / 30, None)
    loss = LDAM(class_counts=COUNTS, max_margin=0.5, scale=30.0)
    assert float(loss(cosines, target)) == pytest.approx(sum_over_samples(ldam, logits, target), rel=1e-5)


def test_ldam_by_hand() -> None:
    # Counts 1 and 16: margins 2 and 1. Sample of class 0 with logits (3, 0): 3 - 2 against 0.
    loss = LDAM(class_counts=[1, 16], max_margin=2.0)
    assert loss.margin.tolist() == pytest.approx([2.0, 1.0])
    assert LDAM(class_counts=[16, 81]).margin.tolist() == pytest.approx([5.0, 10 / 3])
    found = value(loss, torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    assert found == pytest.approx(math.log(1 + math.exp(-1.0)), rel=1e-6)


def test_deferred_reweighting_begins_after_its_part_of_the_epochs() -> None:
    loss = LDAM(class_counts=[1, 16], max_margin=2.0, reweight_after=0.8, beta=0.9999)
    logits, target = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
    loss.at_epoch(7, 10)
    plain = value(loss, logits, target)
    loss.at_epoch(8, 10)
    # Next to inverse frequency: weights 1 and 1/16 over a mean of (1 + 16 / 16) / 17.
    assert value(loss, logits, target) / plain == pytest.approx(17 / 2, rel=1e-3)
    never = LDAM(class_counts=[1, 16], max_margin=2.0)
    never.at_epoch(9, 10)
    assert value(never, logits, target) == pytest.approx(plain)


def test_effective_numbers_run_from_one_to_the_count() -> None:
    with np.errstate(all="raise"):
        assert effective_numbers([1, 10, 100], 0.0).tolist() == [1.0, 1.0, 1.0]
    assert effective_numbers([1, 10, 100], 1 - 1e-12) == pytest.approx([1, 10, 100], rel=1e-4)
    assert effective_numbers([2], 0.9).tolist() == pytest.approx([1.9])


def test_balanced_softmax_is_logit_adjustment_at_tau_one() -> None:
    logits, target = batch()
    ours = value(BalancedSoftmax(class_counts=COUNTS), logits, target)
    assert ours == value(LogitAdjustment(class_counts=COUNTS, tau=1.0), logits, target)
    assert ours == value(LogitAdjustment(class_counts=COUNTS), logits, target)


def test_without_imbalance_every_adjustment_is_the_cross_entropy() -> None:
    logits, target = batch()
    even = [5] * len(COUNTS)
    plain = value(cross_entropy(class_counts=even), logits, target)
    for loss in (
        ClassBalanced(class_counts=even),
        LogitAdjustment(class_counts=even),
        LogitAdjustment(class_counts=COUNTS, tau=0.0),
        BalancedSoftmax(class_counts=even),
        LDAM(class_counts=even, max_margin=1e-9),
        LDAM(class_counts=even, max_margin=1e-9, reweight_after=0.0),
    ):
        assert value(loss, logits, target) == pytest.approx(plain, rel=1e-6)


def every_loss(counts: tuple[int, ...]) -> list[nn.Module]:
    reweighted = LDAM(class_counts=counts, reweight_after=0.0)
    reweighted.at_epoch(0, 1)
    return [
        Focal(class_counts=counts),
        Focal(class_counts=counts, label_smoothing=0.1),
        cross_entropy(class_counts=counts, weighting="inverse"),
        ClassBalanced(class_counts=counts, gamma=1.0),
        LogitAdjustment(class_counts=counts),
        LogitAdjustment(class_counts=counts, label_smoothing=0.2),
        BalancedSoftmax(class_counts=counts),
        LDAM(class_counts=counts),
        reweighted,
    ]


@pytest.mark.parametrize("number", range(9))
def test_the_loss_of_probabilities_is_the_expectation_over_classes(number: int) -> None:
    loss = every_loss(COUNTS)[number]
    assert loss.soft_targets
    logits, target = batch()
    probs = torch.softmax(torch.randn(len(target), 4, generator=torch.Generator().manual_seed(3)), dim=1)
    expected = np.mean(
        [
            sum(float(probs[n, c]) * value(loss, logits[n : n + 1], torch.tensor([c])) for c in range(4))
            for n in range(len(target))
        ]
    )
    assert value(loss, logits, probs) == pytest.approx(expected, rel=1e-5)
    one_hot = torch.nn.functional.one_hot(target, 4).float()
    assert value(loss, logits, one_hot) == pytest.approx(value(loss, logits, target), rel=1e-6)


@pytest.mark.parametrize("number", range(9))
def test_a_class_without_samples_and_certain_answers_leave_loss_and_gradient_finite(number: int) -> None:
    loss = every_loss((9, 0, 3, 1))[number]
    logits = torch.tensor([[90.0, -90.0, 0.0, 0.0], [-90.0, 90.0, 0.0, 0.0]], requires_grad=True)
    total = loss(ModelOutput(logits, None), torch.tensor([0, 2]))
    total.backward()
    assert torch.isfinite(total)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert all(torch.isfinite(buffer).all() for buffer in loss.buffers())


def test_smoothing_of_adjusted_logits_is_torchs() -> None:
    logits, target = batch()
    adjusted = logits + torch.tensor(np.log(np.array(COUNTS) / sum(COUNTS)), dtype=torch.float32)
    theirs = torch.nn.functional.cross_entropy(adjusted, target, label_smoothing=0.1)
    ours = value(BalancedSoftmax(class_counts=COUNTS, label_smoothing=0.1), logits, target)
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_smoothing_of_evenly_weighted_classes_is_torchs() -> None:
    logits, target = batch()
    theirs = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    ours = value(ClassBalanced(class_counts=[5] * len(COUNTS), label_smoothing=0.1), logits, target)
    assert ours == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("number", range(9))
def test_a_loss_is_float32_whatever_it_is_given(number: int) -> None:
    loss = every_loss(COUNTS)[number]
    assert all(buffer.dtype == torch.float32 for buffer in loss.buffers())
    logits, target = batch()
    for given in (target, torch.nn.functional.one_hot(target, len(COUNTS)).double()):
        assert loss(ModelOutput(logits.double(), None), given).dtype == torch.float32


def test_self_labels_of_weight_zero_change_nothing_and_weigh_three_tenths_by_default() -> None:
    logits, target = batch()
    blind = InformationMaximisation(class_counts=COUNTS, beta=0.0)
    assert value(blind, logits, target) == value(blind, logits, (target + 1) % len(COUNTS))
    labels = torch.nn.functional.cross_entropy(logits, target)
    found = value(InformationMaximisation(class_counts=COUNTS), logits, target)
    assert found - value(blind, logits, target) == pytest.approx(0.3 * float(labels), rel=1e-5)


@pytest.mark.usefixtures("toy_plugin")
def test_smoothing_for_a_loss_without_it_is_an_error_that_says_so() -> None:
    recipe = Recipe.from_dict({"loss": "ldam", "label_smoothing": 0.1})
    with pytest.raises(UsageError, match=r"label_smoothing = 0\.1: loss 'ldam' has no smoothed form"):
        build_losses(recipe, COUNTS, 8)
    for name in ("class-balanced", "logit-adjustment", "balanced-softmax", "focal", "cross-entropy"):
        losses, _ = build_losses(Recipe.from_dict({"loss": name, "label_smoothing": 0.1}), COUNTS, 8)
        assert losses["classification"].label_smoothing == 0.1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ClassBalanced(class_counts=[1], beta=1.0), r"beta .* must lie in \[0, 1\), found 1\.0"),
        (lambda: ClassBalanced(class_counts=[1], gamma=-1.0), "gamma must be at least 0"),
        (lambda: LogitAdjustment(class_counts=[1], tau=-1.0), "tau must be at least 0, found -1"),
        (lambda: LDAM(class_counts=[1], scale=0.0), "ldam: scale must be positive"),
        (lambda: LDAM(class_counts=[1], max_margin=0.0), "ldam: max_margin must be positive"),
        (lambda: LDAM(class_counts=[1], reweight_after=2.0), r"reweight_after must lie in \[0, 1\]"),
        (lambda: LogitAdjustment(class_counts=[0, 0]), "at least one sample"),
        (lambda: BalancedSoftmax(class_counts=[1], label_smoothing=1.0), r"label_smoothing must lie in"),
    ],
)
def test_impossible_options_are_refused(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("size", [2, 3, 8, 40])
def test_given_anchors_keep_every_angle_whatever_their_dimension(size: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, size)) * [[1e-9], [1], [3], [1e200], [7]]
    anchors = given_anchors(matrix, 8, norm=2.0).double().numpy()
    assert anchors.shape == (5, 8)
    assert np.linalg.norm(anchors, axis=1) == pytest.approx([2.0] * 5, rel=1e-6)
    unit = matrix / np.abs(matrix).max(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert anchors @ anchors.T / 4 == pytest.approx(unit @ unit.T, abs=1e-6)


def test_anchors_of_the_features_own_size_are_only_scaled() -> None:
    matrix = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    assert given_anchors(matrix, 3, norm=1.0).tolist() == [pytest.approx([0.6, 0.8, 0]), [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("sign", [1, -1])
def test_given_anchors_are_placed_alike_by_every_lapack(sign: int) -> None:
    # The class of row k lies in the span of the first k drawn directions, on the positive side of the last.
    matrix = sign * np.random.default_rng(1).standard_normal((4, 6))
    anchors = given_anchors(matrix, 8, norm=1.0, seed=2)
    parts = (anchors @ orthogonal_anchors(4, 8, norm=1.0, seed=2).T).numpy()
    assert np.triu(parts, 1) == pytest.approx(np.zeros((4, 4)), abs=1e-6)
    assert (np.diag(parts) > 0.01).all()
    assert torch.equal(given_anchors(matrix, 8), given_anchors(matrix, 8, seed=0))
    assert anchors.dtype == torch.float32


def test_the_loss_places_the_anchors_of_a_file_by_its_norm_and_seed(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 2.0], [3.0, -1.0]])
    np.save(tmp_path / "a.npy", matrix)
    settings = {"class_counts": [1, 1], "feature_dim": 4, "anchors_file": str(tmp_path / "a.npy")}
    loss = OrthogonalSemantic(**settings, norm=3.0, seed=7)
    assert torch.equal(loss.anchors, given_anchors(matrix, 4, norm=3.0, seed=7))
    assert torch.equal(OrthogonalSemantic(**settings).anchors, given_anchors(matrix, 4, seed=0))


class Intruder:
    """What a pickle could do: make a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_an_anchor_file_is_never_run(tmp_path: Path) -> None:
    intruder = np.array([[Intruder(tmp_path / "made")]], dtype=object)
    np.save(tmp_path / "a.npy", intruder, allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read as anchors: .*allow_pickle"):
        read_anchor_file(tmp_path / "a.npy", 1)
    assert not (tmp_path / "made").exists()


def test_anchor_files_are_read_as_numpy_or_text_and_refused_by_name(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 2.0], [3.0, -1.0]])
    np.save(tmp_path / "a.npy", matrix)
    (tmp_path / "a.csv").write_text("# wave, point\n1,2\n3,-1\n")
    for name in ("a.npy", "a.csv"):
        assert read_anchor_file(tmp_path / name, 2).tolist() == matrix.tolist()
    loss = OrthogonalSemantic(class_counts=[1, 1], feature_dim=4, anchors_file=str(tmp_path / "a.csv"))
    cosine = float(loss.anchors[0] @ loss.anchors[1] / (loss.anchors[0].norm() * loss.anchors[1].norm()))
    assert cosine == pytest.approx(1 / math.sqrt(50), abs=1e-6)
    with pytest.raises(DataError, match=r"shape \(2, 2\), wanted one row for each of 3 classes"):
        read_anchor_file(tmp_path / "a.npy", 3)
    np.save(tmp_path / "p.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "t.npy", np.array([["wave"]]))
    header = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "h.npy").write_bytes(header.replace(b"), }  ", b"), } )"))
    (tmp_path / "w.csv").write_text("wave,1,2\n")
    for name, reason in (
        ("p.npy", "Object arrays cannot be loaded"),
        ("t.npy", "could not convert string to float"),
        ("h.npy", ".*(EOF in multi-line statement|Cannot parse header)"),
        ("w.csv", "could not convert string 'wave' to float64"),
        ("none.npy", r"\[Errno 2\] No such file or directory"),
    ):
        with pytest.raises(DataError, match=rf"{name}: cannot be read as anchors: {reason}"):
            read_anchor_file(tmp_path / name, 1)
    (tmp_path / "1.csv").write_text("1,2\n")
    assert read_anchor_file(tmp_path / "1.csv", 1).tolist() == [[1.0, 2.0]]
    for text in ("1,2\n0,0\n", "1,2\n1,nan\n", "1,2\ninf,1\n"):
        (tmp_path / "z.csv").write_text(text)
        with pytest.raises(DataError, match="the row of class 1 is zero or not finite"):
            read_anchor_file(tmp_path / "z.csv", 2)
    with pytest.raises(UsageError, match=r"2 classes .* only d = 1 dimensions"):
        OrthogonalSemantic(class_counts=[1, 1], feature_dim=1, anchors_file=str(tmp_path / "a.csv"))


def test_semantic_loss_of_probabilities_has_the_gradient_of_the_expectation() -> None:
    loss = OrthogonalSemantic(class_counts=[1, 1, 1], feature_dim=4)
    probs = torch.tensor([[0.2, 0.5, 0.3]])
    gradients = []
    for expectation in (False, True):
        feature = torch.ones(1, 4, requires_grad=True)
        if expectation:
            parts = [p * loss(ModelOutput(None, feature), torch.tensor([c])) for c, p in enumerate(probs[0])]
            torch.stack(parts).sum().backward()
        else:
            loss(ModelOutput(None, feature), probs).backward()
        gradients.append(feature.grad)
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize("name", ["class_balanced", "ldam", "weights"])
def test_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"mg_adapt.losses.{name}"))
    assert tried > 0
    assert failed == 0
