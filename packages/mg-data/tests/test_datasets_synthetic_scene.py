"""The scene ``press``: people stay themselves, keypoints lie on them, motion is not only theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mg_data.datasets.imigue.importer import import_imigue
from mg_data.datasets.synthetic.corpus import Scenario, person, write_corpus
from mg_data.datasets.synthetic.motion import GESTURES, add_gesture, idle
from mg_data.datasets.synthetic.plan import CorpusPlan, Video, plan_videos
from mg_data.datasets.synthetic.shot import Shot
from mg_data.datasets.synthetic.skeleton import LEFT_HAND, RIGHT_HAND, keypoints
from mg_data.datasets.synthetic.style import Style

pytest.importorskip("cv2")
pytest.importorskip("av")
PLAN = CorpusPlan(
    clips=40,
    subjects=10,
    videos_per_subject=1,
    classes=32,
    height=240,
    width=320,
    fps=12.0,
    seed=1,
    scene="press",
)
PALM = np.array([0, 1, 5, 9, 13, 17])


def palette(style: Style) -> NDArray[np.float64]:
    assert style.wardrobe is not None
    colours = np.array([style.skin, style.shirt, style.wardrobe.second, style.sleeve], np.float64)
    return np.concatenate([colours * factor for factor in (1.0, 0.8, 0.65, 0.5)])


def on_person(image: NDArray[np.uint8], points: NDArray[np.float64], style: Style) -> NDArray[np.bool_]:
    """Return for each point whether its pixel has a colour of the person."""
    column, row = np.rint(points).astype(int).T
    seen = image[row, column].astype(np.float64)
    near: NDArray[np.bool_] = (np.abs(seen[:, None] - palette(style)).max(axis=-1) < 30).any(axis=-1)
    return near


def test_wrists_palms_and_cheeks_lie_on_the_drawn_person() -> None:
    here: list[NDArray[np.bool_]] = []
    elsewhere: list[NDArray[np.bool_]] = []
    for video in plan_videos(PLAN):
        scenario, style = Scenario(video, PLAN), person(PLAN, video.subject)
        for frame, image in enumerate(scenario.frames()):
            if frame % 10:
                continue
            points = scenario.points[frame]
            palms = [points[block][PALM].mean(axis=0) for block in (RIGHT_HAND, LEFT_HAND)]
            cheek = 0.5 * (points[25 + 3] + points[25 + 31])
            chosen = np.array([points[4], points[7], *palms, cheek])
            chosen = chosen[chosen[:, 1] < min(PLAN.height, scenario.shot.table_y) - 2]  # type: ignore[union-attr]
            here.append(on_person(image, chosen, style))
            elsewhere.append(on_person(image, np.abs([PLAN.width - 1, 0] - chosen), style))
    assert np.concatenate(here).mean() > 0.97
    assert np.concatenate(elsewhere).mean() < 0.6


def test_what_is_found_is_near_to_what_is_there() -> None:
    for video in plan_videos(PLAN)[:5]:
        scenario = Scenario(video, PLAN)
        found = scenario.table[..., 2] > 0.3
        assert 0.5 < found[:, :9].mean() < 1.0
        distance = np.linalg.norm(scenario.table[..., :2] - scenario.points, axis=-1)[found]
        assert np.median(distance) < 0.03 * scenario.scale
        # Confused hands are the exception: they are wrong by more than noise.
        assert np.mean(distance > 0.15 * scenario.scale) < 0.1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 200), (200, 64), (98, 130)])
def test_every_size_of_picture_holds_the_person(tmp_path: Path, height: int, width: int) -> None:
    plan = replace(PLAN, clips=2, subjects=2, height=height, width=width, occlusion=1.0, movers=1.0)
    write_corpus(tmp_path / "corpus", plan)
    data = import_imigue(tmp_path / "corpus")
    assert data.image_size == (width, height)
    clips = [clip for source in data.sources for clip in source.read()[0]]
    assert len(clips) == 2
    joints = np.concatenate([clip.joints[:, 0] for clip in clips if clip.joints is not None])
    seen = joints[joints[..., 2] > 0]
    assert (seen[:, :2].max(axis=0) < [width, height]).all()
    assert (joints[:, [0, 1, 2, 5], 2] > 0).mean() > 0.9
    assert np.ptp(seen[:, 0]) > 0.25 * min(width, height)


def one_handed() -> list[int]:
    return [label for label, gesture in enumerate(GESTURES) if gesture.hands == "one"]


def still(style: Style, **changes: Any) -> Style:
    rest = np.array([[-0.2, 1.1], [0.2, 1.1]])
    return replace(style, sway=0.0, talk=0.0, bias=np.zeros(2), rest=rest, **changes)


def test_people_use_the_hand_that_is_theirs() -> None:
    plan = replace(PLAN, scale=1.0)
    people = [person(plan, subject) for subject in range(72)]
    left = [style.right_handed < 0.5 for style in people]
    assert 3 <= sum(left) <= 22
    own = 0.0
    labels = one_handed()
    for subject, style in enumerate(people):
        rng = np.random.default_rng([5, subject])
        for label in labels[subject % 3 :: 3]:
            calm = still(style)
            pose = idle(rng, calm, 30, 12.0)
            add_gesture(pose, label, 0, 30, rng, calm, 12.0)
            moved = np.linalg.norm(pose.tips[15] - calm.rest, axis=-1)
            own += int(np.argmax(moved) == int(left[subject])) / len(labels[subject % 3 :: 3])
    assert own / len(people) > 0.93


@pytest.mark.parametrize("label", one_handed())
def test_a_left_hander_is_the_mirror_image_of_a_right_hander(label: int) -> None:
    tips = []
    for share in (1.0, 0.0):
        style = still(person(PLAN, 0), right_handed=share)
        pose = idle(np.random.default_rng(2), style, 40, 12.0)
        pose.tips[:] = style.rest
        add_gesture(pose, label, 0, 40, np.random.default_rng(3), style, 12.0)
        tips.append(pose.tips)
    mirrored = tips[1][:, ::-1] * [-1.0, 1.0]
    np.testing.assert_allclose(mirrored[..., 1], tips[0][..., 1], atol=1e-12)
    # A hand misses its target by a few hundredths, to the same side of the picture in both.
    assert np.abs(mirrored[..., 0] - tips[0][..., 0]).max() < 0.2


def outside_motion(plan: CorpusPlan) -> float:
    """Return the share of pixels outside the person's box that change from frame to frame."""
    video = Video("0001", 0, (31, 23))
    scenario = Scenario(video, plan)
    found = scenario.table[scenario.table[..., 2] > 0.1]
    left, top = found[:, :2].min(axis=0) - 0.3 * scenario.scale
    right, bottom = found[:, :2].max(axis=0) + 0.3 * scenario.scale
    outside = np.ones((plan.height, plan.width), bool)
    outside[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] = False
    frames = np.stack(list(scenario.frames())).astype(np.int16)
    return float((np.abs(np.diff(frames, axis=0)).max(axis=-1) > 24)[:, outside].mean())


