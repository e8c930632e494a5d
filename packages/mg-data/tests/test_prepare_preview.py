"""``mg data preview`` and ``mg layouts``: pictures to be looked at, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.main import run
from mg_data.contract import DataError, StoreError, UsageError
from mg_data.drawing.clip import choose_look, gather
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.prepare.preview import preview
from mg_data.prepare.synth import synth
from mg_data.store import ClipsWriter, Provenance, open_clips, open_streams

cv2 = pytest.importorskip("cv2")
pytest.importorskip("av")
QUIET = TerminalConsole(quiet=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/, clips.h5 and crops.h5 of a small synthetic corpus."""
    root = tmp_path_factory.mktemp("preview")
    synth(
        out=root / "corpus", clips=6, subjects=2, videos_per_subject=1, size="96x128", seed=3, console=QUIET
    )
    import_data(
        name="synthetic", source=root / "corpus", out=root / "clips.h5", labels=root / "l.csv", console=QUIET
    )
    crop(
        clips=root / "clips.h5",
        root=root / "corpus",
        out=root / "crops.h5",
        size=32,
        max_frames=4,
        console=QUIET,
    )
    return root


def _clips(path: Path, **change: Any) -> Path:
    facts: dict[str, Any] = {
        "dataset": "synthetic",
        "class_names": ("one",),
        "vocabulary": "v",
        "layout": "body-25",
        "columns": ("x", "y", "confidence"),
        "image_size": (64, 48),
        "camera": None,
        "signals": {},
        "provenance": Provenance(command="test"),
    }
    with ClipsWriter(path, **{**facts, **change}) as writer:
        joints = np.tile(np.float32([20, 20, 1]), (3, 1, 25, 1)) if change.get("layout") != "" else None
        writer.add(clip_id="Zoë", subject_id="s", video_id="v", start=0, stop=3, joints=joints, signals={})
    return path


def test_a_sheet_shows_the_named_clips_with_boxes_and_skeletons(work: Path, tmp_path: Path) -> None:
    ids = [str(name) for name in open_clips(work / "clips.h5").clip_ids[[4, 1]]]
    result = preview(
        clips=work / "clips.h5", root=work / "corpus", out=tmp_path / "a.png", clip=ids, frames=3, size=128,
        crops=work / "crops.h5", console=QUIET,
    )  # fmt: skip
    assert result.data["clips"] == ids
    assert result.data["frames"] == 6
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape[:2] == (result.data["height"], result.data["width"])
    assert image.shape[1] >= 3 * 128


