"""Published score files of three splits: the vote gives the published accuracy, joined by clip id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import StoreError
from mg_data.store import write_logits
from mg_fusion import classification_metrics, fuse_stores

pytestmark = pytest.mark.data
MODELS = ("iframe", "mv", "residual")
WEIGHTS = {"iframe": 2.0, "mv": 1.0, "residual": 1.0}


def write_split_stores(
    source: Path, folder: Path, split: int, *, by_position: bool
) -> tuple[list[Path], dict[str, int]]:
    """Write one store for each model; ``by_position`` names the clips as the first model does."""
    paths, names, truth = [], np.empty(0), {}
    for model in MODELS:
        with np.load(source / f"split{split}_{model}.npz") as file:
            if model == MODELS[0]:
                names = file["name"]
                truth = dict(zip(names.tolist(), file["label"].tolist(), strict=True))
            ids = names if by_position else file["name"]
            path = folder / f"split{split}-{model}.h5"
            write_logits(
                path,
                clip_ids=ids,
                values=file["logits"],
                class_names=[f"class {index}" for index in range(file["logits"].shape[1])],
                model=model,
                modality="video",
                branch=model,
                dataset="hmdb51",
            )
            paths.append(path)
    return paths, truth


def test_weights_2_1_1_on_raw_logits_give_the_published_accuracy(shared_data: Path, tmp_path: Path) -> None:
    accuracies = []
    for split in (1, 2, 3):
        # In split 1 the files spell 351 names differently; their rows are in one order, which only this
        # conversion may rely on.
        paths, truth = write_split_stores(
            shared_data / "dmcnet_hmdb51", tmp_path, split, by_position=split == 1
        )
        fused = fuse_stores(paths, weights=WEIGHTS, fuser="log-mean")
        labels = np.array([truth[clip] for clip in fused.clip_ids])
        accuracies.append(classification_metrics(fused.probs, labels).accuracy)
    assert round(100 * float(np.mean(accuracies)), 2) == 59.46


def test_names_spelled_differently_in_split_1_are_refused(shared_data: Path, tmp_path: Path) -> None:
    paths, _ = write_split_stores(shared_data / "dmcnet_hmdb51", tmp_path, 1, by_position=False)
    with pytest.raises(StoreError, match="lacks 351 of 1881 clips") as caught:
        fuse_stores(paths, weights=WEIGHTS)
    text = str(caught.value)
    assert "split1-mv.h5" in text
    assert "has 351 that no other store has" in text
    assert "clips are joined by their exact id" in text