def test_something_moves_behind_the_person() -> None:
    assert outside_motion(replace(PLAN, movers=0.0)) == 0.0
    moving = [outside_motion(replace(PLAN, movers=1.0, seed=seed)) for seed in range(4)]
    assert np.mean(moving) > 0.001


def test_occlusions_cost_hands_and_leave_the_motion_as_it_is() -> None:
    clear, hidden = (
        [Scenario(video, plan) for video in plan_videos(plan)]
        for plan in (replace(PLAN, occlusion=0.0), replace(PLAN, occlusion=1.0))
    )
    weak = [
        np.concatenate([(each.table[:, 95:, 2] < 0.3).ravel() for each in scenarios]).mean()
        for scenarios in (clear, hidden)
    ]
    assert weak[0] < 0.15
    assert weak[1] > weak[0] + 0.1
    for one, other in zip(clear, hidden):
        np.testing.assert_array_equal(one.points, other.points)


def test_the_pattern_of_the_shirt_moves_with_the_body() -> None:
    from mg_data.datasets.synthetic.press import PressPainter

    style = person(PLAN, 0)
    assert style.wardrobe is not None
    wardrobe = replace(style.wardrobe, pattern="checks", period=0.2, jacket=False, second=(250, 250, 250))
    style = replace(still(style), shirt=(20, 20, 120), tie=False, wardrobe=wardrobe, lean=0.0)
    pose = idle(np.random.default_rng(0), style, 30, 12.0)
    pose.torso[:, 0] = np.linspace(-0.2, 0.2, 30)
    points, _ = keypoints(pose, style)
    shot = Shot(
        scale=60.0,
        neck=np.array([160.0, 90.0]),
        angle=0.0,
        table_y=180.0,
        light=np.ones(30),
        things=(),
        movers=(),
        lost=np.zeros((30, 2), bool),
    )
    placed = shot.place(points)
    painter = PressPainter(style, shot, 240, 320, np.random.default_rng(0))
    moving, fixed = [], []
    for frame in range(30):
        image = painter.paint_frame(frame, placed[frame], pose.hidden[frame])
        right, left, hips = placed[frame, 2], placed[frame, 5], placed[frame, 8]
        middle = 0.5 * (right + left)
        spot = middle + 0.5 * (hips - middle) + 0.15 * (left - right)
        column, row = np.rint(spot).astype(int)
        moving.append(image[row, column].mean())
        fixed.append(image[round(90 + 0.67 * 60), 169].mean())
    assert np.std(moving) < 0.5 * np.std(fixed)
    assert np.std(fixed) > 30
