"""The report is one file that loads nothing, says what is missing, and lets no text become markup."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fusion_toys import Talk, make_run, write_toy

from mg_data.contract import UsageError
from mg_fusion.commands.fuse import fuse
from mg_fusion.commands.report import report
from mg_fusion.commands.score import score
from mg_fusion.report.embed import embed
from mg_fusion.report.page import inline_json
from mg_fusion.report.run import open_run
from mg_fusion.report.sections import SECTIONS, embedding

pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete run folder."""
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be damaged."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def page(run_folder: Path) -> str:
    """Return its report."""
    return Path(report(console=Talk(), run=run_folder, embedding="pca").data["out"]).read_text()


def test_a_complete_run_has_every_section(page: str) -> None:
    assert "Not shown" not in page
    for section in SECTIONS:
        assert f'<section id="{section.key}"><h2>{section.title}</h2>' in page
    assert "weight 0: left out" in page
    assert "FAILING: floor 60 %" in page
    assert "sha256:" in page
    assert "prefers-color-scheme: dark" in page
    assert "of whole subjects (5)" in page
    assert "Crosses are the 5 anchors" in page


def test_the_page_loads_nothing(page: str) -> None:
    links = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.findall(r"https?://|@import|url\(|\sstyle\s*=|\son\w+\s*=", page)


def test_the_policy_allows_just_the_style_and_script_of_the_page(page: str) -> None:
    import base64
    import hashlib

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    text = policy[1].replace("&#39;", "'")
    assert text.startswith("default-src 'none'; ")
    assert "unsafe" not in text
    for kind in ("style", "script"):
        inline = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert inline is not None
        digest = base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in text


def test_texts_of_the_data_are_escaped(page: str) -> None:
    assert "toy &lt;run&gt;" in page
    assert "touch &lt;ear&gt; &amp; nose" in page
    assert "<ear>" not in page
    assert "<run>" not in page


def test_no_text_can_end_the_script_that_holds_the_data() -> None:
    text = inline_json(["</script><script>alert(1)</script>", "<!--", "\u2028"])
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)[0].startswith("</script>")


def test_an_empty_folder_gets_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page = Path(report(console=Talk(), run=tmp_path).data["out"]).read_text()
    assert page.count("Not shown") == len(SECTIONS)
    for reason in (
        "metrics.json is not in this run folder",
        "run.json is not in this run folder",
        "fusion.json is not in this run folder: temperature and weights were not fitted",
        "labels.csv is not in this run folder",
        "pseudo.h5 is not in this run folder: no pseudo-labels were made",
        "there are no training logs (round*/&lt;branch&gt;.log.jsonl)",
        "there is no feature store in this run folder",
        "there are no stores in this run folder",
        "no subject or video of the clips is known",
    ):
        assert reason in page, reason


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "metrics.json",
        "round1/fusion.json",
        "round1/pseudo.h5",
        "round2/target-fused.h5",
        "data/labels.csv",
        "data/split.h5",
    ],
)
def test_a_damaged_part_is_said_and_the_rest_is_shown(folder: Path, name: str) -> None:
    (folder / name).write_text("{broken")
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    assert 'id="provenance"' in page
    assert "training loss" in page
    assert page.count("Not shown") + page.count('class="text bad"') >= 1


@pytest.mark.parametrize(
    ("change", "section"),
    [
        (lambda row: row.pop("confusion"), "confusion"),
        (lambda row: row.update(per_class="none"), "classes"),
        (lambda row: row.update(accuracy="high"), "headline"),
    ],
)
def test_garbled_metrics_cost_their_section_alone(folder: Path, change: object, section: str) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("fused/after", "fused/before"):
        change(metrics["scores"][name])  # type: ignore[operator]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    found = re.search(rf'<section id="{section}">.*?</section>', page, re.DOTALL)
    assert found is not None
    assert "Not shown: could not be read" in found[0]
    assert "Not shown" not in page[page.index('<section id="training">') :]


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
@pytest.mark.parametrize("junk", [3, {"a": 1}])
def test_no_junk_in_a_file_of_the_run_stops_the_page(folder: Path, name: str, junk: object) -> None:
    (folder / name).write_text(json.dumps(dict.fromkeys(json.loads((folder / name).read_text()), junk)))
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    assert "Not shown" in page
    assert "training loss" in page


def test_scores_that_changed_since_they_were_measured_are_not_listed(folder: Path, tmp_path: Path) -> None:
    other, _ = write_toy(tmp_path / "other", "target", clips=120, seed=9)
    fuse(console=Talk(), stores=other, out=folder / "round2" / "target-fused.h5")
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    assert "target-fused.h5 is not the file that row fused/after of metrics.json measured" in page


