"""The synthetic corpus: the challenge's layouts, the long tail, one corpus a seed, values that come back."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.contract import RawClip, UsageError
from mg_data.datasets.imigue.importer import import_imigue
from mg_data.datasets.synthetic.corpus import Scenario, write_corpus
from mg_data.datasets.synthetic.motion import GESTURES
from mg_data.datasets.synthetic.plan import (
    TRAIN_COUNTS,
    CorpusPlan,
    class_counts,
    plan_videos,
)

pytest.importorskip("cv2")
av = pytest.importorskip("av")

PLAN = CorpusPlan(
    clips=8, subjects=2, videos_per_subject=1, classes=32, height=96, width=128, fps=25.0, seed=5
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "corpus"
    write_corpus(path, PLAN)
    return path


def clips_of(root: Path, **options: Any) -> list[RawClip]:
    return [clip for source in import_imigue(root, **options).sources for clip in source.read()[0]]


def digest(root: Path) -> str:
    parts = [
        f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(root.rglob("*.*"))
    ]
    return "\n".join(parts)


def test_the_tail_follows_the_challenge() -> None:
    assert len(TRAIN_COUNTS) == len(GESTURES) == 32
    assert sum(TRAIN_COUNTS) == 12893
    counts = class_counts(400, 32)
    assert counts.sum() == 400
    assert counts.min() == 1
    assert counts[31] == counts.max() > 100
    assert class_counts(12, 32).sum() == 12
    assert np.count_nonzero(class_counts(100, 8)) == 8


def test_every_subject_and_clip_is_dealt_out() -> None:
    videos = plan_videos(
        CorpusPlan(**{**PLAN.__dict__, "clips": 100, "subjects": 5, "videos_per_subject": 2})
    )
    assert {video.subject for video in videos} == set(range(5))
    labels = np.concatenate([video.labels for video in videos])
    np.testing.assert_array_equal(np.bincount(labels, minlength=32), class_counts(100, 32))


def test_the_seed_decides_every_byte(corpus: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", PLAN, workers=2)
    assert digest(tmp_path / "again") == digest(corpus)
    write_corpus(tmp_path / "other", CorpusPlan(**{**PLAN.__dict__, "seed": 6}))
    assert digest(tmp_path / "other") != digest(corpus)


def test_both_keypoint_files_and_the_video_have_the_same_frames(corpus: Path) -> None:
    for video_id in ("0001", "0002"):
        folder = corpus / video_id
        rows = list(csv.reader((folder / f"{video_id}_light_hand.csv").open()))
        assert {len(row) for row in rows} == {1 + 35 * 3}
        with av.open(str(folder / f"{video_id}.mp4")) as container:
            sizes = {(frame.width, frame.height) for frame in container.decode(video=0)}
            container.seek(0)
            assert sum(1 for _ in container.decode(video=0)) == len(rows)
        assert sizes == {(128, 96)}
        last = max(int(row[2]) for row in csv.reader((folder / f"{video_id}_label.csv").open()))
        assert last < len(rows)


def test_the_import_gives_back_the_numbers_of_the_files(corpus: Path) -> None:
    data = import_imigue(corpus)
    clips = clips_of(corpus)
    assert len(clips) == 8
    assert not data.dropped
    assert data.image_size == (128, 96)
    assert {clip.subject_id for clip in clips} == {"s01", "s02"}
    np.testing.assert_array_equal(
        np.bincount([clip.label for clip in clips], minlength=32), class_counts(PLAN.clips, PLAN.classes)
    )
    light = {clip.clip_id: clip.joints for clip in clips_of(corpus, keypoints="light_hand")}
    for clip in clips:
        assert clip.joints is not None
        body = light[clip.clip_id]
        assert body is not None
        np.testing.assert_array_equal(clip.joints[:, :, :25], body[:, :, :25])
        rows = list(csv.reader((corpus / clip.video_id / f"{clip.video_id}_light_hand.csv").open()))
        nose = np.array(
            [[float(value) for value in row[1:4]] for row in rows[clip.start : clip.stop]], np.float32
        )
        np.testing.assert_array_equal(clip.joints[:, 0, 0], nose)


def test_missing_points_are_zero_and_the_rest_lies_in_the_image(corpus: Path) -> None:
    joints = np.concatenate([clip.joints for clip in clips_of(corpus) if clip.joints is not None])[:, 0]
    missing = joints[..., 2] == 0
    assert np.all(joints[missing] == 0)
    assert 0.0 < missing[:, :9].mean() < 0.2
    assert missing[:, 19:25].all()  # feet are out of the picture
    seen = joints[~missing]
    assert seen[:, 0].max() < 128
    assert seen[:, 1].max() < 96
    assert seen.min() >= 0


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no synthetic corpus"):
        write_corpus(tmp_path / "mine", PLAN)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_first_version_of_the_corpus_stays_what_it_was(corpus: Path) -> None:
    """Recorded results of the demo rest on it: these numbers come from the code that wrote version 1."""
    facts = json.loads((corpus / "corpus.json").read_text())
    assert list(facts) == ["plan", "clips", "videos", "frames", "class_counts"]
    assert facts["plan"] == {name: getattr(PLAN, name) for name in list(PLAN.__dataclass_fields__)[:8]}
    assert sorted(path.name for path in corpus.iterdir()) == ["0001", "0002", "corpus.json", "subjects.csv"]
    for video_id, first, frames, elbow in (
        ("0001", "8,7,45", 168, [28.602, 69.992, 0.745]),
        ("0002", "24,9,40", 167, [31.532, 73.026, 0.828]),
    ):
        assert (corpus / video_id / f"{video_id}_label.csv").read_text().split()[0] == first
        table = np.loadtxt(corpus / video_id / f"{video_id}_light_hand.csv", delimiter=",")
        assert len(table) == frames
        # Another machine's sine may differ in the last bit, and so may a rounding.
        np.testing.assert_allclose(table[10, 13:16], elbow, atol=0.0011)


def test_a_pause_parts_the_gestures_and_makes_nothing_else_of_a_clip() -> None:
    video = plan_videos(PLAN)[0]
    tight, apart = (Scenario(video, replace(PLAN, pause=pause)) for pause in (0.0, 2.0))
    gaps = [[later[0] - earlier[1] for earlier, later in zip(s.spans, s.spans[1:])] for s in (tight, apart)]
    assert max(gaps[0]) <= 10
    assert all(1.0 * PLAN.fps <= gap <= 3.0 * PLAN.fps + 10 for gap in gaps[1])
    assert len(apart.spans) == len(tight.spans) == len(video.labels)
    assert apart.num_frames > apart.spans[-1][1] > tight.num_frames
    assert replace(PLAN, pause=2.0).version == 2
