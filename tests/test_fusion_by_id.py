"""Scores are joined by clip id and by nothing else; what cannot be joined ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import mg

from mg_data.store import read_probs, write_logits

CLASSES = ("rub eyes", "bite nails", "fold arm")
IDS = np.array([f"clip{i:02d}" for i in range(40)])
VALUES = np.random.default_rng(5).normal(size=(2, 40, 3))


def write(path: Path, model: int, order: np.ndarray | None = None, **changes: Any) -> Path:
    rows = np.arange(40) if order is None else order
    arguments: dict[str, Any] = {
        "clip_ids": IDS[rows],
        "values": VALUES[model][rows],
        "class_names": CLASSES,
        "model": f"model{model}",
        "modality": "joint",
    }
    write_logits(path, **{**arguments, **changes})
    return path


def test_shuffled_stores_fuse_to_the_same_file(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.h5", 0), write(tmp_path / "b.h5", 1)
    rng = np.random.default_rng(1)
    shuffled = write(tmp_path / "shuffled.h5", 1, rng.permutation(40))
    first = write(tmp_path / "first.h5", 0, rng.permutation(40))
    mg("fuse", a, b, "-o", tmp_path / "plain.h5")
    mg("fuse", first, shuffled, "-o", tmp_path / "mixed.h5")
    plain, mixed = read_probs(tmp_path / "plain.h5"), read_probs(tmp_path / "mixed.h5")
    assert plain.digest == mixed.digest
    assert plain.values.tobytes() == mixed.values.tobytes()
    assert plain.clip_ids.tolist() == mixed.clip_ids.tolist()


def _nan(path: Path) -> None:
    import h5py

    write(path, 1)
    with h5py.File(path, "r+") as file:
        file["logits/values"][3, 1] = np.nan


def _duplicate(path: Path) -> None:
    import h5py

    write(path, 1)
    with h5py.File(path, "r+") as file:
        file["index/clip_id"][1] = "clip00"


def _truncated(path: Path) -> None:
    write(path, 1)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: write(path, 1, class_names=("rub eyes", "fold arm", "bite nails")), "class"),
        (lambda path: write(path, 1, np.arange(39)), "clip39"),
        (_nan, "NaN"),
        (_duplicate, "duplicate clip id"),
        (_truncated, "truncated"),
        (lambda path: path.write_text("clip_id,label\n"), "not an HDF5 file"),
        (lambda path: None, "does not exist"),
    ],
    ids=["classes", "missing", "nan", "duplicate", "truncated", "text", "absent"],
)
def test_what_cannot_be_joined_is_one_line_and_exit_code_3(tmp_path: Path, make: Any, reason: str) -> None:
    good, bad = write(tmp_path / "good.h5", 0), tmp_path / "bad.h5"
    make(bad)
    done = mg("fuse", good, bad, "-o", tmp_path / "out.h5", code=3)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "bad.h5" in lines[0]
    assert reason in lines[0]
    assert not (tmp_path / "out.h5").exists()
