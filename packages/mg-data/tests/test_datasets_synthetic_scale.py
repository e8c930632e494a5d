"""The corpus by scale: the challenge's counts, people, lists and protocol, and the files it is made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_data.cli.console import TerminalConsole
from mg_data.contract import StageResult, StoreError, UsageError
from mg_data.datasets.imigue.files import read_openpose_xlsx
from mg_data.datasets.imigue.importer import import_imigue
from mg_data.datasets.synthetic.corpus import Scenario, expected_bytes, write_corpus
from mg_data.datasets.synthetic.plan import (
    TEST_CLIPS,
    TRAIN_COUNTS,
    VAL_COUNTS,
    CorpusPlan,
    plan_videos,
    scaled_counts,
)
from mg_data.datasets.synthetic.skeleton import light_hand
from mg_data.prepare.importing import import_data
from mg_data.prepare.split import split
from mg_data.prepare.synth import synth
from mg_data.store import open_clips, read_split

pytest.importorskip("python_calamine")
CONSOLE = TerminalConsole(quiet=True)
PLAN = CorpusPlan(
    clips=0,
    subjects=0,
    videos_per_subject=0,
    classes=32,
    height=96,
    width=160,
    fps=10.0,
    seed=3,
    scale=0.01,
    video=False,
    scene="press",
    occlusion=0.3,
    movers=0.5,
)


def counts_of(plan: CorpusPlan, part: str) -> np.ndarray:
    labels = [label for video in plan_videos(plan) if video.part == part for label in video.labels]
    return np.bincount(np.array(labels, int), minlength=32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scaled") / "corpus"
    write_corpus(path, PLAN)
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_scale_one_is_the_challenge() -> None:
    plan = replace(PLAN, scale=1.0)
    videos = plan_videos(plan)
    assert tuple(counts_of(plan, "train")) == TRAIN_COUNTS
    assert tuple(counts_of(plan, "val")) == VAL_COUNTS
    assert sum(TRAIN_COUNTS) + sum(VAL_COUNTS) == 13670
    assert counts_of(plan, "test").sum() == TEST_CLIPS
    assert sum(len(video.labels) for video in videos) == 18232
    source = [video for video in videos if video.part != "test"]
    assert (len(source), len(videos) - len(source)) == (251, 104)
    assert sum(video.part == "val" for video in videos) == 10
    people = {part: {v.subject for v in videos if v.part == part} for part in ("train", "val", "test")}
    assert (len(people["train"]), len(people["test"])) == (37, 35)
    assert people["val"] < people["train"]
    assert not people["test"] & people["train"]


@given(st.floats(0.0001, 1.3))
def test_clips_are_rounded_half_up_and_people_never_cross_into_test(scale: float) -> None:
    plan = replace(PLAN, scale=scale)
    videos = plan_videos(plan)
    people = {part: {v.subject for v in videos if v.part == part} for part in ("train", "val", "test")}
    assert people["val"] <= people["train"]
    assert not people["test"] & people["train"]
    for part, total, most in (("train", 12893, 37), ("val", 777, 37), ("test", 4562, 35)):
        clips = int(counts_of(plan, part).sum())
        assert clips == max(1, int(np.floor(total * scale + 0.5)))
        assert len(people[part]) <= min(most, clips)
    assert len(people["train"]) == min(37, int(counts_of(plan, "train").sum()))
    assert len({video.video_id for video in videos}) == len(videos)
    assert all(video.labels for video in videos)


@given(st.sampled_from([TRAIN_COUNTS, VAL_COUNTS]), st.integers(1, 20000))
def test_a_class_that_the_challenge_has_stays_while_clips_last(
    reference: tuple[int, ...], total: int
) -> None:
    counts = scaled_counts(reference, total)
    weights = np.array(reference)
    assert counts.sum() == total
    assert not counts[weights == 0].any()
    if total >= np.count_nonzero(weights):
        assert counts[weights > 0].min() >= 1
    else:
        assert counts.max() <= 1 or counts[weights > 0].min() >= 1
    # Nobody is farther from the quota than rounding and the clips given to rare classes explain.
    quota = total * weights / weights.sum()
    assert np.all(counts <= np.maximum(np.ceil(quota), 1))


def test_every_class_has_samples_at_a_twentieth() -> None:
    plan = replace(PLAN, scale=0.05)
    assert counts_of(plan, "train").min() >= 1
    assert counts_of(plan, "test").min() >= 1
    np.testing.assert_array_equal(counts_of(plan, "val") > 0, np.array(VAL_COUNTS) > 0)


def test_the_number_of_processes_changes_no_byte(corpus: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", PLAN, workers=2)
    assert tree(tmp_path / "again") == tree(corpus)


def test_the_import_gives_every_clip_and_the_protocol_divides_them(corpus: Path, tmp_path: Path) -> None:
    result = import_data(
        name="synthetic",
        source=corpus,
        out=tmp_path / "clips.h5",
        labels=tmp_path / "labels.csv",
        options={"keypoints": "light_hand"},
        console=CONSOLE,
    )
    facts = json.loads((corpus / "corpus.json").read_text())
    assert facts["version"] == 2
    assert result.data["clips"] == facts["clips"]
    assert not result.data["dropped"]
    split(
        clips=tmp_path / "clips.h5",
        labels=tmp_path / "labels.csv",
        protocol=corpus / "protocol.toml",
        out=tmp_path / "split.h5",
        console=CONSOLE,
    )
    divided = read_split(tmp_path / "split.h5")
    for part, name in (("train", "train"), ("val", "val"), ("target", "test")):
        assert np.sum(divided.names == part) == facts["parts"][name]["clips"]
    for part in ("train", "val"):
        _, labels = divided.select(part)
        np.testing.assert_array_equal(np.bincount(labels, minlength=32), facts["parts"][part]["class_counts"])
    listed = (corpus / "test_ids.txt").read_text().split()
    assert sorted(listed) == sorted(divided.clip_ids[divided.names == "target"].tolist())
    assert len(open_clips(tmp_path / "clips.h5")) == facts["clips"]


def test_the_list_of_test_ids_is_one_that_the_importer_takes(corpus: Path) -> None:
    data = import_imigue(corpus, keypoints="light_hand", ids="test_ids.txt")
    assert sum(source.clips for source in data.sources) == counts_of(PLAN, "test").sum()


def test_light_hand_holds_the_body_and_the_finger_tips_of_openpose(corpus: Path) -> None:
    for video_id in ("0001", "0038"):
        full = read_openpose_xlsx(corpus / video_id / f"{video_id}_openpose.xlsx")
        text = (corpus / video_id / f"{video_id}_light_hand.csv").read_text().splitlines()
        table = np.array([[float(value) for value in line.split(",")] for line in text])
        np.testing.assert_array_equal(table[:, 0], np.arange(len(full)))
        np.testing.assert_array_equal(table[:, 1:].reshape(-1, 35, 3).astype(np.float32), light_hand(full))


def test_a_corpus_of_light_hand_alone_holds_the_same_numbers(corpus: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "light", replace(PLAN, keypoints="light_hand"))
    whole, light = tree(corpus), tree(tmp_path / "light")
    assert not [name for name in light if name.endswith((".xlsx", ".mp4"))]
    names = [name for name in whole if name.endswith((".csv", ".txt", "protocol.toml"))]
    assert {name: whole[name] for name in names} == {name: light[name] for name in names}
    write_corpus(tmp_path / "openpose", replace(PLAN, keypoints="openpose", scale=0.001))
    assert not list((tmp_path / "openpose").rglob("*_light_hand.csv"))


def test_what_is_seen_does_not_depend_on_what_is_written() -> None:
    video = plan_videos(PLAN)[0]
    other = replace(PLAN, keypoints="light_hand", video=True)
    np.testing.assert_array_equal(Scenario(video, PLAN).table, Scenario(video, other).table)


def run_synth(out: Path, **options: object) -> StageResult:
    given_options = {"size": "96x128", "video": False, "keypoints": "light_hand", **options}
    return synth(out=out, console=CONSOLE, **given_options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.1, "clips": 40}, "--scale decides the sizes, so --clips cannot be given with it"),
        ({"scale": 0.1, "subjects": 4}, "--subjects cannot be given with it"),
        ({"scale": 0.0}, "--scale is 0.0, wanted 0.0001 to 10.0"),
        ({"scale": float("nan")}, "--scale is nan"),
        ({"clips": 0}, "--clips is 0, wanted 1 to 1000000"),
        ({"clips": 4, "occlusion": 0.5}, "--occlusion needs --scene press"),
        ({"clips": 4, "scene": "press", "movers": 1.5}, "--movers is 1.5, wanted 0 to 1"),
        ({"keypoints": "hands"}, "--keypoints is 'hands', wanted one of: both, openpose, light_hand"),
        ({"clips": 4, "seed": -1}, "--seed is -1"),
        ({"clips": 4, "pause": -0.5}, "--pause is -0.5, wanted 0 to 60"),
    ],
)
def test_options_out_of_range_are_named(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run_synth(tmp_path / "out", **options)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_stage_tells_how_to_import_light_hand(tmp_path: Path) -> None:
    result = run_synth(tmp_path / "out", scale=0.001)
    assert result.data["clips"] == 13 + 1 + 5
    assert "--option keypoints=light_hand" in result.text


def test_another_size_without_videos_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"scale": 0.001, "video": False, "keypoints": "light_hand", "console": TerminalConsole()}
    synth(out=tmp_path / "small", size="96x128", **options)  # type: ignore[arg-type]
    assert "an import takes the frames to be 1280x720, not 96x128" in capsys.readouterr().err
    synth(out=tmp_path / "usual", **options)  # type: ignore[arg-type]
    assert "takes the frames" not in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10_000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StoreError, match=r"the corpus takes about .* GB, 0\.0 GB are free \(choose another"):
        write_corpus(tmp_path / "far" / "out", PLAN)
    assert not list(tmp_path.iterdir())


def test_the_estimate_is_near_and_not_above(corpus: Path) -> None:
    size = sum(len(content) for content in tree(corpus).values())
    # Small pictures have short numbers; the estimate is for the challenge's size.
    assert 0.5 * size < expected_bytes(PLAN) < 1.3 * size
