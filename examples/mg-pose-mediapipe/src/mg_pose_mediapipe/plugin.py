"""The record that mg finds. Imports the contract alone: MediaPipe is loaded when a video is estimated."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import PoseEstimatorSpec, hookimpl


@hookimpl
def mg_register_pose_estimators() -> Iterable[PoseEstimatorSpec]:
    return [
        PoseEstimatorSpec(
            name="mediapipe-holistic",
            summary="MediaPipe Holistic: 33 body, 468 face and 2 x 21 hand points of one person.",
            factory="mg_pose_mediapipe.holistic:Holistic",
            layout="mediapipe-holistic",
            options={
                "model_complexity": 1,
                "min_detection_confidence": 0.5,
                "min_tracking_confidence": 0.5,
                "smooth": True,
                "refine": False,
            },
        )
    ]
