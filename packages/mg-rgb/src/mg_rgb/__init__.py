"""Models over video: R(2+1)D and Video Swin, with saliency-cropped inputs."""

__version__ = "0.1.0"
