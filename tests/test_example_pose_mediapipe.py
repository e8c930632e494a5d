"""examples/mg-pose-mediapipe as its README says: poses in an environment of its own, a store handed over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, mg

from mg_data.plugins import registry
from mg_data.store import open_clips

pytestmark = [pytest.mark.extended, pytest.mark.slow, pytest.mark.data]

EXAMPLE = ROOT / "examples" / "mg-pose-mediapipe"
VIDEOS = {"no": 66, "sister": 87}
NOSE, SHOULDERS, WRISTS, HANDS = 0, [11, 12], (15, 16), (501, 522)


def _uv(*words: object) -> None:
    # In the example's folder: its pyproject.toml says which OpenCV MediaPipe gets.
    done = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, words)],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python of an environment with mg-data, the example and MediaPipe."""
    folder = tmp_path_factory.mktemp("mediapipe") / "env"
    _uv("venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    _uv("pip", "install", "--quiet", "--python", python, f"{ROOT / 'packages' / 'mg-data'}[prep]", EXAMPLE)
    _uv("pip", "install", "--quiet", "--python", python, "pytest")
    return str(python)


@pytest.fixture(scope="module")
def poses(environment: str, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of two videos, made in that environment."""
    out = tmp_path_factory.mktemp("poses") / "poses.h5"
    videos = [shared_data / "intel_asl" / f"{name}.mkv" for name in VIDEOS]
    done = mg("data", "pose", *videos, "-o", out, "--estimator", "mediapipe-holistic", python=environment)
    # MediaPipe's own talk is held back: what is left is the progress bar.
    assert [line for line in done.stderr.splitlines() if not line.startswith("pose mediapipe-")] == []
    return out


def test_its_own_tests_pass_there(environment: str) -> None:
    done = subprocess.run(
        [environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_keeps_the_contract(environment: str) -> None:
    done = mg("plugins", "check", "mg-pose-mediapipe", python=environment)
    assert "ok   pose estimator mediapipe-holistic" in done.stdout


def test_the_estimator_needs_one_opencv_and_numpy_1(environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "list", "--python", environment, "--format", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    )
    versions = dict(line.split("==") for line in done.stdout.split() if "==" in line)
    assert [name for name in versions if name.startswith("opencv")] == ["opencv-python-headless"]
    assert versions["numpy"].startswith("1.")


def test_the_signer_is_found_in_the_main_environment(poses: Path, shared_data: Path) -> None:
    clips = open_clips(poses)
    assert clips.clip_ids.tolist() == list(VIDEOS)
    assert clips.stop.tolist() == list(VIDEOS.values())
    assert (clips.layout, clips.image_size) == ("mediapipe-holistic", (640, 480))
    assert clips.provenance.config["plugin"] == "mg-pose-mediapipe 0.1.0"
    names = registry().get("layouts", clips.layout).names
    for row in range(len(clips)):
        joints = clips.joints(row)[:, 0]
        assert joints.shape == (clips.stop[row], len(names), 3)
        head_and_shoulders = joints[:, [NOSE, *SHOULDERS]]
        assert (head_and_shoulders[..., 2] > 0.5).all(axis=1).mean() >= 0.95
        # Signers face the camera: the left shoulder is to the right in the image, the nose between and above.
        nose, left, right = np.median(head_and_shoulders[..., :2], axis=0)
        assert right[0] + 60 < left[0]
        assert right[0] < nose[0] < left[0]
        assert nose[1] + 30 < min(left[1], right[1])
        given = joints[:, HANDS, 2] > 0
        assert given.any(axis=1).mean() >= 0.5
        for hand, (own, other) in enumerate((WRISTS, WRISTS[::-1])):
            seen = given[:, hand] & (joints[:, list(WRISTS), 2] > 0).all(axis=1)
            root = joints[seen, HANDS[hand], :2]
            to_own = np.linalg.norm(root - joints[seen, own, :2], axis=1)
            to_other = np.linalg.norm(root - joints[seen, other, :2], axis=1)
            assert (to_own < to_other).mean() >= 0.8
    mg("store", "info", poses)
    picture = poses.with_suffix(".png")
    mg("data", "preview", poses, shared_data / "intel_asl", "-o", picture)
    assert picture.stat().st_size > 10_000


def test_clips_are_cut_out_of_the_store(poses: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(
        "clip_id,video,start,stop,label\nno_0,no.mkv,10,50,no\nsister_0,sister.mkv,5,80,sister\n"
    )
    out = tmp_path / "clips.h5"
    words = ["--option", f"keypoints={poses}", "-o", out, "--labels", tmp_path / "labels.csv"]
    mg("data", "import", "clips", table, *words)
    whole, cut = open_clips(poses), open_clips(out)
    assert cut.clip_ids.tolist() == ["no_0", "sister_0"]
    np.testing.assert_array_equal(cut.joints(0), whole.joints(0)[10:50])
    np.testing.assert_array_equal(cut.joints(1), whole.joints(1)[5:80])


def test_the_main_environment_says_what_it_lacks(shared_data: Path, tmp_path: Path) -> None:
    done = mg(
        "data", "pose", shared_data / "intel_asl" / "no.mkv", "-o", tmp_path / "p.h5",
        "--estimator", "mediapipe-holistic", code=4,
    )  # fmt: skip
    assert "no pose estimator named 'mediapipe-holistic'" in done.stderr
