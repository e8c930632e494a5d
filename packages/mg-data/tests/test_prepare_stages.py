"""The stages of ``mg data`` one after another, on a small synthetic corpus."""

from __future__ import annotations

import csv
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, PluginError, UsageError
from mg_data.labels import read_labels
from mg_data.plugins import resolve
from mg_data.prepare.importing import import_data
from mg_data.prepare.records import COMMANDS, STAGES
from mg_data.prepare.stats import imbalance_ratio, stats
from mg_data.prepare.synth import synth
from mg_data.store import open_clips

pytest.importorskip("cv2")
pytest.importorskip("av")
QUIET = TerminalConsole(quiet=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/, clips.h5 and labels.csv: 10 clips of 3 subjects."""
    root = tmp_path_factory.mktemp("stages")
    synth(
        out=root / "corpus", clips=10, subjects=3, videos_per_subject=1, size="96x128", seed=2, console=QUIET
    )
    import_data(
        name="synthetic",
        source=root / "corpus",
        out=root / "clips.h5",
        labels=root / "labels.csv",
        console=QUIET,
    )
    return root


@pytest.mark.parametrize("spec", [*STAGES, *COMMANDS], ids=lambda spec: spec.path[-1])
def test_a_record_and_its_function_name_the_same_parameters(spec: Any) -> None:
    parameters = inspect.signature(resolve(spec.factory)).parameters
    assert [param.name for param in spec.params if param.name not in parameters] == []
    assert set(parameters) == {param.name for param in spec.params} | {"console"}
    for param in spec.params:
        default = parameters[param.name].default
        assert param.required == (default is inspect.Parameter.empty)
        assert param.required or param.default == default


def test_import_keeps_labels_beside_the_store(work: Path) -> None:
    clips = open_clips(work / "clips.h5")
    labels = read_labels(work / "labels.csv")
    assert set(labels) == set(clips.clip_ids.tolist())
    assert clips.dataset == "synthetic"
    assert clips.layout == "openpose-137"
    assert clips.image_size == (128, 96)
    for row, clip_id in enumerate(clips.clip_ids):
        video_id, number = str(clip_id).split("_")
        lines = list(csv.reader((work / "corpus" / video_id / f"{video_id}_label.csv").open()))
        raw, first, last = (int(value) for value in lines[int(number)])
        assert labels[str(clip_id)] == (31 if raw == 99 else raw - 1)
        assert (clips.start[row], clips.stop[row]) == (first, last + 1)
        assert len(clips.joints(row)) == last + 1 - first


def test_a_failed_import_leaves_nothing_and_keeps_what_was_there(work: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "clips.h5", tmp_path / "labels.csv"
    labels.write_text("old")
    wrong: dict[str, Any] = {"source": work / "corpus", "out": out, "labels": labels, "console": QUIET}
    with pytest.raises(PluginError, match="did you mean 'synthetic'"):
        import_data(name="sinthetic", **wrong)
    with pytest.raises(UsageError, match=r"has no option 'label' \(did you mean 'labels'\?\)"):
        import_data(name="synthetic", options={"label": "raw"}, **wrong)
    with pytest.raises(UsageError, match="'synthetic': option whole is 'False', wanted true or false"):
        import_data(name="synthetic", options={"whole": "False"}, **wrong)
    with pytest.raises(DataError, match="outside the convention labels=challenge"):
        import_data(name="synthetic", options={"labels": "challenge"}, **wrong)
    with pytest.raises(DataError, match="does not exist"):
        import_data(name="synthetic", **{**wrong, "source": tmp_path / "none"})
    (tmp_path / "broken" / "0001").mkdir(parents=True)
    (tmp_path / "broken" / "0001" / "0001_label.csv").write_text("1,0,5\n")
    broken = {**wrong, "source": tmp_path / "broken"}
    with pytest.raises(DataError, match=r"0001_openpose\.xlsx: does not exist"):
        import_data(name="synthetic", **broken)
    with pytest.raises(
        DataError, match="not one clip of 'synthetic' could be imported, the first reason: 0001"
    ):
        import_data(name="synthetic", keep_going=True, **broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "labels.csv"]
    assert labels.read_text() == "old"


def test_stats_count_and_draw(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = stats(
        clips=work / "clips.h5", labels=work / "labels.csv", plot=tmp_path / "tail.png", console=QUIET
    )
    truth = list(read_labels(work / "labels.csv").values())
    assert result.data["clips_by_class"]["all"] == np.bincount(truth, minlength=32).tolist()
    assert sum(result.data["clips_by_subject"].values()) == 10
    assert result.data["imbalance_ratio"]["all"] == imbalance_ratio(np.bincount(truth))
    assert (tmp_path / "tail.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="give --labels or --split"):
        stats(clips=work / "clips.h5", plot=tmp_path / "x.png", console=QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "97x128"}, "--size is '97x128', wanted HEIGHTxWIDTH"),
        ({"size": "big"}, "--size is 'big'"),
        ({"clips": 0}, "--clips is 0, wanted 1 to"),
        ({"classes": 33}, "--classes is 33, wanted 1 to 32"),
    ],
)
def test_synth_refuses_values_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        synth(out=tmp_path / "c", console=QUIET, **options)
    assert list(tmp_path.iterdir()) == []
