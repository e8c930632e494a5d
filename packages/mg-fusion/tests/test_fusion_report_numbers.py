"""Every figure of the report is that of metrics.json, or what mg score and mg fuse say of the same stores."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_toys import Talk, make_run, write_toy

from mg_fusion.calibration import expected_calibration_error
from mg_fusion.commands.fuse import fuse
from mg_fusion.commands.report import report
from mg_fusion.commands.score import score
from mg_fusion.commands.veto import diagnose_stores
from mg_fusion.report.run import open_run
from mg_fusion.report.sections import landscape, pseudo, subjects, vetoes
from mg_fusion.stores import fuse_stores
from mg_fusion.table import percent
from mg_fusion.truth import read_truth
from mg_fusion.vote import SoftVote

pytest.importorskip("jinja2")

BRANCHES = ("heat", "joint", "rgb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


class Marked(HTMLParser):
    """Collects the text of elements that bear a ``data-...`` attribute, the clips and the tips."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self.clips: dict[str, Any] = {}
        self.cells: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "input"):
            self._open.append((tag, {key: value or "" for key, value in attrs}))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, given in reversed(self._open[-2:]):
            for key, value in given.items():
                if key.startswith("data-"):
                    self.found.append((key, value, data.strip()))
        if self._open and self._open[-1][1].get("id") == "clips":
            self.clips = json.loads(data)
        if len(self._open) > 1 and self._open[-1][0] == "title" and "data-where" in self._open[-2][1]:
            self.cells[self._open[-2][1]["data-where"]] = data

    def of(self, key: str) -> dict[str, str]:
        """Return attribute value -> text; the first text counts."""
        return {value: text for name, value, text in reversed(self.found) if name == key and text}


