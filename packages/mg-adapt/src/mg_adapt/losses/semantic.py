"""Orthogonal semantic embedding loss (paper 3.2, Eq. 1), with anchors drawn or given."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from mg_adapt.losses.targets import is_soft
from mg_data.contract import DataError, ModelOutput, UsageError

REFERENCE_NORM, REFERENCE_DIM = 4.0, 256


def _check_size(num_classes: int, feature_dim: int) -> None:
    if num_classes > feature_dim:
        raise UsageError(
            f"orthogonal-semantic: {num_classes} classes need as many orthogonal anchors, but the model's "
            f"feature has only d = {feature_dim} dimensions; take a model with d >= {num_classes} or drop it"
        )


def _length(norm: float | None, feature_dim: int) -> float:
    # Of an option without a default nobody has checked the type.
    number = isinstance(norm, int | float) and not isinstance(norm, bool)
    if norm is not None and not (number and 0 < norm < math.inf):
        raise UsageError(f"orthogonal-semantic: norm must be a positive number, found {norm!r}")
    return REFERENCE_NORM * math.sqrt(feature_dim / REFERENCE_DIM) if norm is None else norm


def _orthonormal(rows: int, feature_dim: int, seed: int) -> NDArray[np.float64]:
    """Return (rows, d) orthonormal rows from the QR decomposition of a seeded Gaussian (d, rows) matrix."""
    if seed < 0:
        raise UsageError(f"orthogonal-semantic: seed must be at least 0, found {seed}")
    random = np.random.default_rng(seed).standard_normal((feature_dim, rows))
    basis, triangle = np.linalg.qr(random)
    # Signs fixed by the diagonal: the decomposition is unique, whichever LAPACK computed it.
    return np.ascontiguousarray((basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)).T)


def orthogonal_anchors(
    num_classes: int, feature_dim: int, norm: float | None = None, seed: int = 0
) -> Tensor:
    """Return the fixed matrix M (K, d) of paper Eq. 1: mutually orthogonal rows of equal norm.

    Rows come from the QR decomposition of a seeded Gaussian (d, K) matrix. ``norm`` is their length; None
    takes ``4 sqrt(d / 256)``, which keeps the size of single components, and so of the loss, equal for
    every d.

    Raises:
        UsageError: K > d, since no K orthogonal anchors exist then.
    """
    _check_size(num_classes, feature_dim)
    length = _length(norm, feature_dim)
    return torch.tensor(_orthonormal(num_classes, feature_dim, seed) * length, dtype=torch.float32)


def read_anchor_file(path: Path, num_classes: int) -> NDArray[np.float64]:
    """Read a (K, D) matrix from ``.npy`` or from comma-separated text without a header, one row a class.

    Rows stand in the order of the class indices; lines that begin with ``#`` are left aside.

    Raises:
        DataError: it cannot be read, has not K rows, or holds a number that is not finite or a row of zeros.
    """
    try:
        if path.suffix.lower() == ".npy":
            loaded = np.load(path, allow_pickle=False)
        else:
            loaded = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8")
        matrix = np.asarray(loaded, np.float64)
    except Exception as error:  # numpy's own parser lets tokenize's errors through
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read as anchors: {reason} (wanted .npy, or comma-separated numbers)"
        ) from error
    if matrix.ndim != 2 or len(matrix) != num_classes or not matrix.shape[1]:
        raise DataError(f"{path}: has shape {matrix.shape}, wanted one row for each of {num_classes} classes")
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1) | ~matrix.any(axis=1))
    if len(broken):
        raise DataError(f"{path}: the row of class {broken[0]} is zero or not finite, so it has no direction")
    return matrix


def given_anchors(
    matrix: NDArray[np.float64], feature_dim: int, norm: float | None = None, seed: int = 0
) -> Tensor:
    """Return anchors (K, d) with the directions of a given (K, D) matrix, such as embeddings of class names.

    Every row gets the length ``norm`` (see :func:`orthogonal_anchors`), so only angles count. If D is not
    d, the rows are placed in the feature space by an isometry: their coordinates in the at most K
    dimensions they span, along orthonormal directions that ``seed`` draws. No angle between two classes
    changes. The rows are taken as they are otherwise: nothing is centred, nothing is made orthogonal.

    Raises:
        UsageError: K > d, since the rows may span K dimensions.
    """
    _check_size(len(matrix), feature_dim)
    length = _length(norm, feature_dim)
    # By the largest component first: squares of huge or tiny numbers would leave the range.
    rows = matrix / np.abs(matrix).max(axis=1, keepdims=True)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if rows.shape[1] != feature_dim:
        basis, coordinates = np.linalg.qr(rows.T)  # (D, r), (r, K) with r = min(D, K)
        signs = np.where(np.diag(coordinates) < 0, -1.0, 1.0)
        rows = (signs[:, None] * coordinates).T @ _orthonormal(basis.shape[1], feature_dim, seed)
    return torch.tensor(rows * length, dtype=torch.float32)


class OrthogonalSemantic(nn.Module):
    """Orthogonal semantic embedding loss, paper Eq. 1: mean over the batch of MSE(f, M_y).

    The anchors are a buffer, so a checkpoint keeps the very matrix it was trained with. For a target of
    probabilities q the anchor is their mean ``sum_c q_c M_c``: the gradient is that of the expected loss.

    Args:
        feature_dim: d. norm: length of an anchor. seed: of the drawn directions.
        anchors_file: matrix of given directions (see :func:`given_anchors`); "" draws orthogonal ones.
    """

    soft_targets = True

    def __init__(
        self,
        *,
        class_counts: ArrayLike,
        feature_dim: int,
        norm: float | None = None,
        seed: int = 0,
        anchors_file: str = "",
    ) -> None:
        super().__init__()
        self.anchors: Tensor
        num_classes = len(np.asarray(class_counts))
        if anchors_file:
            _check_size(num_classes, feature_dim)
            anchors = given_anchors(
                read_anchor_file(Path(anchors_file), num_classes), feature_dim, norm, seed
            )
        else:
            anchors = orthogonal_anchors(num_classes, feature_dim, norm, seed)
        self.register_buffer("anchors", anchors)

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of features (N, d) and targets (N,) int64 or (N, K), in float32."""
        anchors = target.float() @ self.anchors if is_soft(target) else self.anchors[target]
        return functional.mse_loss(output.feature.float(), anchors)
