"""What source-free adaptation needs besides the trainer: the frozen classifier, and labels by centroids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mg_adapt.blame import blamed
from mg_adapt.training.loading import sample_of
from mg_data.contract import Modality, PluginError, Progress


def find_classifier(model: nn.Module, feature_dim: int, num_classes: int, name: str) -> nn.Linear:
    """Return the layer that turns the feature into logits: the last linear one from d to K.

    Raises:
        PluginError: there is none.
    """
    found = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
        and (layer.in_features, layer.out_features) == (feature_dim, num_classes)
    ]
    if not found:
        raise PluginError(
            f"model '{name}' has no linear layer from its feature ({feature_dim}) to {num_classes} classes, "
            "which source-free adaptation keeps as it is"
        )
    return found[-1]


def target_answers(
    model: nn.Module,
    modality: Modality,
    clip_ids: NDArray[np.str_],
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress | None = None,
    who: str = "the model",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities (N, K) and features (N, d) of the clips' test samples.

    Args:
        who: how messages call the model.

    Raises:
        PluginError: the model or the modality raises. UsageError: the device's memory does not suffice.
    """
    model.to(device).eval()
    logits, features = [], []
    with torch.no_grad():
        for first in range(0, len(clip_ids), batch_size):
            part = clip_ids[first : first + batch_size]
            samples = np.stack([sample_of(modality, str(clip_id), None) for clip_id in part])
            with blamed(who, lambda: "the target's clips"):
                output = model(torch.from_numpy(samples).to(device))
            logits.append(output.logits.double().cpu())
            features.append(output.feature.double().cpu())
            if progress is not None:
                progress.advance(len(part))
    return torch.softmax(torch.cat(logits), dim=1).numpy(), torch.cat(features).numpy()


def centroid_labels(probs: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (N,) the class of the nearest centroid by cosine (SHOT, Liang et al. 2020).

    Centroids are first the means of the features weighted by the probabilities, and once more the means of
    the features so labelled. A class that is nobody's most probable one gives no label.

    Args:
        probs: (N, K). features: (N, d).
    """
    classes = np.unique(probs.argmax(axis=1))
    # A constant entry beside the feature, as in the authors' code: a feature of zeros has a direction too.
    points = np.hstack([features, np.ones((len(features), 1))])
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    shares = probs[:, classes]
    labels = classes[probs[:, classes].argmax(axis=1)]
    for _ in range(2):
        centroids = shares.T @ points
        length = np.linalg.norm(centroids, axis=1, keepdims=True)
        cosine = points @ (centroids / np.maximum(length, 1e-12)).T
        # A class that lost all of its clips has no centroid any more.
        cosine[:, shares.sum(axis=0) <= 0] = -np.inf
        labels = classes[cosine.argmax(axis=1)]
        shares = (labels[:, None] == classes).astype(np.float64)
    return np.asarray(labels, np.int64)