def test_the_box_is_the_one_that_would_be_cut(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "jump.h5"
    with open_clips(work / "clips.h5") as store:
        facts = {"dataset": store.dataset, "class_names": store.class_names, "layout": store.layout}
        with ClipsWriter(path, image_size=store.image_size, **facts) as writer:
            for row, clip_id in enumerate(store.clip_ids):
                joints = store.joints(row)
                joints[5, 0, 0] = 1, 1, 1  # the tracker lost a point for a frame
                writer.add(
                    clip_id=clip_id,
                    subject_id="",
                    video_id=store.video_ids[row],
                    start=store.start[row],
                    stop=store.stop[row],
                    joints=joints,
                )
    crop(clips=path, root=work / "corpus", out=tmp_path / "c.h5", size=32, max_frames=1, console=QUIET)
    with open_clips(path) as clips, open_streams(tmp_path / "c.h5") as crops:
        look = choose_look(clips)
        for row, clip_id in enumerate(clips.clip_ids):
            boxes = gather(clips, row, 2, None, look).boxes
            np.testing.assert_array_equal(boxes, np.repeat(crops.boxes(crops.rows([clip_id])[0]), 2, axis=0))


def test_frames_without_keypoints_are_told(tmp_path: Path) -> None:
    path = tmp_path / "few.h5"
    with ClipsWriter(
        path, dataset="synthetic", class_names=("one",), layout="body-25", image_size=(64, 48)
    ) as writer:
        joints = np.ones((3, 1, 25, 3), np.float32)
        writer.add(clip_id="c", subject_id="s", video_id="v", start=0, stop=5, joints=joints)
    with pytest.raises(DataError, match=r"few\.h5: clip 'c' has keypoints of 3 of its 5 frames"):
        preview(clips=path, out=tmp_path / "a.mp4", console=QUIET)
    assert not (tmp_path / "a.mp4").exists()


def test_without_the_raw_tree_the_skeleton_stands_on_a_blank_canvas(work: Path, tmp_path: Path) -> None:
    for layout in ("", "openpose-68", "coco-wholebody-133"):
        preview(
            clips=work / "clips.h5", out=tmp_path / "b.png", count=1, frames=1, size=128, layout=layout,
            console=QUIET,
        )  # fmt: skip
        image = cv2.imread(str(tmp_path / "b.png"))
        bluish = (image[..., 0].astype(int) - image[..., 2] > 90).sum()
        assert bluish > 50
    assert (image == 40).all(axis=-1).mean() > 0.2


def test_the_heatmaps_stand_beside_the_frames(work: Path, tmp_path: Path) -> None:
    plain, beside = (
        preview(
            clips=work / "clips.h5", out=tmp_path / "c.png", count=1, frames=2, size=128, heatmap=heatmap,
            console=QUIET,
        ).data["width"]
        for heatmap in (False, True)
    )  # fmt: skip
    assert beside == plain + 2 * 96


def test_a_video_holds_all_frames_of_its_clips(work: Path, tmp_path: Path) -> None:
    import av

    result = preview(
        clips=work / "clips.h5", root=work / "corpus", out=tmp_path / "d.mp4", count=2, size=96, console=QUIET
    )
    store = open_clips(work / "clips.h5")
    lengths = [int((store.stop - store.start)[store.rows([name])[0]]) for name in result.data["clips"]]
    with av.open(str(tmp_path / "d.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == sum(lengths) == result.data["frames"]


def test_an_id_that_no_font_has_is_drawn_as_an_escape(tmp_path: Path) -> None:
    store = _clips(tmp_path / "clips.h5")
    result = preview(clips=store, out=tmp_path / "e.png", clip=["Zoë"], size=64, console=QUIET)
    assert result.data["frames"] == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"out": "a.gif"}, UsageError, "'a.gif' ends in neither .png nor .mp4"),
        ({"count": 0}, UsageError, "--count is 0; give 1 or more"),
        ({"size": 5}, UsageError, "--size is 5; give 32 or more"),
        ({"fps": 0.0}, UsageError, "--fps is 0; give 0.1 to 240"),
        ({"stream": "depth", "root": "corpus"}, UsageError, "no stream 'depth'"),
        ({"clip": ["nobody"]}, StoreError, "nobody"),
        ({"layout": "kinect-20"}, DataError, "cannot become 'kinect-20'"),
        ({"size": 30_000, "count": 6}, UsageError, "a sheet that is too large"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    work: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    out = tmp_path / change.pop("out", "a.png")
    if "root" in change:
        change = {**change, "root": work / change["root"]}
    with pytest.raises(error, match=message):
        preview(clips=work / "clips.h5", out=out, console=QUIET, **change)
    assert not out.exists()


def test_a_store_with_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    bare = _clips(tmp_path / "bare.h5", layout="")
    with pytest.raises(UsageError, match="holds no keypoints; give the raw tree"):
        preview(clips=bare, out=tmp_path / "a.png", console=QUIET)
    small = _clips(tmp_path / "small.h5", image_size=(0, 0))
    with pytest.raises(UsageError, match="does not say how large its images are"):
        preview(clips=small, out=tmp_path / "a.png", console=QUIET)
    flat = _clips(tmp_path / "flat.h5", layout="ntu-25", columns=("x", "y", "z"))
    with pytest.raises(DataError, match="there is no camera to project them by"):
        preview(clips=flat, out=tmp_path / "a.png", console=QUIET)


def test_frames_of_another_shape_than_the_keypoints_are_refused(work: Path, tmp_path: Path) -> None:
    video = str(open_clips(work / "clips.h5").video_ids[0])
    with ClipsWriter(
        tmp_path / "wrong.h5", dataset="synthetic", class_names=("one",), vocabulary="v", layout="body-25",
        image_size=(100, 500), provenance=Provenance(command="test"),
    ) as writer:  # fmt: skip
        writer.add(
            clip_id="c", subject_id="s", video_id=video, start=0, stop=2,
            joints=np.ones((2, 1, 25, 3), np.float32),
        )  # fmt: skip
    with pytest.raises(DataError, match="its frames are 128x96, but the keypoints are in pixels of 100x500"):
        preview(clips=tmp_path / "wrong.h5", root=work / "corpus", out=tmp_path / "a.png", console=QUIET)


@pytest.mark.data
def test_kinect_joints_lie_on_the_person_of_the_depth_map(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from mg_data.datasets.utd_mhad import CAMERA, open_frames
    from mg_data.video.crop import project

    tree = shared_data / "utd_mhad"
    from scipy.io import loadmat

    for name in ("a1_s1_t1", "a22_s8_t1"):
        skeleton = loadmat(tree / "Skeleton" / f"{name}_skeleton.mat")["d_skel"].transpose(2, 0, 1)
        trunk = [1, 2, 3, 4, 8]  # what a gesture hardly moves
        frames = open_frames(tree, "depth").frames(name, 0, len(skeleton))
        hits = []
        for joints, depth in zip(skeleton, frames, strict=True):
            column, row = np.round(project(joints[trunk], CAMERA)).astype(int).T
            measured = depth[row, column]
            hits += (np.abs(measured / 1000 - joints[trunk, 2]) < 0.3).tolist()
        assert np.mean(hits) > 0.95


def test_layouts_are_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layouts"]) == 0
    listed = capsys.readouterr().out
    assert "mediapipe-holistic" in listed
    assert run(["layouts", "--json"]) == 0
    names = {layout["name"] for layout in json.loads(capsys.readouterr().out)["layouts"]}
    assert {"coco-wholebody-133", "mediapipe-holistic", "openpose-68"} <= names
    assert run(["layouts", "show", "coco-wholebody-133", "--plot", str(tmp_path / "p.png")]) == 0
    shown = capsys.readouterr()
    assert "left_big_toe" in shown.out
    assert f"wrote {tmp_path / 'p.png'}" in shown.err
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert run(["layouts", "show", "openpose-86"]) == 4
    assert "did you mean 'openpose-68'" in capsys.readouterr().err
