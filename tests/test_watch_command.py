"""``mg watch`` as a user runs it: two trained models, whole videos in, files that other programs read out."""

from __future__ import annotations

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from helpers import mg

from mg_data.cli.main import run

pytestmark = pytest.mark.slow

FPS, SIZE = 25.0, (128, 96)
PROTOCOL = {
    "train": {"subjects": ["s01", "s02"]},
    "val": {"subjects": ["s03"]},
    "target": {"subjects": ["s04"]},
}
CHOOSES, TESTED = "0003", "0004"  # their videos


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a branch on keypoints and one on crops, and import and crop whole videos."""
    folder = tmp_path_factory.mktemp("watch")
    corpus, clips, whole, split = (folder / name for name in ("corpus", "clips.h5", "whole.h5", "split.h5"))
    mg("data", "synth", corpus, "--clips", 48, "--subjects", 4, "--videos-per-subject", 1, "--classes", 3,
       "--pause", 1, "--keypoints", "light_hand", "--size", "96x128")  # fmt: skip
    options = ("--option", "keypoints=light_hand", "--option")
    mg("data", "import", "synthetic", corpus, "-o", clips, "--labels", folder / "labels.csv", *options,
       "background=20")  # fmt: skip
    mg("data", "import", "synthetic", corpus, "-o", whole, *options, "whole=true")
    mg("data", "split", clips, folder / "labels.csv", "-o", split, "--protocol-json", json.dumps(PROTOCOL))
    mg("data", "crop", clips, corpus, "-o", folder / "crops.h5", "--size", 32, "--box", "frame")
    mg("data", "crop", whole, corpus, "-o", folder / "whole-crops.h5", "--size", 32, "--box", "frame",
       "--max-frames", 0)  # fmt: skip
    for model, modality, data, epochs in (
        ("decoupled-stcnn", "joint-motion", clips, 30),
        ("r2plus1d", "rgb", folder / "crops.h5", 1),
    ):
        mg("train", model, "--preset", "tiny", "--modality", modality, "--data", data, "--split", split,
           "--set", f"recipe.epochs={epochs}", "--set", "recipe.batch_size=16", "--threads", 1,
           "--set", "recipe.loss.name=cross-entropy", "-o", folder / f"{modality}.safetensors")  # fmt: skip
    return folder


def words(work: Path, *more: object, only: str = TESTED) -> list[object]:
    """Return the words of a call over one video."""
    return ["watch", work / "joint-motion.safetensors", "--clips", work / "whole.h5", "--only", only,
            "--background", "background", "--window", 1, "--threads", 1, *more]  # fmt: skip


def here(capsys: pytest.CaptureFixture[str], *given: object, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run the command in this process, where torch is loaded, and return its JSON and what it said."""
    assert run([*map(str, given), "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out or "{}"), said.err


LOW = ("--enter", 0.3, "--leave", 0.2)


def read_eaf(path: Path) -> dict[str, list[tuple[int, int, str]]]:
    """Return (start, stop, text) of each tier's annotations, in milliseconds."""
    root = ElementTree.parse(path).getroot()
    times = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    return {
        tier.attrib["TIER_ID"]: [
            (
                times[item.attrib["TIME_SLOT_REF1"]],
                times[item.attrib["TIME_SLOT_REF2"]],
                item.findtext("ANNOTATION_VALUE", ""),
            )
            for item in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }


def read_grid(path: Path) -> list[tuple[float, float, str]]:
    """Return (start, stop, text) of the first tier's intervals, in seconds."""
    first = path.read_text(encoding="utf-8").split("item [2]:")[0]
    found = re.findall(r'xmin = (\S+)\s+xmax = (\S+)\s+text = "(.*)"', first)
    return [(float(start), float(stop), text) for start, stop, text in found]


def test_segments_of_an_unseen_person_are_the_same_in_every_format(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = {ending: tmp_path / f"t.{ending}" for ending in ("json", "csv", "eaf", "TextGrid")}
    given = [word for path in outs.values() for word in ("-o", path)]
    more = (*LOW, "--truth", work / "clips.h5", "--video", work / "corpus")
    result = json.loads(mg(*words(work, *given, *more), "--json").stdout)
    value = json.loads(outs["json"].read_text())
    (video,) = value["videos"]
    assert (video["video_id"], video["fps"]) == (TESTED, FPS)
    assert video["seconds"] == pytest.approx(video["stop_frame"] / FPS, abs=1e-3)
    evaluation = value["evaluation"]
    assert evaluation == result["evaluation"]
    assert (evaluation["annotations"], evaluation["clips_trained_on"]) == (12, 0)
    assert evaluation["f1"] > 0.3
    assert "background" not in {segment["class_name"] for segment in video["segments"]}
    spans = [(item["start_frame"], item["stop_frame"], item["class_name"]) for item in video["segments"]]
    assert len(spans) == result["segments"] > 3
    rows = list(csv.DictReader(outs["csv"].open(newline="")))
    assert [(int(row["start"]), int(row["stop"]), row["class_name"]) for row in rows] == spans
    tiers = read_eaf(outs["eaf"])
    times = [(round(1000 * start / FPS), round(1000 * stop / FPS), name) for start, stop, name in spans]
    assert tiers["micro-gesture"] == times
    assert [text for _, _, text in tiers["confidence"]] == [f"{float(row['confidence']):.2f}" for row in rows]
    assert f"{TESTED}/{TESTED}.mp4" in outs["eaf"].read_text()
    intervals = read_grid(outs["TextGrid"])
    assert intervals[-1][1] == pytest.approx(video["stop_frame"] / FPS)
    assert [item for item in intervals if item[2]] == [
        (start / FPS, stop / FPS, name) for start, stop, name in spans
    ]
    # The csv is an annotation that scores its own timeline with one.
    again = words(work, *LOW, "-o", tmp_path / "again.json", "--truth", outs["csv"])
    assert here(capsys, *again)[0]["evaluation"]["f1"] == 1.0


def test_thresholds_that_one_person_chose_are_used_on_another(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, truth = tmp_path / "thresholds.json", ("--truth", work / "clips.h5", "-o", tmp_path / "t.json")
    found, said = here(capsys, *words(work, "--choose", chosen, *truth, only=CHOOSES))
    assert "thresholds were chosen on 1 of the 1 scored videos: F1 flatters" in said
    thresholds = json.loads(chosen.read_text())
    assert (thresholds["videos"], thresholds["window"]) == ([CHOOSES], 1.0)
    assert thresholds["f1"] == found["evaluation"]["f1"] > 0.3
    found, said = here(capsys, *words(work, "--thresholds", chosen, *truth))
    assert found["thresholds"] == thresholds["thresholds"]
    assert found["thresholds_chosen_on"] == [CHOOSES]
    assert found["evaluation"]["videos_that_chose_thresholds"] == []
    assert "flatters" not in said


def test_crops_of_whole_videos_are_watched_beside_keypoints(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rgb = work / "rgb.safetensors"
    crops = ("-o", tmp_path / "t.json", "--step", 0.5, "--crops", work / "whole-crops.h5")
    both = words(work, *crops)
    both.insert(1, rgb)
    found, _ = here(capsys, *both)
    assert [(item["branch"], item["weight"]) for item in found["checkpoints"]] == [
        ("r2plus1d/rgb", 0.5),
        ("decoupled-stcnn/joint-motion", 0.5),
    ]
    alone = ("watch", rgb, "--clips", work / "whole.h5", "--only", TESTED, *crops, "--enter", 0, "--leave", 0)
    assert here(capsys, *alone)[0]["segments"] > 0
    few = tmp_path / "few.h5"
    mg("data", "crop", work / "whole.h5", work / "corpus", "-o", few, "--size", 32, "--max-frames", 16)
    _, said = here(capsys, *alone, "--crops", few, code=3)
    assert f"few.h5: holds 16 frames of video '{TESTED}', its keypoints have" in said
    assert "(crop it with --max-frames 0, out of the same clips store)" in said


@pytest.mark.parametrize("on", ["canvas", "video"])
def test_the_overlay_has_every_frame_of_the_video(
    work: Path, tmp_path: Path, on: str, capsys: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    over, out = tmp_path / "over.mp4", tmp_path / "t.json"
    source = () if on == "canvas" else ("--video", work / "corpus" / TESTED / f"{TESTED}.mp4")
    here(capsys, *words(work, *LOW, "-o", out, "--overlay", over, "--size", 160, "--step", 0.5, *source))
    (video,) = json.loads(out.read_text())["videos"]
    with av.open(str(over)) as container:
        assert float(container.streams.video[0].average_rate) == FPS
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == video["stop_frame"]
    caption = 34
    assert frames[0].shape == (160 * SIZE[1] // SIZE[0] + caption, 160, 3)
    # A canvas is dark and the studio is not.
    assert (frames[-1][caption:].mean() > 60) == (on == "video")


def test_wrong_use_ends_with_one_line_and_code_2(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "film.mp4"
    original = work / "corpus" / TESTED / f"{TESTED}.mp4"
    shutil.copy(original, film)
    out = ("-o", tmp_path / "t.json")
    for given, message in (
        (("watch", work / "rgb.safetensors", "--clips", work / "whole.h5", *out),
         r"rgb\.safetensors: reads 'rgb', frames of video: give --crops, the streams store"),
        (words(work, *out, only="4"), r"--only: .*whole\.h5 has no video '4'"),
        (words(work, "-o", tmp_path / "t.srt"), r"t\.srt: ends in none of \.json, \.csv, \.eaf, \.TextGrid"),
        (words(work, *out, "--choose", tmp_path / "c.json"), "--choose needs --truth, the annotations"),
        (words(work, *out, "--video", film, "--overlay", film), r"film\.mp4, which --video names to be read"),
        (words(work, *out, "--video", work / "corpus", "--overlay", original), "of video '0004' too"),
        (words(work, *out, "--overlay", tmp_path / "x.avi"), r"x\.avi: wanted a file that ends in \.mp4"),
        (words(work, *out, "--background", "backgroud"), "no class 'backgroud', did you mean 'background'"),
        (words(work), "Missing option '-o' / '--out'"),
    ):  # fmt: skip
        _, said = here(capsys, *given, code=2)
        assert re.search(message, said), said
        assert sum(line.startswith(("mg: error:", "Error:")) for line in said.splitlines()) == 1
        assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
