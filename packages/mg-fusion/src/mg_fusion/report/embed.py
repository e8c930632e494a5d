"""Features and anchors in a plane: PCA, or t-SNE where scikit-learn (extra ``embed``) is installed.

PCA moves an anchor like a feature. t-SNE has no such rule, and points that are far from all others land
anywhere: there an anchor stands amid the clips whose features are most similar to it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError

Method = Literal["auto", "pca", "tsne"]
FloatArray = NDArray[np.float64]

# Clips of a t-SNE: its time grows faster than their number. More are thinned out evenly.
MOST_CLIPS = 1000
_SEED = 0
# Clips amid which t-SNE shows an anchor.
NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """Result of :func:`embed`.

    Args:
        rows: (R,) rows of the features that are shown. points: (R, 2). anchors: (A, 2).
        method: ``pca`` or ``tsne``. axes: what the axes are. why: remark on the method, or "".
    """

    rows: NDArray[np.int64]
    points: FloatArray
    anchors: FloatArray
    method: str
    axes: tuple[str, str]
    why: str


def embed(features: FloatArray, anchors: FloatArray, method: Method = "auto") -> Plane:
    """Place features (N, d) and anchors (A, d) in a plane.

    Raises:
        UsageError: t-SNE is asked for and scikit-learn is not installed.
    """
    there = importlib.util.find_spec("sklearn") is not None
    if method == "tsne" and not there:
        raise UsageError("report: t-SNE needs scikit-learn; pip install 'mg-fusion[embed]'")
    # Fewer points than a neighbourhood holds have no t-SNE.
    small = len(features) < 10
    if method == "pca" or small or not there:
        why = "" if method == "pca" or there else "scikit-learn (extra embed) is not installed, so no t-SNE"
        return _pca(features, anchors, why)
    return _tsne(features, anchors)


def principal(values: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean (d,), directions (count, d) and the shares of the variance they explain (count,)."""
    mean = values.mean(axis=0)
    _, sizes, directions = np.linalg.svd(values - mean, full_matrices=False)
    total = float((sizes**2).sum()) or 1.0
    directions = directions[:count]
    # The sign of a direction is free: its largest component is made positive, whichever library computed it.
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    return mean, directions, sizes[:count] ** 2 / total


def unit(rows: FloatArray) -> FloatArray:
    """Return rows of length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


def _pca(features: FloatArray, anchors: FloatArray, why: str) -> Plane:
    mean, directions, shares = principal(features, 2)
    if len(directions) < 2:
        directions = np.vstack([directions, np.zeros_like(directions)])[:2]
        shares = np.append(shares, 0.0)
    axes = (f"first component, {100 * shares[0]:.1f} % of the variance", f"second, {100 * shares[1]:.1f} %")
    return Plane(
        rows=np.arange(len(features)),
        points=(features - mean) @ directions.T,
        anchors=(anchors - mean) @ directions.T,
        method="pca",
        axes=axes,
        why=why,
    )


def _tsne(features: FloatArray, anchors: FloatArray) -> Plane:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = np.unique(
        np.linspace(0, len(features) - 1, min(len(features), MOST_CLIPS)).round().astype(np.int64)
    )
    mean, directions, _ = principal(features[rows], 50)
    reduced = (features[rows] - mean) @ directions.T
    perplexity = min(30.0, (len(rows) - 1) / 3)
    # One thread: sums come in one order wherever it is drawn, and a busy machine does not make it crawl.
    with threadpool_limits(limits=1):
        placed = TSNE(perplexity=perplexity, init="pca", random_state=_SEED).fit_transform(reduced)
    points = np.asarray(placed, dtype=np.float64)
    nearest = np.argsort(-(unit(anchors) @ unit(features[rows]).T), axis=1, kind="stable")[:, :NEIGHBOURS]
    why = f"{len(rows)} of {len(features)} clips, evenly chosen" if len(rows) < len(features) else ""
    return Plane(
        rows=rows,
        points=points,
        anchors=np.median(points[nearest], axis=1) if len(anchors) else np.empty((0, 2)),
        method="tsne",
        axes=("t-SNE, first axis (no unit)", "second axis (no unit)"),
        why=why,
    )
