"""What a branch's classifier reads, in a plane, with its semantic anchors (paper Eq. 1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import MgError
from mg_data.store import FeaturesStore, read_features, store_kind
from mg_fusion.report.charts.scatter import place_points, scatter_chart
from mg_fusion.report.charts.svg import SERIES, legend
from mg_fusion.report.embed import embed, unit
from mg_fusion.report.run import AbsentError, Run

# Feature stores that are shown: each takes seconds.
MOST_STORES = 2
_ANCHORS = ".anchors"


def build(run: Run) -> dict[str, Any]:
    """Return one chart for each of the latest feature stores of the run folder."""
    stores = feature_stores(run.folder)
    if not stores:
        raise AbsentError(
            "there is no feature store in this run folder (mg predict CHECKPOINT ... --features "
            "round2/features-BRANCH.h5 writes one)"
        )
    return {
        "plots": [_plot(run, path, place) for place, path in enumerate(stores[:MOST_STORES])],
        "left_out": [path.name for path in stores[MOST_STORES:]],
    }


def feature_stores(folder: Path) -> list[Path]:
    """Return the stores of ``mg predict --features`` in a run folder, those of the last round first."""
    found = []
    for path in sorted([*folder.glob("*.h5"), *folder.glob("*/*.h5")]):
        try:
            if store_kind(path) == "features" and read_features(path).features:
                found.append(path)
        except MgError:
            continue
    return sorted(found, key=lambda path: path.parent.name, reverse=True)


def _plot(run: Run, path: Path, place: int) -> dict[str, Any]:
    store = read_features(path)
    name = "feature" if "feature" in store.features else sorted(store.features)[0]
    order = np.argsort(store.clip_ids)
    features = store.features[name].reshape(len(store), -1).astype(np.float64)[order]
    anchors, remark = anchors_of(run.folder, path, store, features.shape[1])
    names = list(store.class_names) or list(run.class_names())
    classes = _classes(run, store, order)
    # Anchors of classes without a clip here would crowd the plane with what nothing was drawn towards.
    anchored = np.array([index for index in range(len(anchors)) if (classes == index).any()], dtype=np.int64)
    # Anchors are all of one length: directions are what tells.
    features, anchors = unit(features), unit(anchors)
    plane = embed(features, anchors[anchored], run.embedding)
    near = nearest_anchor(features, classes, anchors)
    shown, classes = store.clip_ids[order][plane.rows], classes[plane.rows]
    points, crosses = place_points(plane.points, plane.anchors)
    counts = np.bincount(classes[classes >= 0], minlength=len(names))
    coloured = [int(index) for index in np.argsort(-counts, kind="stable")[:SERIES] if counts[index]]
    title = f"{store.provenance.config.get('branch') or path.stem}, {path.parent.name}"
    return {
        "id": f"plane{place}",
        "title": title,
        "method": {"pca": "PCA", "tsne": "t-SNE"}[plane.method],
        "chart": scatter_chart(points, classes, crosses, anchored, names, coloured, plane.axes, title),
        "legend": legend([names[index] for index in coloured]),
        "names": [
            (index, names[index]) for index in np.argsort(-counts, kind="stable").tolist() if counts[index]
        ],
        "clips": len(shown),
        "dimensions": features.shape[1],
        "anchors": len(crosses),
        "near": near,
        "remark": "; ".join(part for part in (plane.why, remark) if part),
        "points": {"x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "id": shown.tolist()},
    }


def nearest_anchor(
    features: NDArray[np.float64], classes: NDArray[np.int64], anchors: NDArray[np.float64]
) -> dict[str, float] | None:
    """Return how near features are to their own anchor, by cosine; None without anchors or known classes.

    Args:
        features: (N, d), anchors: (K, d), rows of length 1. classes: (N,), -1 unknown.

    Returns:
        ``own``: share of clips whose nearest anchor is that of their class. ``cosine``: mean to the own one.
    """
    known = np.flatnonzero((classes >= 0) & (classes < len(anchors)))
    if not len(known):
        return None
    similarity = features[known] @ anchors.T
    own = similarity[np.arange(len(known)), classes[known]]
    return {
        "own": float((similarity.argmax(axis=1) == classes[known]).mean()),
        "cosine": float(own.mean()),
    }


def _classes(run: Run, store: FeaturesStore, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) the truth of clips in an order, -1 where unknown."""
    own = np.full(len(store), -1) if store.labels is None else store.labels.astype(np.int64)
    known = run.truth.of(store.clip_ids) if run.truth is not None else own
    return np.where(known >= 0, known, own)[order].astype(np.int64)


def anchors_of(
    folder: Path, path: Path, store: FeaturesStore, dimensions: int
) -> tuple[NDArray[np.float64], str]:
    """Return the (A, d) anchors of the checkpoint that made the features, and a remark if there are none."""
    none = np.empty((0, dimensions))
    wanted = str(store.provenance.inputs.get("checkpoint", ""))
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return none, "no anchors: safetensors is not installed (extra report)"
    for file in sorted([*path.parent.glob("*.safetensors"), *folder.glob("*/*.safetensors")]):
        try:
            with safe_open(file, framework="np") as checkpoint:
                header = json.loads((checkpoint.metadata() or {}).get("mg", "{}"))
                if f"sha256:{header.get('sha256')}" != wanted:
                    continue
                key = next((key for key in list(checkpoint.keys()) if key.endswith(_ANCHORS)), None)
                if key is None:
                    return none, "no anchors: the branch was trained without a semantic loss"
                found = np.asarray(checkpoint.get_tensor(key), dtype=np.float64)
        except (OSError, ValueError, SafetensorError):
            continue
        if found.ndim != 2 or found.shape[1] != dimensions:
            return none, f"no anchors: theirs have shape {found.shape}, features {dimensions} dimensions"
        return found, ""
    return none, "no anchors: the checkpoint that made the features is not in this run folder"
