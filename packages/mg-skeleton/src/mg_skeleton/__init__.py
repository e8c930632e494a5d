"""Models over keypoints: decoupled spatial-temporal CNN and heatmap 3D CNN."""

__version__ = "0.1.0"
