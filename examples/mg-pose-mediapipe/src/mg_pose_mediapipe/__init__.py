"""Pose estimator ``mediapipe-holistic``: 543 points of body, face and hands by MediaPipe Holistic."""
