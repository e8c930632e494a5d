"""Statistics of the long tail: counts, bands and subjects, as numbers and as a figure."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, UsageError
from mg_data.labels import write_labels
from mg_data.prepare.crop import crop
from mg_data.prepare.preview import preview
from mg_data.prepare.stats import bands, imbalance_ratio, stats
from mg_data.store import ClipsWriter, write_split

QUIET = TerminalConsole(quiet=True)
CLASSES = tuple(f"class {index} ü" for index in range(6))
COUNTS = (100, 30, 6, 3, 1, 0)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """clips.h5, labels.csv and split.h5: 140 clips of a long tail, seven subjects."""
    labels = np.repeat(np.arange(6), COUNTS)
    ids = [f"c{row}" for row in range(len(labels))]
    with ClipsWriter(tmp_path / "clips.h5", dataset="tail", class_names=CLASSES) as writer:
        for row, clip_id in enumerate(ids):
            subject = f"s{row % 7}" if row else ""
            writer.add(clip_id=clip_id, subject_id=subject, video_id="v", start=row, stop=row + 1)
    write_labels(tmp_path / "labels.csv", ids, labels.tolist(), CLASSES)
    names = ["target" if row % 7 == 6 else "val" if row % 7 == 5 else "train" for row in range(len(ids))]
    write_split(
        tmp_path / "split.h5",
        dataset="tail",
        clip_ids=ids,
        names=names,
        labels=np.where(np.array(names) == "target", -1, labels),
        class_names=CLASSES,
    )
    return tmp_path


def test_bands_and_imbalance_of_the_challenges_own_counts() -> None:
    train = np.array(
        [10, 393, 38, 199, 80, 23, 57, 824, 80, 3, 284, 137, 97, 41, 26, 24, 304, 82, 1, 887, 157, 360, 656,
         690, 11, 280, 84, 60, 1155, 6, 2079, 3765]
    )  # fmt: skip
    assert imbalance_ratio(train) == 3765
    assert bands(train) == {"head": 5, "medium": 15, "tail": 12, "empty": 0}
    assert bands(np.zeros(3, int)) == {"head": 0, "medium": 0, "tail": 0, "empty": 3}


def test_text_and_data_carry_imbalance_bands_and_subjects(work: Path) -> None:
    result = stats(clips=work / "clips.h5", labels=work / "labels.csv", console=QUIET)
    assert result.data["imbalance_ratio"] == {"all": 100.0}
    assert result.data["bands"] == {"all": {"head": 2, "medium": 2, "tail": 1, "empty": 1}}
    assert result.data["clips_per_subject"] == {"subjects": 7, "min": 19, "median": 20.0, "max": 20}
    assert "classes: 2 head, 2 medium, 1 tail, 1 without a clip" in result.text
    assert "clips of each of 7 known subjects: 19 to 20, median 20" in result.text
    parted = stats(
        clips=work / "clips.h5", labels=work / "labels.csv", split=work / "split.h5", console=QUIET
    )
    assert parted.data["clips_by_subject_and_part"]["s6"] == {"target": 20}
    assert parted.data["clips_by_part"] == {"train": 100, "val": 20, "target": 20}
    total = np.sum(list(parted.data["clips_by_class"].values()), axis=0)
    assert total.tolist() == list(COUNTS)


def test_the_figure_shows_classes_and_subjects(work: Path) -> None:
    pytest.importorskip("matplotlib")
    pixels = pytest.importorskip("matplotlib.image")
    sizes = []
    for split in (None, work / "split.h5"):
        stats(
            clips=work / "clips.h5",
            labels=work / "labels.csv",
            split=split,
            plot=work / "tail.png",
            console=QUIET,
        )
        image = pixels.imread(work / "tail.png")
        sizes.append(len(np.unique((255 * image[..., :3]).astype(int).reshape(-1, 3), axis=0)))
    assert min(sizes) > 50  # something was drawn
    (work / "none.csv").write_text("clip_id,label,class_name\n")
    with pytest.raises(UsageError, match=r"none\.csv has no label of a clip in"):
        stats(clips=work / "clips.h5", labels=work / "none.csv", plot=work / "x.png", console=QUIET)
    with pytest.raises(UsageError, match="give --labels or --split"):
        stats(clips=work / "clips.h5", plot=work / "x.png", console=QUIET)
    assert not (work / "x.png").exists()


def test_labels_of_other_clips_or_of_another_class_list_are_told_of(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(work / "others.csv", ["x1"], [0], CLASSES)
    assert (
        stats(clips=work / "clips.h5", labels=work / "others.csv", console=TerminalConsole()).data[
            "clips_by_class"
        ]
        == {}
    )
    assert "others.csv: has no label of a clip in" in capsys.readouterr().err
    write_labels(work / "swapped.csv", ["c0"], [0], CLASSES[::-1])
    with pytest.raises(DataError, match=r"swapped\.csv: class 0 is 'class 5 ü', not 'class 0 ü' as in"):
        stats(clips=work / "clips.h5", labels=work / "swapped.csv", console=QUIET)


def test_a_split_of_another_class_list_is_not_counted(work: Path) -> None:
    write_split(
        work / "swapped.h5",
        dataset="tail",
        clip_ids=["c0"],
        names=["train"],
        labels=[0],
        class_names=CLASSES[::-1],
    )
    with pytest.raises(DataError, match=r"swapped\.h5: lists other classes than .*clips\.h5"):
        stats(clips=work / "clips.h5", split=work / "swapped.h5", console=QUIET)
    given = stats(
        clips=work / "clips.h5", labels=work / "labels.csv", split=work / "swapped.h5", console=QUIET
    )
    assert given.data["clips_by_class"]["train"] == [1, 0, 0, 0, 0, 0]


def test_a_store_without_a_clip_is_said_to_have_none(work: Path) -> None:
    with h5py.File(work / "clips.h5", "r+") as file:
        for name in ("clip_id", "subject_id", "video_id", "start", "stop"):
            kind = file[f"index/{name}"].dtype
            del file[f"index/{name}"]
            file.create_dataset(f"index/{name}", shape=(0,), dtype=kind)
    with pytest.raises(DataError, match=r"clips\.h5: holds no clip"):
        stats(clips=work / "clips.h5", console=QUIET)
    pytest.importorskip("cv2")
    pytest.importorskip("av")
    for command, out in ((preview, "look.png"), (crop, "crops.h5")):
        with pytest.raises(DataError, match=r"clips\.h5: holds no clip"):
            command(clips=work / "clips.h5", root=work, out=work / out, console=QUIET)
