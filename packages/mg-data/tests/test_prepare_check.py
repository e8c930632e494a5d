"""``mg data check`` finds each fault in stores that have it, and nothing in those that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.main import run
from mg_data.contract import UsageError
from mg_data.prepare.check import CheckError, check
from mg_data.store import ClipsWriter, Provenance, StreamsWriter, open_clips, write_split

QUIET = TerminalConsole(quiet=True)
CLASSES = ("rub", "fold", "rest")
SIZE = (640, 480)


@dataclass(frozen=True)
class Clip:
    """One clip of the example; ``change`` works on its (T, 1, 25, 3) joints."""

    clip_id: str
    subject: str = "p1"
    video: str = "v1"
    start: int = 0
    stop: int = 10
    label: int | None = 0
    part: str = "train"
    change: Callable[[np.ndarray], Any] | None = None


def joints(clip: Clip) -> np.ndarray:
    """A person who faces the camera and moves a little."""
    values = np.random.default_rng(7).uniform(200, 300, (clip.stop - clip.start, 1, 25, 3)).astype(np.float32)
    values[:, :, 2, 0] -= 150  # the right shoulder is on the left of the picture
    values[:, :, 5, 0] += 150
    values[..., 2] = 0.9
    if clip.change is not None:
        clip.change(values)
    return values


GOOD = (
    Clip("a", label=0),
    Clip("b", start=10, stop=20, label=1),
    Clip("c", start=20, stop=30, label=2),
    Clip("ü", "p2", "v2", 0, 12, 0, "val"),
    Clip("e", "p2", "v2", 12, 20, 1, "val"),
    Clip("f", "p2", "v2", 20, 30, 2, "val"),
    Clip("g", "p3", "v3", 0, 10, None, "target"),
)


@dataclass
class Files:
    """Paths of one example, as options of the check."""

    folder: Path
    crops: list[Path] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {"clips": self.folder / "clips.h5", "crops": self.crops}
        for name in ("labels.csv", "split.h5"):
            if (self.folder / name).exists():
                found[name.partition(".")[0]] = self.folder / name
        return found


def write(folder: Path, clips: tuple[Clip, ...], labels: str = "", split: bool = True) -> Files:
    """Write clips.h5, labels.csv and split.h5."""
    with ClipsWriter(
        folder / "clips.h5", dataset="d", class_names=CLASSES, layout="body-25", image_size=SIZE
    ) as writer:
        for clip in clips:
            writer.add(
                clip_id=clip.clip_id,
                subject_id=clip.subject,
                video_id=clip.video,
                start=clip.start,
                stop=clip.stop,
                joints=joints(clip),
            )
    known = [clip for clip in clips if clip.label is not None]
    named = dict(enumerate(CLASSES))
    lines = "".join(f"{clip.clip_id},{clip.label},{named.get(clip.label or 0, '')}\n" for clip in known)
    (folder / "labels.csv").write_text("clip_id,label,class_name\n" + lines + labels, encoding="utf-8")
    if split:
        given = [-1 if clip.part == "target" or clip.label is None else clip.label for clip in clips]
        write_split(
            folder / "split.h5",
            dataset="d",
            clip_ids=[clip.clip_id for clip in clips],
            names=[clip.part for clip in clips],
            labels=[label if label < len(CLASSES) else 0 for label in given],
            class_names=CLASSES,
        )
    return Files(folder)


def findings(files: Files, **options: Any) -> dict[str, dict[str, Any]]:
    """Return check -> finding."""
    try:
        result = check(**files.options, **options, console=QUIET)
    except CheckError as error:
        result = error.result
        assert result.data["errors"] > 0
    else:
        assert result.data["errors"] == 0
    return {item["check"]: item for item in result.data["findings"]}


def test_a_name_in_the_labels_that_is_another_classs_is_an_error(tmp_path: Path) -> None:
    files = write(tmp_path, GOOD, labels="z,1,rest\n")
    found = findings(files)["label-names"]
    assert (found["severity"], found["items"]) == ("error", ["1 is 'rest', not 'fold'"])


def test_sound_stores_have_no_finding(tmp_path: Path) -> None:
    assert findings(write(tmp_path, GOOD)) == {}


def with_(position: int, **changes: Any) -> tuple[Clip, ...]:
    """Return the good clips with one of them changed."""
    return tuple(replace(clip, **changes) if index == position else clip for index, clip in enumerate(GOOD))


def zero(values: np.ndarray) -> None:
    values[:] = 0


def freeze(values: np.ndarray) -> None:
    values[:] = values[:1]


def lose(values: np.ndarray) -> None:
    values[:, :, :13] = 0


def leave(values: np.ndarray) -> None:
    values[:5, :, :, 0] = 700


def swap(values: np.ndarray) -> None:
    values[:, :, [2, 5]] = values[:, :, [5, 2]].copy()


EXTRA = Clip("x", start=30, stop=40, label=0)
CASES: dict[str, tuple[tuple[Clip, ...], str, str, list[str]]] = {
    "subject on both sides": (with_(6, subject="p2"), "error", "subject-in-target-and-source", ["p2"]),
    "video on both sides": (with_(6, video="v1"), "error", "video-in-target-and-source", ["v1"]),
    "subject in train and val": (with_(3, subject="p1"), "warning", "subject-in-train-and-val", ["p1"]),
    "same span": ((*GOOD, Clip("a2")), "error", "same-span", ["a = a2"]),
    "one frame": ((*GOOD, replace(EXTRA, stop=31)), "warning", "one-frame", ["x"]),
    "unknown subject": ((*GOOD, replace(EXTRA, subject="", video="v9")), "warning", "unknown-subject", ["x"]),
    "overlap": (
        (*GOOD, replace(EXTRA, start=5, stop=12)), "warning", "overlap", ["x (0) and b (1)"]
    ),
    "class in val only": (with_(2, label=0), "error", "class-not-in-train", ["rest"]),
    "class nowhere": (
        tuple(replace(clip, label=0) if clip.label == 2 else clip for clip in GOOD),
        "warning", "empty-class", ["rest"],
    ),
    "no label": ((*GOOD, replace(EXTRA, label=None)), "warning", "no-label", ["x"]),
    "label too large": ((*GOOD, replace(EXTRA, label=3)), "error", "label-range", ["x (3)"]),
    "label below -1": ((*GOOD, replace(EXTRA, label=-2, part="target", subject="p4", video="v4")),
                       "error", "label-range", ["x (-2)"]),
    "empty": (with_(1, change=zero), "error", "empty-clip", ["b"]),
    "still": (with_(3, change=freeze), "warning", "no-motion", ["ü"]),
    "missing points": (with_(3, change=lose), "warning", "missing-points", ["ü (52%)"]),
    "outside": (with_(0, change=leave), "warning", "outside-image", ["a (50%)"]),
    "swapped": (with_(4, change=swap), "warning", "sides-swapped", ["e"]),
}  # fmt: skip


@pytest.mark.parametrize(("clips", "severity", "name", "items"), CASES.values(), ids=CASES)
def test_each_fault_is_found_with_the_clips_that_have_it(
    tmp_path: Path, clips: tuple[Clip, ...], severity: str, name: str, items: list[str]
) -> None:
    found = findings(write(tmp_path, clips))
    assert (found[name]["severity"], found[name]["items"], found[name]["count"]) == (severity, items, 1)
    assert set(found) == {name}


def test_labels_and_splits_of_other_clips_and_other_labels(tmp_path: Path) -> None:
    files = write(tmp_path, GOOD, labels="zzz,1,x\n")
    assert findings(files)["label-of-unknown-clip"]["items"] == ["zzz"]
    text = (tmp_path / "labels.csv").read_text(encoding="utf-8")
    (tmp_path / "labels.csv").write_text(text.replace("a,0", "a,1"), encoding="utf-8")
    assert findings(files)["split-label"]["items"] == ["a"]
    write_split(
        tmp_path / "split.h5",
        dataset="d",
        clip_ids=["a", "q"],
        names=["train", "train"],
        labels=[1, 1],
        class_names=("other", "names"),
    )
    found = findings(files)
    assert found["split-of-unknown-clip"]["items"] == ["q"]
    assert found["in-no-part"]["count"] == 6
    assert found["split-classes"]["severity"] == "error"


def test_values_that_our_writer_refuses_are_found_in_stores_of_others(tmp_path: Path) -> None:
    files = write(tmp_path, GOOD)
    with h5py.File(tmp_path / "clips.h5", "r+") as file:
        file["joints/values"][3, 0, 7, 1] = np.nan
        file["index/stop"][1] = 21
    found = findings(files)
    assert found["not-finite"]["items"] == ["a"]
    assert found["frames-differ"]["items"] == ["b (10, not 11)"]
    with h5py.File(tmp_path / "clips.h5", "r+") as file:
        file["index/clip_id"][2] = "a"
    found = findings(files)
    assert found["duplicate-id"]["items"] == ["a"]
    assert len(found) == 1


def test_damaged_keypoints_are_a_finding(tmp_path: Path) -> None:
    files = write(tmp_path, GOOD)
    with h5py.File(tmp_path / "clips.h5") as file:
        place = file["joints/values"].id.get_chunk_info(0).byte_offset
    raw = bytearray((tmp_path / "clips.h5").read_bytes())
    raw[place + 100] ^= 1
    (tmp_path / "clips.h5").write_bytes(raw)
    assert findings(files)["damaged"]["count"] == len(GOOD)  # all in one chunk


def test_crops_must_hold_the_same_clips_frame_for_frame(tmp_path: Path) -> None:
    files = write(tmp_path, GOOD)
    digest = open_clips(tmp_path / "clips.h5").digest

    def crops(name: str, numbers: dict[str, int], dataset: str = "d", **facts: Any) -> None:
        path = tmp_path / name
        provenance = Provenance(
            command="mg data crop",
            config=facts.get("config", {}),
            inputs={"clips": facts.get("made", digest)},
        )
        with StreamsWriter(
            path, dataset=dataset, stream="rgb", encoding="jpeg", channels=3, provenance=provenance
        ) as writer:
            for clip_id, count in numbers.items():
                writer.add(clip_id=clip_id, frames=[b"jpeg"] * count, boxes=np.zeros((count, 4)))
        files.crops = [path]

    right = {clip.clip_id: clip.stop - clip.start for clip in GOOD}
    crops("all.h5", right)
    assert findings(files) == {}
    crops("few.h5", {clip_id: min(count, 9) for clip_id, count in right.items()}, config={"max_frames": 9})
    assert findings(files) == {}
    crops("wrong.h5", {**right, "a": 9, "zzz": 3}, "other", made="sha256:0")
    found = findings(files)
    assert found["crops-frames"]["items"] == ["a (9, not 10)"]
    assert found["crops-of-unknown-clip"]["items"] == ["zzz"]
    assert {"crops-dataset", "crops-outdated"} <= set(found)
    right.pop("g")
    crops("less.h5", right)
    assert findings(files)["crops-lack-clips"]["items"] == ["g"]


def test_the_command_prints_the_report_and_ends_with_5_if_there_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, with_(6, subject="p2"))
    words = ["data", "check", str(tmp_path / "clips.h5"), "--split", str(tmp_path / "split.h5"), "-q"]
    assert run(words) == 5
    out, talk = capsys.readouterr()
    assert "error   [subject-in-target-and-source] 1 subject(s) are in the target and also in train" in out
    assert len(talk.splitlines()) == 1
    assert "mg: error: " in talk
    assert "1 kind(s) of error, the first: 1 subject(s)" in talk
    assert run([*words, "--json"]) == 5
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == 1
    assert report["findings"][0]["items"] == ["p2"]
    write(tmp_path, GOOD)
    assert run(words) == 0
    assert "0 kind(s) of error, 0 of warning" in capsys.readouterr().out


def test_long_lists_are_cut_in_the_text_and_whole_in_the_data(tmp_path: Path) -> None:
    many = tuple(Clip(f"c{index}", start=index, stop=index + 1) for index in range(12))
    result = check(**write(tmp_path, many, split=False).options, console=QUIET)
    assert "c0, c1, c2, c3, c4 ... 7 more" in result.text
    [finding] = [item for item in result.data["findings"] if item["check"] == "one-frame"]
    assert len(finding["items"]) == 12


def test_shares_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--max-missing is 2, wanted 0 to 1"):
        check(clips=tmp_path / "none.h5", max_missing=2, console=QUIET)
