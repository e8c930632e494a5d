"""Features stores hold vectors and signals, each clip's as long as its recording, joined by id."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.stores import export
from mg_data.contract import StoreError
from mg_data.store import check_store, merge_stores, read_features, write_features

SIGNALS = [np.full((length, 6), length, np.float32) for length in (5, 0, 3, 8)]
FACTS = {"inertial": {"rate_hz": 50.0, "units": "g, deg/s"}}


def write(path: Path, rows: list[int], **more: Any) -> str:
    signals = {"inertial": [SIGNALS[row] for row in rows]}
    ids = [f"c{row}" for row in rows]
    return write_features(path, clip_ids=ids, signals=signals, attributes=FACTS, dataset="d", **more)


def test_each_clip_has_its_own_length_and_the_rate_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "imu.h5"
    assert write(path, [0, 1, 2, 3]) == check_store(path)
    store = pickle.loads(pickle.dumps(read_features(path)))
    assert [store.signal("inertial", row).shape for row in range(4)] == [(5, 6), (0, 6), (3, 6), (8, 6)]
    np.testing.assert_array_equal(store.signal("inertial", 3), SIGNALS[3])
    facts = store.signal_attributes("inertial")
    assert (facts["rate_hz"], facts["units"], facts["channels"]) == (50.0, "g, deg/s", 6)
    assert (store.signal_names, store.features, store.dataset) == (("inertial",), {}, "d")


def test_shards_merged_equal_one_file(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5", [0, 1, 2, 3])
    write(tmp_path / "a.h5", [3, 0])
    write(tmp_path / "b.h5", [1, 2])
    assert merge_stores([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "merged.h5") == whole


def test_vectors_and_signals_stand_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", [0, 2], features={"pooled": np.ones((2, 8))})
    store = read_features(tmp_path / "f.h5")
    assert store.features["pooled"].shape == (2, 8)
    assert store.signal_names == ("inertial",)


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ([np.zeros((3, 6))], "signal 's' has 1 rows, wanted one for each of 2 clips"),
        ([np.zeros((3, 6)), np.zeros((3, 5))], r"signal 's' has rows of shape .*, wanted \(T, C\) of one C"),
        ([np.zeros((3, 6)), np.zeros(6)], r"wanted \(T, C\) of one C"),
        ([np.zeros((3, 6)), np.full((2, 6), np.nan)], "signal 's' holds NaN or infinity"),
    ],
)
def test_signals_that_do_not_fit_are_named(tmp_path: Path, signals: list[np.ndarray], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        write_features(tmp_path / "f.h5", clip_ids=["a", "b"], signals={"s": signals})
    assert not (tmp_path / "f.h5").exists()


def test_nothing_and_a_name_used_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="would hold no feature"):
        write_features(tmp_path / "f.h5", clip_ids=["a"])
    both = {"features": {"s": np.ones((1, 2))}, "signals": {"s": [np.ones((3, 2))]}}
    with pytest.raises(StoreError, match="'s' is both a feature and a signal"):
        write_features(tmp_path / "f.h5", clip_ids=["a"], **both)


def test_a_signal_that_is_not_there_is_named_and_no_table_is_made_of_one(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", [0, 2])
    with pytest.raises(StoreError, match=r"holds no signal 'audio' \(it has: inertial\)"):
        read_features(tmp_path / "f.h5").signal("audio", 0)
    with pytest.raises(StoreError, match=r"holds signals \(inertial\), which are no columns"):
        export(console=TerminalConsole(quiet=True), path=tmp_path / "f.h5", out=tmp_path / "f.npz")