@pytest.fixture(scope="module")
def marked(folder: Path) -> Marked:
    out = Path(report(console=Talk(), run=folder, embedding="pca").data["out"])
    parser = Marked()
    parser.feed(out.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["scores"]
    return found


def test_every_score_in_the_page_stands_in_metrics_json(marked: Marked, scores: dict[str, Any]) -> None:
    shown = [(value, text) for key, value, text in marked.found if key == "data-score" and text]
    assert len(shown) > 45
    for value, text in shown:
        row, field = value.split("|")
        wanted = f"{scores[row][field]:.3f}" if field == "nll" else percent(scores[row][field])
        assert text == wanted, value


def test_intervals_are_those_of_mg_score(marked: Marked, folder: Path) -> None:
    rows = [*BRANCHES, "equal-weight", "fused"]
    files = [folder / "round2" / f"target-{row.removesuffix('-weight')}.h5" for row in rows]
    measured = score(
        console=Talk(),
        stores=files,
        names=rows,
        labels=folder / "data" / "labels.csv",
        intervals=True,
        groups=folder / "data" / "split.h5",
    ).data["scores"]
    shown = marked.of("data-interval-of")
    for row in rows:
        wanted = measured[row]["intervals"]["accuracy"]
        assert shown[row] == f"{percent(wanted['low'])} to {percent(wanted['high'])}"
    assert shown["single-best"] == shown["rgb"]
    wanted = measured["fused"]["intervals"]["macro_f1"]
    assert marked.of("data-interval")["macro_f1"] == f"{percent(wanted['low'])} to {percent(wanted['high'])}"


def test_bands_are_those_of_mg_score_with_the_counts_of_training(marked: Marked, folder: Path) -> None:
    measured = score(
        console=Talk(),
        stores=[folder / "round2" / "target-fused.h5"],
        labels=folder / "data" / "labels.csv",
        counts=folder / "data" / "split.h5",
    ).data["scores"]["target-fused"]["groups"]
    shown = marked.of("data-band")
    assert {value.split("|")[0] for value in shown} == {"head", "medium", "tail"} == set(measured)
    for value, text in shown.items():
        band, field = value.split("|")
        assert text == percent(measured[band][field])


def test_cells_and_their_lists_are_the_confusion_of_metrics_json(
    marked: Marked, scores: dict[str, Any]
) -> None:
    columns = {column["key"]: column["values"] for column in marked.clips["columns"]}
    for row in ("fused/before", "fused/after"):
        counts = np.array(scores[row]["confusion"])
        listed = np.zeros_like(counts)
        np.add.at(listed, (columns["truth"], columns[row]), 1)
        assert np.array_equal(listed, counts)
        for truth, answer in np.argwhere(counts).tolist():
            tip = marked.cells[f"truth:{truth} {row}:{answer}"]
            assert f": {counts[truth, answer]} of {counts[truth].sum()}, " in tip
    assert len(marked.cells) == sum(
        int((np.array(scores[row]["confusion"]) > 0).sum()) for row in ("fused/before", "fused/after")
    )


def test_reliability_ends_at_the_error_of_metrics_json(
    marked: Marked, scores: dict[str, Any], folder: Path
) -> None:
    shown = marked.of("data-ece")
    assert shown["after"] == percent(scores["fused/after"]["ece"])
    vote = SoftVote.load(folder / "round1" / "fusion.json")
    plain = fuse_stores([folder / "round2" / f"target-{name}.h5" for name in BRANCHES], weights=vote.weights)
    labels = read_truth(folder / "data" / "labels.csv").of(plain.clip_ids)
    assert shown["before"] == percent(expected_calibration_error(plain.probs, labels))


def test_vetoes_are_those_of_mg_fuse_diagnose(marked: Marked, folder: Path, tmp_path: Path) -> None:
    vote = SoftVote.load(folder / "round1" / "fusion.json")
    wanted = diagnose_stores(
        [folder / "round2" / f"target-{name}.h5" for name in BRANCHES],
        dict(vote.weights),
        vote.temperature,
        tmp_path / "veto.csv",
        labels=folder / "data" / "labels.csv",
        model_temperatures={},
        missing="allow",
        console=Talk(),
    )
    shown = marked.of("data-veto")
    for value, text in shown.items():
        state, field = value.split("|")
        assert int(text) == wanted[state][field]
    with (tmp_path / "veto.csv").open(newline="") as handle:
        cases = list(csv.DictReader(handle))
    listed = vetoes.build(open_run(folder))["cases"]
    assert len(cases) == len(listed) > 0

    def key(case: dict[str, str]) -> list[str]:
        return [case[name] for name in ("clip_id", "temperature", "model", "confidence", "answer", "effect")]

    assert sorted(map(key, cases)) == sorted(map(key, listed))


def test_the_landscape_passes_through_the_setting_that_was_taken(folder: Path) -> None:
    found = landscape.build(open_run(folder))
    vote = SoftVote.load(folder / "round1" / "fusion.json")
    assert found["value"] == vote.value
    assert found["at_chosen"] == pytest.approx([vote.value] * 3, abs=1e-12)
    assert found["best"] == pytest.approx(vote.search["best"])


def test_people_together_make_the_accuracy(folder: Path, scores: dict[str, Any]) -> None:
    people = subjects.build(open_run(folder))["people"]
    assert [item["name"] for item in people] == ["s0", "s1", "s2", "s3", "s4"]
    right = sum(item["n"] * item["accuracy"] for item in people)
    assert right == pytest.approx(scores["fused/after"]["accuracy"] * scores["fused/after"]["n"])


def test_pseudo_labels_are_counted_as_mg_score_does(folder: Path, scores: dict[str, Any]) -> None:
    found = pseudo.build(open_run(folder))
    row = found["rows"][0]
    assert (row["yield"], row["precision"]) == (scores["pseudo"]["yield"], scores["pseudo"]["precision"])
    assert sum(item["n"] for item in found["agreement"]) == scores["pseudo"]["n"]
    right = sum(item["n"] * item["precision"] for item in found["agreement"])
    assert right == pytest.approx(scores["pseudo"]["n"] * scores["pseudo"]["precision"])


def test_a_run_moved_without_its_validation_logits_says_what_the_landscape_lacks(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    folder = tmp_path / "run"
    (folder / "round1" / "val-joint.h5").unlink()
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    section = re.search(r'<section id="landscape">.*?</section>', page, re.DOTALL)
    assert section is not None
    assert "the logits that the vote was fitted on are not in this run folder (joint)" in section[0]


@pytest.mark.parametrize(
    "how",
    [
        {"metric": "nll"},
        {"metric": "nll", "method": "newton"},
        {"metric": "macro_f1", "calibrate": "nll"},
        {"calibrate": "per-model"},
        {"method": "ascent"},
        {"temperature": 2.6},
    ],
)
@pytest.mark.parametrize("branches", [("rgb",), BRANCHES])
def test_the_landscape_of_every_search_holds_its_setting(
    tmp_path: Path, how: dict[str, Any], branches: tuple[str, ...]
) -> None:
    strengths = (1.5, 2.0, 2.5)[-len(branches) :]
    part = tmp_path / "round1"
    target, _ = write_toy(part, "target", clips=30, branches=branches, strengths=strengths)
    val, truth = write_toy(part, "val", clips=60, branches=branches, strengths=strengths, seed=6)
    (tmp_path / "data").mkdir()
    truth.rename(tmp_path / "data" / "labels.csv")
    fuse(
        console=Talk(),
        stores=target,
        out=part / "target-fused.h5",
        fit=val,
        labels=tmp_path / "data" / "labels.csv",
        **how,
    )
    found = landscape.build(open_run(tmp_path))
    vote = SoftVote.load(part / "fusion.json")
    assert found["at_chosen"] == pytest.approx([vote.value] * len(branches), abs=1e-9)
    assert all("<svg" in chart for chart in found["charts"])
