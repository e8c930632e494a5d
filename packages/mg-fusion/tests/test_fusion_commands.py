"""What ``mg fuse``, ``mg score`` and ``mg submit`` write, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_toys import CLASSES, DATASET, Talk, toy_scores, write_toy

from mg_data.contract import DataError, StoreError, TaintError, UsageError
from mg_data.labels import read_labels, write_labels
from mg_data.store import Taint, clip_keys, read_logits, read_probs, write_probs, write_pseudo, write_split
from mg_fusion import SoftVote, classification_metrics, soft_vote
from mg_fusion.commands.calibrate import calibrate
from mg_fusion.commands.compare import compare
from mg_fusion.commands.fuse import fuse, parse_weights
from mg_fusion.commands.score import score
from mg_fusion.commands.submit import submit
from mg_fusion.submission import write_submission


def test_without_options_all_models_have_one_weight_at_tau_1(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    result = fuse(console=Talk(), stores=paths, out=tmp_path / "probs.h5")
    logits, _ = toy_scores(60, (1.0, 2.0, 3.0))
    probs = read_probs(tmp_path / "probs.h5")
    np.testing.assert_allclose(probs.values, soft_vote(logits, [1, 1, 1], 1.0), atol=1e-5)
    assert result.data["temperature"] == 1.0
    assert probs.provenance.inputs.keys() == {"heat", "joint", "rgb"}
    assert probs.provenance.inputs["rgb"] == read_logits(paths[2]).digest
    assert not (tmp_path / "fusion.json").exists()


def test_fit_writes_parameters_beside_the_result_and_params_reuses_them(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val", seed=1)
    target, _ = write_toy(tmp_path, "target", seed=2)
    fitted = fuse(console=Talk(), stores=target, out=tmp_path / "a" / "probs.h5", fit=val, labels=labels)
    params = tmp_path / "a" / "fusion.json"
    vote = SoftVote.load(params)
    again = fuse(console=Talk(), stores=target, out=tmp_path / "b.h5", params=params)
    assert again.data["digest"] == fitted.data["digest"]
    assert again.data["weights"] == vote.weights
    assert vote.class_names == CLASSES
    assert vote.fitted_on["clips"] == 60
    assert vote.taint["state"] == "known"
    first = read_probs(tmp_path / "b.h5")
    assert set(first.taint.selected_on) == set(clip_keys(DATASET, [f"val{n:03d}" for n in range(60)]))
    assert first.labels is None
    assert "beside" not in fitted.text
    assert "best single rgb" in fitted.text


def test_parameters_are_reused_at_another_temperature(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val", seed=1)
    target, _ = write_toy(tmp_path, "target", seed=2)
    fitted = fuse(console=Talk(), stores=target, out=tmp_path / "a.h5", fit=val, labels=labels)
    vote = SoftVote.load(tmp_path / "fusion.json")
    warmest = vote.search["calibrated_temperature"]
    assert f"NLL lowest at tau {warmest:g}" in fitted.text
    params = tmp_path / "fusion.json"
    again = fuse(console=Talk(), stores=target, out=tmp_path / "b.h5", params=params, temperature=warmest)
    assert again.data["temperature"] == warmest
    assert again.data["weights"] == vote.weights
    # What the search found is of its own tau.
    assert again.data["value"] is None
    assert "settings are as good" not in again.text
    found = read_probs(tmp_path / "b.h5")
    logits = [read_logits(path).values.astype(float) for path in sorted(target)]
    wanted = soft_vote(logits, [vote.weights[key] for key in sorted(vote.weights)], warmest)
    np.testing.assert_allclose(found.values, wanted, atol=1e-6)
    assert set(found.taint.selected_on) == set(read_probs(tmp_path / "a.h5").taint.selected_on)
    with pytest.raises(UsageError, match="--params holds the weights; leave --weights out"):
        fuse(console=Talk(), stores=target, out=tmp_path / "c.h5", params=params, weights=["1", "1", "1"])


def test_fit_alone_needs_a_place_for_its_parameters(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    result = fuse(console=Talk(), fit=val, labels=labels, params_out=tmp_path / "p.json", temperature=2.5)
    assert SoftVote.load(tmp_path / "p.json").temperature == 2.5
    assert result.data["out"] is None
    with pytest.raises(UsageError, match="--params-out"):
        fuse(console=Talk(), fit=val, labels=labels)


def test_fit_takes_labels_from_a_split_and_groups_clips_by_subject(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    truth = read_labels(labels)
    split = tmp_path / "split.h5"
    write_split(
        split,
        dataset=DATASET,
        clip_ids=list(truth),
        names=["val"] * 60,
        labels=list(truth.values()),
        class_names=CLASSES,
        subject_ids=[f"s{n % 7}" for n in range(60)],
    )
    fuse(console=Talk(), fit=val, labels=split, params_out=tmp_path / "p.json", temperature=1.0)
    search = SoftVote.load(tmp_path / "p.json").search
    assert search["grouped_by"] == "subject"
    assert search["interval"]["groups"] == 7


def test_fit_without_labels_of_all_its_clips_is_refused(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    with pytest.raises(DataError, match="carry no labels; give --labels"):
        fuse(console=Talk(), fit=val, params_out=tmp_path / "p.json")
    truth = read_labels(labels)
    write_labels(tmp_path / "part.csv", list(truth)[:-1], list(truth.values())[:-1], CLASSES)
    with pytest.raises(DataError, match="no label for 1 of 60 clips to fit on, the first is 'val059'"):
        fuse(console=Talk(), fit=val, labels=tmp_path / "part.csv", params_out=tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


def test_labels_of_another_numbering_are_refused(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    truth = read_labels(labels)
    write_labels(tmp_path / "off.csv", truth, truth.values(), [*CLASSES[1:], CLASSES[0]])
    with pytest.raises(StoreError, match="the labels follow another class list"):
        fuse(console=Talk(), fit=val, labels=tmp_path / "off.csv", params_out=tmp_path / "p.json")


def test_fitting_on_clips_a_model_was_trained_on_is_refused_unless_written_down(tmp_path: Path) -> None:
    seen = clip_keys(DATASET, [f"val{n:03d}" for n in range(12)])
    val, labels = write_toy(tmp_path, "val", branches=("heat",), strengths=(1.0,))
    more, _ = write_toy(tmp_path, "val", branches=("rgb",), strengths=(1.0,), trained_on=seen)
    stores = [*val, *more]
    with pytest.raises(
        TaintError, match=r"of the 60 clips to fit on, model 'rgb' was trained on 12 of them"
    ) as caught:
        fuse(console=Talk(), stores=stores, out=tmp_path / "x.h5", fit=stores, labels=labels)
    assert "--params fusion.json" in str(caught.value)
    assert "--allow-tainted" in str(caught.value)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "x.h5").exists()
    assert not (tmp_path / "fusion.json").exists()

    talk = Talk()
    fuse(console=talk, stores=stores, out=tmp_path / "x.h5", fit=stores, labels=labels, allow_tainted=True)
    assert any("too good to be true" in text for text in talk.warned)
    assert "'rgb' was trained on 12" in SoftVote.load(tmp_path / "fusion.json").taint["override"]
    config = read_probs(tmp_path / "x.h5").provenance.config
    assert "'rgb' was trained on 12" in config["taint"]["override"]
    again = Talk()
    fuse(console=again, stores=stores, out=tmp_path / "y.h5", params=tmp_path / "fusion.json")
    assert any("--allow-tainted" in text for text in again.warned)


def test_overlap_with_selection_is_a_warning_and_unknown_taint_is_recorded(tmp_path: Path) -> None:
    chosen = clip_keys(DATASET, ["val000", "val001"])
    val, labels = write_toy(tmp_path, "val", branches=("heat",), strengths=(1.0,), selected_on=chosen)
    more, _ = write_toy(
        tmp_path, "val", branches=("rgb",), strengths=(1.0,), trained_on=None, taint=Taint.unknown()
    )
    talk = Talk()
    fuse(console=talk, fit=[*val, *more], labels=labels, params_out=tmp_path / "p.json", temperature=1.0)
    assert any("'heat' was selected on 2 of the 60 clips" in text for text in talk.warned)
    taint = SoftVote.load(tmp_path / "p.json").taint
    assert taint["state"] == "unknown"
    assert taint["unknown"] == ["rgb"]
    assert taint["selected_on"] == {"heat": 2}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "no logit store was given"),
        ({"stores": ["a"]}, "give -o"),
        ({"fit": ["a"], "params": "p", "params_out": "q"}, "one of the two"),
        ({"stores": ["a"], "out": "o", "labels": "l"}, "belong to --fit"),
        ({"fit": ["a"], "weights": ["1"], "params_out": "q"}, "leave --weights out"),
        ({"stores": ["a"], "out": "o", "params": "p", "weights": ["1"]}, "leave --weights"),
        ({"fit": ["a"], "params_out": "q", "fuser": "majority"}, "not for 'majority'"),
        ({"stores": ["a"], "out": "o", "calibrate": "nll"}, "--calibrate belongs to --fit"),
        ({"stores": ["a"], "out": "o", "folds": 5, "weight_step": 0.1}, "--folds, --weight-step belong"),
        ({"stores": ["a"], "out": "o", "params": "p", "allow_tainted": True}, "--allow-tainted belongs"),
        ({"stores": ["a"], "out": "o", "params": "p", "fuser": "rank"}, "which 'rank' does not take"),
        ({"stores": ["a"], "out": "o", "temperature": 2.0, "fuser": "majority"}, "takes no --temperature"),
        ({"fit": ["a"], "fuser": "log-linear", "weight_step": 0.1}, "--weight-step belong"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=text):
        fuse(console=Talk(), **options)


@pytest.mark.parametrize("command", [fuse, score, calibrate, compare])
def test_videos_are_asked_of_groups_and_not_taken_for_the_subjects_of_a_split(command: Any) -> None:
    # Without --groups the subjects of the labels were the groups, and the result called them videos.
    a, b = Path("a"), Path("b")
    options: dict[Any, dict[str, Any]] = {
        fuse: {"fit": [a], "params_out": b},
        score: {"stores": [a], "intervals": True},
        calibrate: {"fit": a, "params_out": b},
        compare: {"first": a, "second": b},
    }
    with pytest.raises(UsageError, match=r"--group-by video belongs to --groups; give the clips store"):
        command(console=Talk(), labels=b, group_by="video", **options[command])


def test_folds_that_are_not_asked_for_warn_of_nothing(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    options: dict[str, Any] = {"labels": labels, "params_out": tmp_path / "p.json"}
    for folds in (0, 2):
        for fit in (
            lambda talk, n: fuse(
                console=talk, fit=val, fuser="log-linear", fuser_options={"folds": n}, **options
            ),
            lambda talk, n: calibrate(console=talk, fit=val[0], folds=n, **options),
        ):
            talk = Talk()
            fit(talk, folds)
            assert [text for text in talk.warned if "cross-fitted numbers" in text] == talk.warned
            assert len(talk.warned) == (folds > 1)


@pytest.mark.parametrize("notes", [3, ["heat"], "below", True])
def test_remarks_that_name_no_row_are_refused(tmp_path: Path, notes: Any) -> None:
    paths, labels = write_toy(tmp_path, "val")
    with pytest.raises(UsageError, match="--notes: wanted remarks by row name"):
        score(console=Talk(), stores=paths, labels=labels, notes=notes)


def test_no_command_writes_over_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mg_data.cli.main import run

    paths, labels = write_toy(tmp_path, "val")
    before = [read_logits(path).digest for path in paths]
    again, truth = str(tmp_path / "." / paths[0].name), str(labels)
    first, second = map(str, paths[:2])
    for words in (
        ["fuse", first, second, "-o", again],
        ["fuse", first, second, "-o", str(tmp_path / "p.h5"), "--fit", first, second, "--labels", truth,
         "--params-out", truth],
        ["calibrate", first, "-o", again, "--fit", first, "--labels", truth],
        ["compare", first, second, "--labels", truth, "-o", again],
        ["score", first, "--labels", truth, "-o", truth],
        ["submit", first, "-o", again],
        ["store", "to-scores", first, "-o", again, "--format", "npz"],
        ["store", "from-scores", first, "-o", again, "--format", "npz"],
    ):  # fmt: skip
        assert run(words) == 2, words
        assert "names to be read" in capsys.readouterr().err, words
    assert [read_logits(path).digest for path in paths] == before
    # What is written beside -o without being asked for is no option of the command's.
    with pytest.raises(UsageError, match=r"fusion\.json is where the parameters go"):
        fuse(console=Talk(), stores=paths, out=tmp_path / "fusion.json", fit=paths, labels=labels)


def test_cross_fitting_without_groups_is_said_to_be_no_honest_measure(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val", strengths=(1.0, 0.5, 0.5))
    given: dict[str, Any] = {
        "fit": val,
        "labels": labels,
        "params_out": tmp_path / "p.json",
        "temperature": 1.0,
    }
    talk = Talk()
    fuse(console=talk, **given)
    assert not talk.warned
    fuse(console=talk, folds=2, **given)
    assert any("the groups of the clips are unknown" in text for text in talk.warned)


def test_what_the_search_says_of_the_soft_vote_is_not_said_of_another_fuser(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val", strengths=(1.0, 0.5, 0.5))
    params = tmp_path / "p.json"
    told = fuse(console=Talk(), fit=val, labels=labels, params_out=params, temperature=1.0)
    assert "accuracy on 60 clips" in told.text
    told = fuse(console=Talk(), stores=val, params=params, out=tmp_path / "o.h5", fuser="log-mean")
    assert "accuracy on 60 clips" not in told.text


@pytest.mark.parametrize(
    "more",
    [{"search": {"note": "by hand"}}, {"search": {"interval": 3}}, {"baselines": {"models": {"heat": "?"}}}],
)
def test_parameters_written_by_hand_need_no_search_behind_them(tmp_path: Path, more: dict[str, Any]) -> None:
    paths, _ = write_toy(tmp_path, "val")
    hand = {
        "format": "mg-fusion",
        "version": 1,
        "temperature": 2,
        "weights": {"heat": 1, "joint": 2, "rgb": 0},
    }
    (tmp_path / "p.json").write_text(json.dumps({**hand, **more}))
    told = fuse(console=Talk(), stores=paths, out=tmp_path / "o.h5", params=tmp_path / "p.json")
    assert told.data["weights"]["joint"] == pytest.approx(2 / 3)
    assert "settings are as good" not in told.text


def test_weights_are_written_as_numbers_or_by_branch() -> None:
    assert parse_weights(["2", "1", "1"]) == parse_weights(["2,1,1"]) == parse_weights([2, 1, 1]) == [2, 1, 1]
    assert parse_weights(["a/b=2,c=1"]) == parse_weights({"a/b": 2, "c": 1}) == {"a/b": 2, "c": 1}
    assert parse_weights([]) is None
    for bad in (["a=1", "2"], ["x"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="weights"):
            parse_weights(bad)


def test_score_measures_logits_and_probs_by_clip_id(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target", shuffle=4)
    fuse(console=Talk(), stores=paths, out=tmp_path / "fused.h5")
    result = score(
        console=Talk(),
        stores=[*paths, tmp_path / "fused.h5"],
        labels=labels,
        out=tmp_path / "metrics.json",
        notes={"heat": "FAILING: floor 90 %"},
    )
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert data == result.data
    assert (data["format"], data["version"]) == ("mg-metrics", 1)
    assert list(data["scores"]) == ["heat", "joint", "rgb", "fused"]
    logits, truth = toy_scores(60, (1.0, 2.0, 3.0))
    expected = classification_metrics(soft_vote(logits[1:2], [1], 1.0), truth)
    row = data["scores"]["joint"]
    assert row["accuracy"] == expected.accuracy
    assert row["ece"] == pytest.approx(expected.ece, abs=1e-6)
    assert row["confusion"] == expected.confusion.tolist()
    assert row["digest"] == read_logits(paths[1]).digest
    assert row["per_class"][1]["name"] == CLASSES[1]
    assert "FAILING: floor 90 %" in result.text


def test_clips_without_truth_are_counted_and_left_out(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target")
    truth = read_labels(labels)
    write_labels(tmp_path / "part.csv", list(truth)[:50], list(truth.values())[:50], CLASSES)
    talk = Talk()
    result = score(console=talk, stores=paths[:1], labels=tmp_path / "part.csv")
    assert result.data["scores"]["heat"]["n"] == 50
    assert result.data["scores"]["heat"]["unlabelled"] == 10
    assert "10 clips have no label" in talk.warned[0]
    write_labels(tmp_path / "none.csv", ["other"], [0], CLASSES)
    with pytest.raises(DataError, match="none of its 60 clips has a label"):
        score(console=talk, stores=paths[:1], labels=tmp_path / "none.csv")


def write_some_pseudo(path: Path, candidates: int) -> None:
    logits, _ = toy_scores(60, (1.0, 2.0, 3.0))
    write_pseudo(
        path,
        clip_ids=[f"target{n:03d}" for n in range(30)],
        labels=logits[2].argmax(axis=1)[:30],
        confidence=np.full(30, 0.9),
        votes=np.zeros((30, 1), dtype=np.int32),
        model_names=["rgb"],
        class_names=CLASSES,
        threshold=0.65,
        temperature=1.0,
        round=1,
        candidates=candidates,
    )


def test_pseudo_labels_have_yield_and_precision(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target")
    write_some_pseudo(tmp_path / "pseudo.h5", 60)
    row = score(console=Talk(), stores=[*paths, tmp_path / "pseudo.h5"], labels=labels).data["scores"][
        "pseudo"
    ]
    logits, truth = toy_scores(60, (1.0, 2.0, 3.0))
    right = (logits[2].argmax(axis=1) == truth)[:30]
    assert row["yield"] == 0.5
    assert row["precision"] == pytest.approx(right.mean())
    assert sum(item["target"] for item in row["per_class"]) == 60
    selected = [item["yield"] * item["target"] for item in row["per_class"] if item["target"]]
    assert sum(selected) == pytest.approx(30)


def test_yield_without_a_number_of_target_clips_is_not_guessed(tmp_path: Path) -> None:
    _, labels = write_toy(tmp_path, "target")
    write_some_pseudo(tmp_path / "pseudo.h5", 0)
    talk = Talk()
    row = score(console=talk, stores=[tmp_path / "pseudo.h5"], labels=labels).data["scores"]["pseudo"]
    assert row["yield"] is None
    assert "--target-size" in talk.warned[0]
    sized = score(console=talk, stores=[tmp_path / "pseudo.h5"], labels=labels, target_size=120)
    assert sized.data["scores"]["pseudo"]["yield"] == 0.25
    assert "25.00" in sized.text


def test_rows_need_names_of_their_own(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target")
    with pytest.raises(UsageError, match="found 1 names, wanted 2"):
        score(console=Talk(), stores=paths[:2], labels=labels, names=["a"])
    with pytest.raises(UsageError, match="two rows are called 'heat'"):
        score(console=Talk(), stores=[paths[0], paths[0]], labels=labels)


def read_submission(path: Path) -> list[list[str]]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["submission.csv"]
        return list(csv.reader(io.StringIO(archive.read("submission.csv").decode())))


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Return a probs store of three clips that are answered 1, 0, 2."""
    path = tmp_path / "probs.h5"
    values = np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    write_probs(path, clip_ids=["0102_2", "0101_1", "0102_10"], values=values, class_names=["a", "b", "c"])
    return path


