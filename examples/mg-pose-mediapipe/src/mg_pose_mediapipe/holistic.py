"""MediaPipe Holistic as a pose estimator of mg: image coordinates of one person, frame by frame.

Left and right are the person's own, as in every layout of mg, provided that the video is not mirrored.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import PluginError, UsageError

POSE, FACE, HAND = 33, 468, 21
NUM_KEYPOINTS = POSE + FACE + 2 * HAND

# Points of the body that vouch for parts without a confidence of their own: nose, left and right wrist.
_NOSE, _LEFT_WRIST, _RIGHT_WRIST = 0, 15, 16
_POSE_MODELS = {0: "lite", 1: "full", 2: "heavy"}


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ code writes to file descriptor 2; print it after all if the block fails.

    MediaPipe logs before its logging is set up, so no level set from outside can silence it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))


def _points(landmarks: Any, count: int) -> NDArray[np.float32]:
    """Return (count, 3): x and y as shares of the image, and MediaPipe's visibility."""
    rows = [(point.x, point.y, point.visibility) for point in landmarks.landmark[:count]]
    return np.array(rows, np.float32).reshape(count, 3)


def person_of(result: Any, width: int, height: int) -> NDArray[np.float32]:
    """Turn MediaPipe's landmarks of one frame into people: (1, 543, 3), or (0, 543, 3) without a body.

    A body point's confidence is its visibility. Face and hands have none: MediaPipe gives them if their
    model's presence passed 0.5, so their confidence is 0.5, and up to 1 by the visibility of the body's
    own nose or wrist. Body points that MediaPipe guesses outside the image are left to ``mg data pose``,
    which removes them.
    """
    if result.pose_landmarks is None:
        return np.zeros((0, NUM_KEYPOINTS, 3), np.float32)
    person = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    body = person[:POSE] = _points(result.pose_landmarks, POSE)
    first = POSE
    for landmarks, count, witness in (
        (result.face_landmarks, FACE, _NOSE),
        (result.left_hand_landmarks, HAND, _LEFT_WRIST),
        (result.right_hand_landmarks, HAND, _RIGHT_WRIST),
    ):
        if landmarks is not None:
            part = _points(landmarks, count)
            part[:, 2] = 0.5 + 0.5 * body[witness, 2]
            person[first : first + count] = part
        first += count
    person[:, 2] = person[:, 2].clip(0.0, 1.0)
    person[:, :2] *= np.array([width, height], np.float32)
    return person[None]


class Holistic:
    """Estimates one video; MediaPipe carries its tracking from frame to frame.

    Args:
        model_complexity: of the body model. The wheel holds 1 alone; 0 (lite) and 2 (heavy) must be put
            beside it.
        min_detection_confidence: a person is searched for until one is found with this confidence.
        min_tracking_confidence: below it the person is searched for again.
        smooth: MediaPipe's own filter of the body over time; it takes every video for 30 frames a second.
        refine: sharper lips and eyes by a further model (the iris points are left out).

    Raises:
        UsageError: an option out of range, or a model that is not installed.
        PluginError: a MediaPipe without Holistic.
    """

    def __init__(
        self,
        model_complexity: int = 1,
        min_detection_confidence: float = 0.5,
        min_tracking_confidence: float = 0.5,
        smooth: bool = True,
        refine: bool = False,
    ) -> None:
        if model_complexity not in _POSE_MODELS or isinstance(model_complexity, bool):
            raise UsageError(f"mediapipe-holistic: model_complexity {model_complexity!r}, wanted 0, 1 or 2")
        for name, share in (
            ("min_detection_confidence", min_detection_confidence),
            ("min_tracking_confidence", min_tracking_confidence),
        ):
            if not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
                raise UsageError(f"mediapipe-holistic: {name} is {share!r}, wanted 0 to 1")
        for name, switch in (("smooth", smooth), ("refine", refine)):
            if not isinstance(switch, bool):
                raise UsageError(f"mediapipe-holistic: {name} is {switch!r}, wanted true or false")
        self._settings = {
            "model_complexity": model_complexity,
            "min_detection_confidence": float(min_detection_confidence),
            "min_tracking_confidence": float(min_tracking_confidence),
            "smooth_landmarks": smooth,
            "refine_face_landmarks": refine,
        }

    def _start(self) -> Any:
        """Return MediaPipe's solution; it would fetch a missing model from the network, so look first."""
        import mediapipe

        try:
            from mediapipe.python.solutions.holistic import Holistic as Solution
        except ImportError as error:
            raise PluginError(
                f"mediapipe {mediapipe.__version__} has no Holistic, wanted >=0.10.14,<0.10.30: {error}"
            ) from error
        complexity = int(self._settings["model_complexity"])
        name = f"pose_landmark_{_POSE_MODELS[complexity]}.tflite"
        model = Path(mediapipe.__file__).parent / "modules" / "pose_landmark" / name
        if not model.is_file():
            raise UsageError(
                f"mediapipe-holistic: model_complexity {complexity} needs {name}, which MediaPipe's wheel "
                f"lacks (use 1, or put the file at {model})"
            )
        return Solution(**self._settings)

    def estimate(self, frames: Iterable[NDArray[np.uint8]], fps: float) -> Iterator[NDArray[np.float32]]:
        """Yield (P, 543, 3) for each (H, W, 3) RGB frame; P is 0 or 1. ``fps`` is not used."""
        with contextlib.ExitStack() as stack:
            solution = None
            for frame in frames:
                height, width = frame.shape[:2]
                if solution is None:
                    # The graph starts, and talks, while it is made and with its first frame.
                    with quiet_stderr():
                        solution = stack.enter_context(self._start())
                        result = solution.process(np.ascontiguousarray(frame))
                else:
                    result = solution.process(np.ascontiguousarray(frame))
                yield person_of(result, width, height)
