"""The estimator keeps the contract; run these in the environment that has MediaPipe."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mg_pose_mediapipe.holistic import NUM_KEYPOINTS, Holistic, person_of

from mg_data.contract import PluginError, UsageError
from mg_data.plugins import registry, resolve


def landmarks(count: int, x: float, y: float, visibility: float = 0.0) -> Any:
    point = SimpleNamespace(x=x, y=y, visibility=visibility)
    return SimpleNamespace(landmark=[point] * count)


def test_mg_finds_the_estimator_and_its_layout_fits() -> None:
    spec = registry().get("pose_estimators", "mediapipe-holistic")
    assert resolve(spec.factory) is Holistic
    assert len(registry().get("layouts", spec.layout).names) == NUM_KEYPOINTS == 543
    Holistic(**spec.options)


def test_left_and_right_hand_follow_the_face_in_pixels() -> None:
    result = SimpleNamespace(
        pose_landmarks=landmarks(33, 0.5, 0.5, 0.8),
        face_landmarks=None,
        left_hand_landmarks=landmarks(21, 0.25, 0.5),
        right_hand_landmarks=None,
    )
    people = person_of(result, 640, 480)
    assert people.shape == (1, 543, 3)
    np.testing.assert_allclose(people[0, :33], np.tile([320, 240, 0.8], (33, 1)), rtol=1e-6)
    assert not people[0, 33:501].any()
    np.testing.assert_allclose(people[0, 501:522], np.tile([160, 240, 0.9], (21, 1)), rtol=1e-6)
    assert not people[0, 522:].any()


def test_the_refined_face_leaves_its_iris_points_out() -> None:
    result = SimpleNamespace(
        pose_landmarks=landmarks(33, 0.5, 0.5, 1.0),
        face_landmarks=landmarks(478, 0.5, 0.25),
        left_hand_landmarks=None,
        right_hand_landmarks=None,
    )
    people = person_of(result, 640, 480)
    np.testing.assert_array_equal(people[0, 33:501], np.tile([320, 120, 1], (468, 1)))
    assert not people[0, 501:].any()


def test_nobody_is_found_in_an_empty_room_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    frames = [np.full((120, 160, 3), 90, np.uint8)] * 3
    people = list(Holistic().estimate(frames, 30.0))
    assert [found.shape for found in people] == [(0, 543, 3)] * 3
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_complexity": 3}, "model_complexity 3, wanted 0, 1 or 2"),
        ({"min_detection_confidence": 2}, "min_detection_confidence is 2, wanted 0 to 1"),
        ({"min_tracking_confidence": "high"}, "min_tracking_confidence is 'high', wanted 0 to 1"),
        ({"refine": 1}, "refine is 1, wanted true or false"),
    ],
)
def test_an_option_out_of_range_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Holistic(**options)


def test_a_model_that_the_wheel_lacks_is_not_fetched() -> None:
    with pytest.raises(
        (UsageError, PluginError), match=r"pose_landmark_heavy\.tflite, which MediaPipe's wheel"
    ):
        list(Holistic(model_complexity=2).estimate([np.zeros((8, 8, 3), np.uint8)], 30.0))
