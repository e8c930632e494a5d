"""Tiny raw trees, one of each data set, as ``DatasetSpec.example`` names them: importers are checked on them.

Each function fills an empty folder with two or more recordings of a few frames and returns what the importer
is given. The numbers are random, but always the same.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.prepare.extras import require

FRAMES = 6
HEIGHT, WIDTH = 96, 128
# Parts of a person in OpenPose's JSON, with the number of their points.
_OPENPOSE = {
    "pose_keypoints_2d": 25,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}
_Floats = NDArray[np.float64]


def _video(path: Path, frames: int = FRAMES) -> None:
    """Write a square that moves over noise."""
    require("an example with videos", "cv2", "av")
    from mg_data.datasets.synthetic.render import write_mp4

    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)

    def draw(number: int) -> NDArray[np.uint8]:
        image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
        image[20:60, 10 + 5 * number : 50 + 5 * number] = 200
        return image

    write_mp4(path, map(draw, range(frames)), HEIGHT, WIDTH, 25.0)


def _people(seed: int, points: int) -> _Floats:
    """Return (T, points, 3): x, y in pixels and a confidence of somebody who sways."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform((20, 20), (WIDTH - 20, HEIGHT - 20), (points, 2))
    sway = np.cumsum(rng.normal(0, 1, (FRAMES, 1, 2)), axis=0)
    confidence = rng.uniform(0.4, 1.0, (FRAMES, points, 1))
    return np.concatenate([rest + sway, confidence], axis=2)


def synthetic(folder: Path) -> Path:
    """Write two videos in the layouts of iMiGUE."""
    require("an example with videos", "cv2", "av")
    from mg_data.datasets.synthetic.corpus import write_corpus
    from mg_data.datasets.synthetic.plan import CorpusPlan

    plan = CorpusPlan(
        clips=4,
        subjects=2,
        videos_per_subject=1,
        classes=4,
        height=HEIGHT,
        width=WIDTH,
        fps=10.0,
        seed=0,
        keypoints="openpose",
    )
    write_corpus(folder / "corpus", plan)
    return folder / "corpus"


def utd_mhad(folder: Path) -> Path:
    """Write three recordings with skeleton, inertial signal and depth map."""
    require("utd-mhad", "scipy")
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    for name in ("Skeleton", "Inertial", "Depth"):
        (folder / name).mkdir()
    for clip_id in ("a1_s1_t1", "a2_s2_t1", "a9_s2_t2"):
        joints = rng.normal(0, 0.3, (20, 3, FRAMES)) + np.array([0, 0, 2.5])[:, None]
        savemat(folder / "Skeleton" / f"{clip_id}_skeleton.mat", {"d_skel": joints})
        savemat(folder / "Inertial" / f"{clip_id}_inertial.mat", {"d_iner": rng.normal(size=(10, 6))})
        depth = rng.integers(1800, 2200, (240, 320, FRAMES)).astype(np.uint16)
        savemat(folder / "Depth" / f"{clip_id}_depth.mat", {"d_depth": depth})
    return folder


def openpose(folder: Path) -> Path:
    """Write two recordings of JSON files, each with its video."""
    for seed, take in enumerate(("first", "second")):
        _video(folder / take / f"{take}.mp4")
        for number, points in enumerate(_people(seed, sum(_OPENPOSE.values()))):
            person: dict[str, object] = {"person_id": [-1]}
            begin = 0
            for part, count in _OPENPOSE.items():
                person[part] = points[begin : begin + count].round(3).ravel().tolist()
                begin += count
            text = json.dumps({"version": 1.3, "people": [person]})
            (folder / take / f"{take}_{number:012d}_keypoints.json").write_text(text, encoding="utf-8")
    return folder


def clips(folder: Path) -> Path:
    """Write a csv of three clips of two videos."""
    for name in ("a.mp4", "b.mp4"):
        _video(folder / name)
    table = folder / "clips.csv"
    table.write_text(
        "clip_id,video,start,stop,label,subject\n"
        "a_0,a.mp4,0,3,wave,s1\na_1,a.mp4,3,6,nod,s1\nb_0,b.mp4,0,6,nod,s2\n",
        encoding="utf-8",
    )
    return table


def pyskl(folder: Path) -> Path:
    """Write an annotation pickle of two clips."""
    entries = []
    for label, name in enumerate(("S001C001P001R001A001", "S001C001P002R001A002")):
        points = _people(label, 17)[None].astype(np.float32)
        entries.append(
            {
                "frame_dir": name,
                "label": label,
                "img_shape": (HEIGHT, WIDTH),
                "original_shape": (HEIGHT, WIDTH),
                "total_frames": FRAMES,
                "keypoint": points[..., :2],
                "keypoint_score": points[..., 2],
            }
        )
    path = folder / "annotations.pkl"
    path.write_bytes(pickle.dumps({"split": {}, "annotations": entries}, protocol=4))
    return path


def ntu(folder: Path) -> Path:
    """Write two .skeleton files of one body."""
    for seed, name in enumerate(("S001C001P001R001A001", "S001C001P002R001A002")):
        points = np.concatenate(
            [_people(seed, 25)[..., :2] / 100 - 0.5, np.full((FRAMES, 25, 1), 2.5)], axis=2
        )
        lines = [str(FRAMES)]
        for frame in points:
            lines += ["1", "72057594037944738 0 1 1 1 1 0 0.01 -0.2 2", "25"]
            lines += [" ".join(f"{value:.5f}" for value in (*point, *[1.0] * 9)) for point in frame]
        (folder / f"{name}.skeleton").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def pose(folder: Path) -> Path:
    """Write two .pose files (version 0.2) of OpenPose keypoints."""
    from mg_data.datasets.pose.importer import LAYOUT_COMPONENTS

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value.encode())) + value.encode()

    components: list[bytes] = []
    total = 0
    for name, points in LAYOUT_COMPONENTS["openpose-137"].items():
        names: Sequence[str] = points if not isinstance(points, int) else [f"p{i}" for i in range(points)]
        listing = b"".join(map(text, names))
        components.append(text(name) + text("XYC") + struct.pack("<HHH", len(names), 0, 0) + listing)
        total += len(names)
    header = struct.pack("<fHHHH", 0.2, WIDTH, HEIGHT, 0, len(components)) + b"".join(components)
    for seed, name in enumerate(("first", "second")):
        values = _people(seed, total)[:, None].astype("<f4")
        body = struct.pack("<fIH", 25.0, FRAMES, 1)
        body += values[..., :2].tobytes() + values[..., 2].tobytes()
        (folder / f"{name}.pose").write_bytes(header + body)
    return folder


def videos(folder: Path) -> Path:
    """Write two videos, one of them deeper."""
    for name in ("a.mp4", "deep/b.mp4"):
        _video(folder / name)
    return folder
