"""The main job, end to end, on a synthetic corpus: run, skip what is done, survive being killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import mg, tiny_run

from mg_data.store import check_store, read_split

KINDS = ("clips", "split", "streams", "logits", "probs", "pseudo")


def _rows(folder: Path) -> dict[str, dict[str, float]]:
    scores = json.loads((folder / "metrics.json").read_text())["scores"]
    wanted = ("accuracy", "macro_f1", "ece")
    return {name: {key: row[key] for key in wanted if key in row} for name, row in scores.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "demo"
    done = mg(*tiny_run(folder))
    lines = done.stdout.strip().splitlines()
    assert lines[-2].endswith("report.html")
    assert lines[-1].endswith("submission.zip")
    return folder


@pytest.mark.slow
def test_a_run_leaves_everything_it_promises(finished: Path) -> None:
    for name in ("report.html", "submission.zip", "metrics.json", "run.json", "round1/fusion.json"):
        assert (finished / name).stat().st_size > 0
    rows = _rows(finished)
    branches = [branch["name"] for branch in json.loads((finished / "run.json").read_text())["branches"]]
    assert len(branches) == 4
    for name in [*branches, "single-best", "equal-weight", "fused"]:
        assert {f"{name}/before", f"{name}/after"} <= rows.keys()
    stores = list(finished.rglob("*.h5"))
    assert len(stores) > 15
    for path in stores:
        check_store(path)
    assert not list(finished.rglob("*.tmp"))


@pytest.mark.slow
def test_no_store_of_a_run_carries_a_target_label(finished: Path) -> None:
    split = read_split(finished / "data" / "split.h5")
    assert set(split.labels[split.names == "target"].tolist()) == {-1}
    import h5py

    for path in finished.rglob("target-*.h5"):
        with h5py.File(path) as file:
            assert "index/label" not in file or set(file["index/label"][()].tolist()) == {-1}


@pytest.mark.slow
def test_a_second_run_does_nothing_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.h5")}
    done = mg(*tiny_run(finished))
    assert "started" not in done.stderr
    assert done.stderr.count("unchanged, skipped") > 20
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.h5")}


@pytest.mark.slow
def test_fitting_on_what_a_model_has_seen_is_refused(finished: Path) -> None:
    name = json.loads((finished / "run.json").read_text())["branches"][0]["name"]
    checkpoint = finished / "round2" / f"{name}.safetensors"
    record = json.loads((finished / "steps" / f"round2.predict-target-{name}.json").read_text())
    val = finished.parent / "val.h5"
    split = finished / "data" / "split.h5"
    mg(
        "predict",
        checkpoint,
        "--data",
        record["params"]["data"],
        "--split",
        split,
        "--subset",
        "val",
        "-o",
        val,
    )
    target = finished / "round2" / f"target-{name}.h5"
    out = finished.parent / "p.h5"
    done = mg("fuse", target, "--fit", val, "--labels", split, "-o", out, code=5)
    assert "trained on" in done.stderr
    assert "--allow-tainted" in done.stderr
    assert not out.exists()
    mg("fuse", target, "--fit", val, "--labels", split, "-o", out, "--allow-tainted")
    assert "tainted" in (finished.parent / "fusion.json").read_text()


@pytest.mark.extended
@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_table(finished: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    folder = tmp_path / "killed"
    words = [sys.executable, "-m", "mg_data", *map(str, tiny_run(folder))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True
        )
        try:
            process.communicate(timeout=rng.uniform(4, 16))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(1.0)
            for path in folder.rglob("*.h5"):
                if not path.name.startswith("."):
                    check_store(path)
            continue
        assert process.returncode == 0
        break
    assert kills >= 3
    mg(*tiny_run(folder))
    assert _rows(folder) == _rows(finished)
    fused = "round2/target-fused.h5"
    assert check_store(folder / fused) == check_store(finished / fused)
