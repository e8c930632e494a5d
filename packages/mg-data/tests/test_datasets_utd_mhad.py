"""UTD-MHAD: what the importer stores is what the MATLAB files hold, and skeleton and depth agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError, UsageError
from mg_data.datasets.records import DATASETS
from mg_data.datasets.utd_mhad import CAMERA, CLASS_NAMES, import_utd_mhad, open_frames
from mg_data.video.crop import project

scipy_io = pytest.importorskip("scipy.io")


def write_tree(root: Path, names: tuple[str, ...], frames: int = 5) -> None:
    """Write recordings whose joints count upwards, so that every axis can be told from the others."""
    for folder in ("Skeleton", "Inertial", "Depth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        joints = np.arange(20 * 3 * frames, dtype=np.float64).reshape(20, 3, frames) / 100 + 1
        scipy_io.savemat(root / "Skeleton" / f"{name}_skeleton.mat", {"d_skel": joints})
        signal = np.arange(12.0).reshape(2, 6)
        scipy_io.savemat(root / "Inertial" / f"{name}_inertial.mat", {"d_iner": signal})
        depth = np.full((240, 320, frames), 2000, np.uint16) + np.arange(frames, dtype=np.uint16)
        scipy_io.savemat(root / "Depth" / f"{name}_depth.mat", {"d_depth": depth})


def test_axes_ids_and_labels(tmp_path: Path) -> None:
    write_tree(tmp_path, ("a1_s1_t1", "a10_s2_t3"))
    data = import_utd_mhad(tmp_path)
    clips = list(data.all_clips())
    assert [clip.clip_id for clip in clips] == ["a1_s1_t1", "a10_s2_t3"]
    clip = clips[1]
    assert (clip.subject_id, clip.video_id, clip.start, clip.stop, clip.label) == ("s2", "a10_s2_t3", 0, 5, 9)
    assert CLASS_NAMES[9] == "draw circle counter-clockwise"
    assert clip.joints is not None
    raw = scipy_io.loadmat(tmp_path / "Skeleton" / "a10_s2_t3_skeleton.mat")["d_skel"]
    assert clip.joints.shape == (5, 1, 20, 3)
    for frame, joint, axis in ((0, 0, 0), (4, 19, 2), (2, 7, 1)):
        assert clip.joints[frame, 0, joint, axis] == np.float32(raw[joint, axis, frame])
    assert clip.signals["inertial"].tolist() == np.arange(12.0).reshape(2, 6).tolist()
    assert data.signals["inertial"]["rate_hz"] == 50.0


def test_damaged_files_are_left_out_with_the_reason(tmp_path: Path) -> None:
    write_tree(tmp_path, ("a1_s1_t1", "a2_s1_t1", "a3_s1_t1", "a4_s1_t1"))
    folder = tmp_path / "Skeleton"
    (folder / "a2_s1_t1_skeleton.mat").write_bytes(b"MATLAB 5.0" + bytes(20))
    scipy_io.savemat(folder / "a3_s1_t1_skeleton.mat", {"d_skel": np.zeros((25, 3, 4))})
    scipy_io.savemat(folder / "a4_s1_t1_skeleton.mat", {"other": np.zeros(3)})
    scipy_io.savemat(folder / "a99_s1_t1_skeleton.mat", {"d_skel": np.zeros((20, 3, 4))})
    data = import_utd_mhad(tmp_path)
    reasons = {item.what: item.why for item in data.dropped}
    clips = []
    for unit in data.sources:
        try:
            clips += unit.read()[0]
        except DataError as error:
            reasons[unit.name] = str(error)
    assert [clip.clip_id for clip in clips] == ["a1_s1_t1"]
    assert "is no readable MATLAB file" in reasons["a2_s1_t1"]
    assert reasons["a3_s1_t1"].endswith("a3_s1_t1_skeleton.mat: has shape (25, 3, 4), wanted (20, 3, T)")
    assert reasons["a4_s1_t1"].endswith("a4_s1_t1_skeleton.mat: holds no array 'd_skel'")
    assert reasons["a99_s1_t1_skeleton.mat"] == "action 99 is outside 1..27"


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no folder 'Skeleton'"):
        import_utd_mhad(tmp_path)
    with pytest.raises(UsageError, match="no stream 'rgb'"):
        open_frames(tmp_path, "rgb")
    with pytest.raises(DataError, match="holds no folder 'Depth'"):
        open_frames(tmp_path, "depth")


def test_depth_frames_in_order_and_their_errors(tmp_path: Path) -> None:
    write_tree(tmp_path, ("a1_s1_t1",))
    source = open_frames(tmp_path, "depth")
    assert [int(frame[0, 0]) for frame in source.frames("a1_s1_t1", 1, 4)] == [2001, 2002, 2003]
    with pytest.raises(DataError, match="does not exist"):
        next(source.frames("a1_s1_t2", 0, 1))
    with pytest.raises(DataError, match=r"holds 5 frames, wanted 0\.\.5"):
        next(source.frames("a1_s1_t1", 0, 6))


def test_mirrored_classes_are_the_left_right_and_the_circles() -> None:
    spec = next(spec for spec in DATASETS if spec.name == "utd-mhad")
    names = [(CLASS_NAMES[a], CLASS_NAMES[b]) for a, b in spec.mirror_classes]
    assert names == [
        ("swipe left", "swipe right"),
        ("draw circle clockwise", "draw circle counter-clockwise"),
    ]


@pytest.mark.data
def test_all_real_recordings_are_there(shared_data: Path) -> None:
    data = import_utd_mhad(shared_data / "utd_mhad")
    clips = list(data.all_clips())
    assert len(clips) == len(data.sources) == 861
    assert not data.dropped
    assert {clip.subject_id for clip in clips} == {f"s{number}" for number in range(1, 9)}
    assert {clip.label for clip in clips} == set(range(27))


@pytest.mark.data
@pytest.mark.parametrize("clip_id", ["a1_s1_t1", "a9_s3_t2", "a17_s6_t4", "a24_s8_t1", "a27_s5_t3"])
def test_projected_joints_lie_on_the_person(shared_data: Path, clip_id: str) -> None:
    root = shared_data / "utd_mhad"
    joints = scipy_io.loadmat(root / "Skeleton" / f"{clip_id}_skeleton.mat")["d_skel"].transpose(2, 0, 1)
    imported = next(clip for clip in import_utd_mhad(root).all_clips() if clip.clip_id == clip_id)
    assert imported.joints is not None
    np.testing.assert_array_equal(imported.joints[:, 0], joints.astype(np.float32))
    depth = np.stack(list(open_frames(root, "depth").frames(clip_id, 0, len(joints))))
    pixels = project(imported.joints[:, 0], CAMERA)
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < 320) & (pixels[..., 1] < 240)
    assert inside.mean() > 0.97
    frame, joint = np.nonzero(inside)
    column, row = np.floor(pixels[inside]).astype(int).T
    measured = depth[frame, row, column] / 1000.0
    seen = measured > 0
    assert seen.mean() > 0.7  # hands and feet may fall beside the silhouette by a pixel
    # A joint lies inside the body, so it is a little behind the surface the camera measures.
    behind = joints[frame, joint, 2][seen] - measured[seen]
    assert -0.02 < np.median(behind) < 0.15
    assert np.quantile(np.abs(behind), 0.9) < 0.3