def section_of(page: str, key: str) -> str:
    """Return the text of a section, without its elements."""
    found = re.search(rf'<section id="{key}">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]*>", " ", found[1]).split())


def test_a_branch_that_changed_since_it_was_measured_is_in_no_section(folder: Path) -> None:
    write_toy(folder / "round2", "target", clips=120, strengths=(0.0, 0.0, 0.0), seed=7)
    (folder / "round1" / "pseudo.h5").write_bytes((folder / "round2" / "target-rgb.h5").read_bytes())
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    reason = "target-heat.h5 is not the file that row heat/after of metrics.json measured"
    for key in ("reliability", "vetoes"):
        assert f"Not shown: {reason}" in section_of(page, key), key
    # What metrics.json says is shown, what only the store could say is not.
    pseudo = section_of(page, "pseudo")
    assert "as trained on 60 120 50.00" in pseudo
    assert "What they are made of is not shown: pseudo.h5 is not the file that row pseudo of metr" in pseudo
    assert "Agreement" not in pseudo


def test_a_vote_is_explained_with_all_its_models_and_without_those_beside_it(folder: Path) -> None:
    fusion = json.loads((folder / "round1" / "fusion.json").read_text())
    assert fusion["weights"].pop("heat") == 0
    (folder / "round1" / "fusion.json").write_text(json.dumps(fusion))
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    for key in ("reliability", "vetoes"):
        assert "Not shown" not in section_of(page, key), key
    metrics = json.loads((folder / "metrics.json").read_text())
    for when in ("before", "after"):
        del metrics["scores"][f"rgb/{when}"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    for key in ("reliability", "vetoes"):
        assert "Not shown: the target logits of rgb, to which the vote gives weight" in section_of(page, key)


def test_what_intervals_are_over_is_said_of_those_of_mg_score_too(folder: Path) -> None:
    videos = folder / "videos.csv"
    videos.write_text(
        "\n".join(["clip_id,group", *(f"target{index:03d},v{index % 4}" for index in range(120))])
    )

    def said(groups: Path | None) -> str:
        score(
            console=Talk(),
            stores=[folder / "round2" / "target-fused.h5", folder / "round1" / "target-fused.h5"],
            names=["fused/after", "fused/before"],
            labels=folder / "data" / "labels.csv",
            out=folder / "metrics.json",
            intervals=True,
            groups=groups,
        )
        page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
        found = re.search(r"1000 bootstrap resamples of (.*?)\. McNemar", section_of(page, "headline"))
        assert found is not None
        return found[1]

    few = "; of so few, they are rough"
    assert said(None) == "clips (120); those of the gains of whole subjects (5)"
    assert said(videos) == f"whole groups (4){few}; those of the gains of whole subjects (5)"
    assert said(folder / "data" / "split.h5") == f"whole subjects (5){few}"
    (folder / "data" / "split.h5").unlink()
    assert said(None) == "clips (120), as no subject or video is known"
    assert said(videos) == f"whole groups (4){few}; those of the gains of clips (120)"


def test_a_run_folder_that_was_moved_is_read_in_its_new_place(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "moved")
    page = Path(report(console=Talk(), run=tmp_path / "moved", embedding="pca").data["out"]).read_text()
    assert "Not shown" not in page


def test_a_run_without_pseudo_labels_shows_one_column(tmp_path: Path) -> None:
    target, truth = write_toy(tmp_path, "target")
    fused, equal = tmp_path / "fused.h5", tmp_path / "equal.h5"
    fuse(console=Talk(), stores=target, out=fused, weights=["1", "2", "3"])
    fuse(console=Talk(), stores=target, out=equal)
    names = ["heat/before", "joint/before", "rgb/before", "fused/before", "equal-weight/before"]
    score(
        console=Talk(),
        stores=[*target, fused, equal],
        names=names,
        labels=truth,
        out=tmp_path / "metrics.json",
    )
    page = Path(report(console=Talk(), run=tmp_path).data["out"]).read_text()
    results = page[page.index('<section id="results">') : page.index('<section id="branches">')]
    assert "<th>before</th>" in results
    assert "<th>after</th>" not in results
    assert "Not shown" not in results


def test_something_else_than_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the run folder"):
        report(console=Talk(), run=tmp_path / "absent")


def test_an_anchor_stands_where_its_features_are(run_folder: Path) -> None:
    run = open_run(run_folder, "pca")
    plot = embedding.build(run)["plots"][0]
    assert (plot["anchors"], plot["clips"], plot["dimensions"]) == (5, 120, 8)
    assert plot["remark"] == ""
    # The toy's features are their anchors and a little noise.
    assert plot["near"]["own"] == 1.0
    assert 0.9 < plot["near"]["cosine"] < 1.0


def test_features_without_their_checkpoint_say_why_there_are_no_anchors(folder: Path) -> None:
    (folder / "round2" / "rgb.safetensors").unlink()
    page = Path(report(console=Talk(), run=folder, embedding="pca").data["out"]).read_text()
    assert "No anchors: the checkpoint that made the features is not in this run folder" in page


def test_the_plane_of_pca_keeps_the_directions_of_largest_spread() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 6)) * np.array([9.0, 4.0, 0.1, 0.1, 0.1, 0.1])
    plane = embed(values, values[:2], "pca")
    assert plane.points.std(axis=0) == pytest.approx(values.std(axis=0)[:2], rel=1e-2)
    # An anchor is moved like a feature.
    assert plane.anchors == pytest.approx(plane.points[:2])


@pytest.mark.slow
def test_t_sne_keeps_groups_apart_and_draws_the_same_twice() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=(30, 5)) * 0.1 + 5 * place for place in range(2)])
    plane, again = (embed(values, np.eye(5)[:1] - 1, "tsne") for _ in range(2))
    assert np.array_equal(plane.points, again.points)
    first, second = plane.points[:30], plane.points[30:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 2 * max(first.std(), second.std())
    # All components of the second group are large, the anchor points the other way: it stands amid the first.
    assert np.linalg.norm(plane.anchors[0] - first.mean(axis=0)) < apart / 2
