"""Signals keep their physics on the way to the network, and files that do not fit are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mg_imu.importing import import_signals
from mg_imu.modality import Imu, write_example

from mg_data.contract import DataError, StoreError
from mg_data.store import ClipsWriter, read_features, write_features
from mg_data.testing import FakeConsole


def store(path: Path, values: Any, units: str = "g, deg/s", **facts: Any) -> Path:
    attributes = {"inertial": {"rate_hz": 50.0, "units": units, **facts}}
    write_features(path, clip_ids=["a"], signals={"inertial": [values]}, attributes=attributes)
    return path


def imported(source: Path, out: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {"dataset": "d", "rate_hz": 100.0, "units": "g, deg/s"}
    values.update(signal="inertial", suffix="_inertial")
    import_signals(source=source, out=out, console=FakeConsole(), **{**values, **changes})
    return read_features(out)


def test_one_g_is_one_in_whatever_unit_it_was_measured(tmp_path: Path) -> None:
    quiet = np.zeros((40, 6))
    quiet[:, 2], quiet[:, 3] = 1.0, 150.0
    metric = quiet * np.repeat([9.80665, np.pi / 180], 3)
    first = Imu(store(tmp_path / "a.h5", quiet)).sample("a", None)
    second = Imu(store(tmp_path / "b.h5", metric, units="m/s2, rad/s")).sample("a", None)
    np.testing.assert_allclose(first[2], 1.0)
    np.testing.assert_allclose(first[3], 1.0)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_turned_sensor_measures_the_same_gravity(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = store(tmp_path / "a.h5", rng.normal(size=(60, 6)) * np.repeat([1.0, 150.0], 3))
    still = Imu(path, crop=1.0, rotate_degrees=0, scale=0, warp=0, noise=0)
    turned = Imu(path, crop=1.0, rotate_degrees=180, scale=0, warp=0, noise=0)
    one, other = (modality.sample("a", np.random.default_rng(3)) for modality in (still, turned))
    assert np.abs(one - other).max() > 0.1
    for triplet in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(
            np.linalg.norm(one[triplet], axis=0), np.linalg.norm(other[triplet], axis=0), rtol=1e-5
        )
    np.testing.assert_array_equal(one, still.sample("a", None))


def test_seconds_go_by_the_rate(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(100.0)[:, None], 6, axis=1) * np.repeat([1.0, 150.0], 3)
    path = store(tmp_path / "a.h5", ramp)
    half = Imu(path, seconds=1.0, samples=50).sample("a", None)
    np.testing.assert_allclose(half[0], np.arange(25, 75), rtol=1e-5)
    longer = Imu(path, seconds=4.0, samples=200).sample("a", None)
    assert not longer[:, :49].any()
    assert not longer[:, 151:].any()


def test_units_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has the units 'furlongs'"):
        Imu(store(tmp_path / "a.h5", np.zeros((4, 6)), units="furlongs"))
    with pytest.raises(StoreError, match=r"holds no signal 'audio' \(it has: inertial\)"):
        Imu(write_example(tmp_path), signal="audio")


def test_mat_and_csv_files_become_one_store(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    values = np.arange(18.0).reshape(3, 6)
    savemat(tmp_path / "a1_s1_t1_inertial.mat", {"d_iner": values})
    (tmp_path / "b.csv").write_text("ax,ay,az,gx,gy,gz\n1,2,3,4,5,6\n7,8,9,10,11,12\n")
    found = imported(tmp_path, tmp_path / "imu.h5")
    assert found.clip_ids.tolist() == ["a1_s1_t1", "b"]
    np.testing.assert_array_equal(found.signal("inertial", 0), values)
    assert found.signal("inertial", 1).shape == (2, 6)
    assert found.signal_attributes("inertial")["rate_hz"] == 100.0
    assert found.dataset == "d"


def test_the_signal_of_a_clips_store_keeps_its_facts(tmp_path: Path) -> None:
    facts = {"rate_hz": 25.0, "units": "g, deg/s"}
    with ClipsWriter(
        tmp_path / "clips.h5", dataset="theirs", class_names=["nod"], signals={"inertial": facts}
    ) as writer:
        writer.add(
            clip_id="c", subject_id="s", video_id="v", start=0, stop=3, signals={"inertial": np.ones((9, 6))}
        )
    found = imported(tmp_path / "clips.h5", tmp_path / "imu.h5", dataset="")
    assert (found.dataset, found.signal_attributes("inertial")["rate_hz"]) == ("theirs", 25.0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no file of the kinds .mat, .csv"),
        ({"a.csv": "1,2\n", "a_inertial.csv": "1,2\n"}, "clip 'a' has a file already"),
        ({"a.csv": "1,2\n", "b.csv": "1,2,3\n"}, "b.csv: has 3 channels, the files before it 2"),
        ({"a.csv": "1,2\nx,3\n"}, "a.csv: is no csv of numbers"),
        ({"a.csv": "1,nan\n"}, "a.csv: holds values that are not finite"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        imported(tmp_path, tmp_path / "imu.h5")
