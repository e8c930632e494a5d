"""The program runs where mg is not installed, and what it writes is what the page on the format asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from mg_scores_only.program import main
from mg_scores_only.store import taint_keys, write_logits


def table(path: Path, rows: list[tuple[str, str, float, float]]) -> Path:
    lines = ["clip_id,label,x,y", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [(f"t{n}", "ab"[n % 2], 4 * (n % 2) + float(rng.normal()), float(rng.normal())) for n in range(40)]
    table(tmp_path / "train.csv", rows)
    table(tmp_path / "clips.csv", [("z", "", 4.1, 0.0), ("é", "", -0.2, 0.1), ("m", "", 3.8, 0.0)])
    (tmp_path / "classes.txt").write_text("a\nb\n")
    words = [str(tmp_path / "train.csv"), str(tmp_path / "clips.csv"), "-o", str(tmp_path / "out.h5")]
    assert main([*words, "--classes", str(tmp_path / "classes.txt"), "--dataset", "d"]) == 0
    return tmp_path / "out.h5"


def test_it_imports_nothing_of_mg() -> None:
    text = "import sys, mg_scores_only.program; print([n for n in sys.modules if n.startswith('mg_')])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "mg_data" not in done.stdout
    assert "mg_fusion" not in done.stdout


def test_scores_are_those_of_the_clip(written: Path) -> None:
    with h5py.File(written) as file:
        ids = file["index/clip_id"].asstr()[()].tolist()
        answers = file["logits/values"][()].argmax(axis=1)
        assert dict(zip(ids, answers.tolist())) == {"z": 1, "é": 0, "m": 1}
        assert file["taint/trained_on"].shape == (40,)
        assert file["taint/trained_on"][()].tolist() == taint_keys("d", [f"t{n}" for n in range(40)]).tolist()
    assert [path.name for path in written.parent.glob(".*")] == []


def test_another_order_of_rows_has_the_same_digest(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    digests = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):
        path = tmp_path / f"{number}.h5"
        write_logits(
            path,
            clip_ids=["abc"[row] for row in order],
            values=values[order],
            class_names=["no", "yes"],
            dataset="d",
            model="m",
            modality="t",
            trained_on=["x"],
        )
        with h5py.File(path) as file:
            digests.append(file.attrs["mg_content_digest"])
    assert digests[0] == digests[1]


def test_a_table_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.csv").write_text("clip_id,label,x\na,b,one\n")
    (tmp_path / "classes.txt").write_text("b\n")
    words = [str(tmp_path / "bad.csv"), str(tmp_path / "bad.csv"), "-o", str(tmp_path / "o.h5")]
    assert main([*words, "--classes", str(tmp_path / "classes.txt"), "--dataset", "d"]) == 1
    assert "bad.csv, line 2: could not convert string to float: 'one'" in capsys.readouterr().err
    assert not (tmp_path / "o.h5").exists()
