"""Readers of raw data: the importers, on the trees that they are checked on, and tables given to commands."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_bytes import change_pickle, change_zip
from fuzz_mutations import change_json, change_text
from fuzz_reader import CLASSES, CONSOLE, IDS, Reader, attempt
from fuzz_stores import golden

_LINES = (change_text,) * 3
_LIGHT_HAND = "".join(f"{row}," + ",".join(["1.5"] * 105) + "\n" for row in range(60))


def _import(name: str, source: str, **options: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from mg_data.prepare.importing import import_data

        (folder / "made").mkdir(exist_ok=True)
        return import_data(
            name=name,
            source=folder / source,
            out=folder / "made" / "clips.h5",
            labels=folder / "made" / "labels.csv",
            options=options,
            console=CONSOLE,
        )

    return read


def _example(name: str, pattern: str) -> Callable[[Path], list[Path]]:
    """Make a data set's example without its videos."""

    def make(folder: Path) -> list[Path]:
        from mg_data.datasets import examples

        (folder / "tree").mkdir()
        getattr(examples, name)(folder / "tree")
        for path in (folder / "tree").rglob("*.mp4"):
            path.unlink()
        return sorted((folder / "tree").rglob(pattern))

    return make


def _write_xlsx(path: Path, rows: int) -> None:
    """Write a sheet as openpyxl does, with an empty cell: what is not read block by block."""
    from openpyxl import Workbook

    book = Workbook()
    for row in range(rows):
        book.active.append([row + 0.5] * 411)
    book.active["C3"] = None
    book.save(path)


def _make_xlsx(folder: Path) -> list[Path]:
    from mg_data.datasets.synthetic.xlsx import write_xlsx

    write_xlsx(folder / "a.xlsx", np.random.default_rng(0).normal(size=(3, 411)))
    _write_xlsx(folder / "b.xlsx", 3)
    return [folder / "a.xlsx", folder / "b.xlsx"]


def _read_xlsx(folder: Path) -> None:
    from mg_data.datasets.imigue.files import read_openpose_xlsx

    attempt(*(partial(read_openpose_xlsx, path) for path in sorted(folder.glob("*.xlsx"))))


def _make_imigue(folder: Path) -> list[Path]:
    """Two videos without their frames."""
    from mg_data.datasets.synthetic.xlsx import write_xlsx

    for name in ("0001", "x"):
        (folder / "tree" / name).mkdir(parents=True)
        (folder / "tree" / name / f"{name}_label.csv").write_text("1,0,3\n99,3,5\n,5,5\n")
        (folder / "tree" / name / f"{name}_light_hand.csv").write_text(_LIGHT_HAND)
    points = np.random.default_rng(0).uniform(1, 60, size=(6, 411))
    write_xlsx(folder / "tree" / "0001" / "0001_openpose.xlsx", points)
    _write_xlsx(folder / "tree" / "x" / "x_openpose.xlsx", 6)
    (folder / "tree" / "subjects.csv").write_text("video_id,subject_id\n0001,s1\nx,s2\n")
    (folder / "tree" / "ids.csv").write_text("Id\nx_0\nx_1\n")
    return sorted(path for path in folder.rglob("*") if path.suffix in (".csv", ".xlsx"))


def _read_imigue(folder: Path) -> None:
    common: dict[str, Any] = {"image_size": "64x64"}
    attempt(
        partial(_import("imigue", "tree", keypoints="openpose", **common), folder),
        partial(_import("imigue", "tree", keypoints="light_hand", background=3, **common), folder),
        partial(_import("imigue", "tree", keypoints="light_hand", ids="ids.csv", **common), folder),
    )


def _read_utd(folder: Path) -> None:
    from mg_data.datasets.utd_mhad import open_frames

    frames = open_frames(folder / "tree", "depth")
    attempt(
        partial(_import("utd-mhad", "tree"), folder),
        *(lambda name=name: list(frames.frames(name, 0, 3)) for name in ("a1_s1_t1", "a2_s2_t1", "a9_s2_t2")),
    )


def _make_joints(folder: Path) -> list[Path]:
    """One clip in each of the forms of read_joint_file."""
    joints = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
    (folder / "a.json").write_text(
        json.dumps({"joints": joints.round(3).tolist(), "label": "wave", "subject": 3})
    )
    np.savez(folder / "b.npz", joints=joints, label=1, subject="s1")
    np.save(folder / "c.npy", joints)
    (folder / "d.txt").write_text("\n".join(" ".join(f"{x:.3f}" for x in row.ravel()) for row in joints))
    return [folder / name for name in ("a.json", "b.npz", "c.npy", "d.txt")]


def _read_joints(folder: Path) -> None:
    from mg_data.datasets.ntu.joint_files import read_joint_file, read_label

    paths = sorted(folder.glob("?.*"))
    attempt(
        *(partial(read_joint_file, path, 25) for path in paths),
        *(partial(read_label, path) for path in paths),
    )


def _make_pickles(folder: Path) -> list[Path]:
    """An annotation file and score files, of three protocols."""
    rows = list(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    points = np.random.default_rng(0).uniform(1, 60, (1, 6, 17, 2)).astype(np.float32)
    entries = [
        {
            "frame_dir": name,
            "label": 1,
            "img_shape": (96, 128),
            "total_frames": 6,
            "keypoint": points + number,
            "keypoint_score": np.full((1, 6, 17), 0.5 + number / 10, np.float16),
        }
        for number, name in enumerate(IDS)
    ]
    documents: dict[str, Any] = {
        "annotations": {"split": {"train": list(IDS[:2]), "val": list(IDS[2:])}, "annotations": entries},
        "pyskl": rows,
        "mmaction2": [
            {"pred_score": row, "gt_label": np.array([1]), "frame_dir": name} for row, name in zip(rows, IDS)
        ],
        "ctr-gcn": dict(zip(IDS, rows)),
    }
    for number, (name, value) in enumerate(documents.items()):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol=(4, 2, 4, 5)[number]))
    return [folder / f"{name}.pkl" for name in documents]