@pytest.mark.parametrize(("dialect", "header"), [("2025", [["Id", "Target"]]), ("2023", [])])
def test_submissions_follow_the_edition(
    tmp_path: Path, answers: Path, dialect: str, header: list[list[str]]
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("0102_10\n0101_1\n\n0102_2\n")
    submit(console=Talk(), probs=answers, out=tmp_path / "a.zip", dialect=dialect, ids=ids)
    assert read_submission(tmp_path / "a.zip") == [
        *header,
        ["0102_10", "2"],
        ["0101_1", "0"],
        ["0102_2", "1"],
    ]
    submit(console=Talk(), probs=answers, out=tmp_path / "b.zip", dialect=dialect, ids=ids)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0101_1\n0102_2\n", "1 answers are not wanted, the first is '0102_10'"),
        ("0101_1\n0102_2\n0102_10\n0103_1\n", "1 of 4 ids have no answer, the first is '0103_1'"),
        ("0101_1\n0102_2\n0101_1\n", "id '0101_1' is on line 1 and on line 3"),
        ("\n", "holds no id"),
    ],
)
def test_only_the_exact_set_of_ids_is_submitted(
    tmp_path: Path, answers: Path, text: str, reason: str
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(text)
    with pytest.raises(DataError, match=reason):
        submit(console=Talk(), probs=answers, out=tmp_path / "a.zip", ids=ids)
    assert not (tmp_path / "a.zip").exists()


def test_answers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside 0\.\.2, the first is 3"):
        write_submission(tmp_path / "a.zip", ["x", "y"], [0, 3], classes=3)
    with pytest.raises(UsageError, match="wanted one of 2025, 2023"):
        write_submission(tmp_path / "a.zip", ["x"], [0], classes=3, dialect="1999")


def test_a_file_that_is_no_store_ends_the_command_with_one_line_and_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mg_data.cli.main import run

    paths, labels = write_toy(tmp_path, "val")
    out = str(tmp_path / "probs.h5")
    assert run(["fuse", str(paths[0]), str(labels), "-o", out]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{labels}: is not an HDF5 file" in error
    assert not Path(out).exists()


def test_fit_takes_the_words_that_follow_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mg_data.cli.main import run

    val, labels = write_toy(tmp_path, "val")
    stores = [str(path) for path in val]
    out = str(tmp_path / "probs.h5")
    assert run(["fuse", *stores, "-o", out, "--fit", *stores, "--labels", str(labels), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == dict(
        SoftVote.load(tmp_path / "fusion.json").weights
    )
    assert run(["fuse", *stores, "-o", out, "--weights", "heat=1", "joint=2", "rgb=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"]["joint"] == 0.5