def _read_pickles(folder: Path) -> None:
    from mg_fusion.convert.read import annotation_names, read_score_file

    attempt(
        partial(_import("pyskl", "annotations.pkl"), folder),
        lambda: annotation_names(folder / "annotations.pkl", "train"),
        lambda: read_score_file(folder / "pyskl.pkl", "pyskl"),
        lambda: read_score_file(folder / "mmaction2.pkl", "mmaction2"),
        lambda: read_score_file(folder / "ctr-gcn.pkl", "ctr-gcn"),
    )


def _make_tables(folder: Path) -> list[Path]:
    """Tables and lists in csv, text and toml, and the store they are about."""
    from mg_data.labels import write_labels

    golden().clips(folder / "clips.h5")
    write_labels(folder / "labels.csv", IDS, [2, 0, 1, 1], CLASSES)
    texts = {
        "classes.txt": "\n".join(CLASSES),
        "table.csv": "clip_id,video,start,stop,label,subject,split\n"
        "b-2,v0.mp4,0,3,rub eyes,s1,train\na-1,v1.mp4,,,fold arm,s2,val\n手-3,d/v2.mp4,3,9,,s0,\n",
        "protocol.toml": 'rest = "target"\n[train]\nclips = ["b-2"]\n'
        '[val]\nclips = ["a-1"]\nvideos_file = "videos.txt"\n',
        "videos.txt": "v3\n",
        "groups.csv": "clip_id,group\nb-2,x\na-1,y\n",
        "corrections.csv": "clip_id,label,class_name,flag,note\na-1,1,bite nails,1,why\n",
        "segments.csv": "video_id,start,stop,class_name\nv,0,9,rub eyes\nw,,,\n",
        "anchors.csv": "1,2,3\n0,1,0\n1,1,1\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    np.save(folder / "anchors.npy", np.eye(3))
    return [folder / name for name in ("labels.csv", *texts, "anchors.npy")]


def _read_tables(folder: Path) -> None:
    from mg_adapt.losses.semantic import read_anchor_file
    from mg_adapt.watch.truth import read_truth as read_segments
    from mg_data.datasets.clips.table import read_class_names, read_clip_table
    from mg_data.explore.corrections import Corrections
    from mg_data.labels import join_labels, read_labels
    from mg_data.prepare.check import check
    from mg_data.prepare.split import split
    from mg_fusion.submission import read_ids
    from mg_fusion.truth import read_groups, read_truth

    labels, clips, table = folder / "labels.csv", folder / "clips.h5", folder / "table.csv"
    divide = partial(split, clips=clips, labels=labels, out=folder / "out.h5", console=CONSOLE)
    attempt(
        lambda: read_labels(labels),
        lambda: read_truth(labels),
        lambda: join_labels([labels], folder / "out.csv"),
        lambda: check(clips=clips, labels=labels, console=CONSOLE),
        lambda: read_segments(clips, CLASSES, labels=labels),
        lambda: read_segments(folder / "segments.csv", CLASSES),
        lambda: read_class_names(folder / "classes.txt"),
        lambda: read_ids(folder / "videos.txt"),
        lambda: read_clip_table(table),
        lambda: read_clip_table(table, folder / "classes.txt"),
        lambda: divide(protocol=folder / "protocol.toml"),
        lambda: divide(table=table),
        lambda: read_groups(folder / "groups.csv", "subject"),
        lambda: Corrections(folder, CLASSES),
        lambda: read_anchor_file(folder / "anchors.csv", 3),
        lambda: read_anchor_file(folder / "anchors.npy", 3),
    )


def _make_video(folder: Path) -> list[Path]:
    from mg_data.datasets.examples import videos

    videos(folder)
    (folder / "deep" / "b.mp4").unlink()
    return [folder / "a.mp4"]


def _read_video(folder: Path) -> None:
    from mg_data.video.decode import decode_frames, video_size

    video_size(folder / "a.mp4")
    list(decode_frames(folder / "a.mp4", np.array([0, 2, 5])))


def _of(name: str, pattern: str, changes: tuple[Any, ...] = ()) -> Reader:
    """Return the reader of a data set's own example."""
    make, read = _example(name.replace("-", "_"), pattern), _import(name, "tree")
    return Reader(name, f"mg data import {name}", make, read, changes)


DATASETS = (
    _of("openpose", "*.json", (change_json,) * 8),
    _of("pose", "*.pose"),
    _of("ntu", "*.skeleton", _LINES),
    Reader("utd-mhad", "mg data import utd-mhad", _example("utd_mhad", "*.mat"), _read_utd),
    Reader("xlsx", "mg data import imigue", _make_xlsx, _read_xlsx, (change_zip,) * 8),
    Reader("imigue", "mg data import imigue", _make_imigue, _read_imigue, (*_LINES, change_zip)),
    Reader("joint-files", "mg data import ntu", _make_joints, _read_joints,
           (*_LINES, change_json, change_zip)),
    Reader("pickles", "mg data import pyskl, mg store from-scores", _make_pickles, _read_pickles,
           (change_pickle,) * 8),
    Reader("tables", "csv, toml and lists given to commands", _make_tables, _read_tables, _LINES * 2),
    Reader("video", "mg data crop, mg watch", _make_video, _read_video),
)  # fmt: skip
