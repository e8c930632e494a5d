"""Small stores and a console, to try plugins on: random content, but always the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mg_data.contract import LayoutSpec
from mg_data.contract.runtime import Progress
from mg_data.keypoints.layouts import find_layout
from mg_data.store import ClipsWriter, StreamsWriter, write_features

DATASET = "fake"
CLASS_NAMES = ("left", "right", "still")
IMAGE_SIZE = (320, 240)
# Clips of unequal length, two subjects; their order in a store is not that of their names.
CLIP_LENGTHS = {"c3": 19, "c0": 12, "c4": 30, "c1": 25, "c2": 9, "c5": 16}


class FakeConsole:
    """A console that keeps what it is told in ``lines``."""

    quiet = True

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.lines.append(f"warning: {text}")

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Progress]:
        """Count steps and show nothing."""
        yield _Silent()


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Show nothing."""


def _walk(
    rng: np.random.Generator, frames: int, layout: LayoutSpec
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return (T, 1, V, 3): a figure that sways, a few points missing."""
    points = len(layout.names)
    rest = rng.normal(0, 1, (points, 3))
    sway = np.cumsum(rng.normal(0, 0.05, (frames, 1, 3)), axis=0) + rng.normal(0, 0.02, (frames, points, 3))
    joints = rest + sway
    if layout.dims == "xyz":
        joints = 0.4 * joints + [0.0, 0.0, 2.5]
    else:
        joints[..., :2] = np.array(IMAGE_SIZE) / 2 + 30 * joints[..., :2]
        joints[..., 2] = rng.uniform(0.3, 1.0, (frames, points))
        joints[rng.random((frames, points)) < 0.03] = 0
    return np.asarray(joints[:, None], np.float32)


def write_fake_clips(path: Path, *, layout: str = "coco-17", signal: str = "inertial") -> Path:
    """Write a clips store of six clips with keypoints and a signal of six channels, and return its path.

    Args:
        layout: of the keypoints, "" for none.
        signal: name of the signal.
    """
    rng = np.random.default_rng(0)
    stored = find_layout(layout) if layout else None
    spatial = stored is not None and stored.dims == "xyz"
    with ClipsWriter(
        path,
        dataset=DATASET,
        class_names=CLASS_NAMES,
        vocabulary=DATASET,
        layout=stored.name if stored else "",
        columns=("x", "y", "z") if spatial else ("x", "y", "confidence"),
        image_size=IMAGE_SIZE,
        signals={signal: {"rate_hz": 50.0, "units": "g, deg/s"}},
    ) as writer:
        for number, (clip_id, frames) in enumerate(CLIP_LENGTHS.items()):
            writer.add(
                clip_id=clip_id,
                subject_id=f"s{number % 2}",
                video_id=f"v{number}",
                start=0,
                stop=frames,
                joints=_walk(rng, frames, stored) if stored else None,
                signals={signal: rng.normal(size=(2 * frames, 6))},
            )
    return path


def write_fake_streams(
    path: Path, *, stream: str = "rgb", encoding: str = "jpeg", channels: int = 3, side: int = 72
) -> Path:
    """Write a streams store of six clips of noise with a moving square, and return its path.

    Args:
        stream: its name. encoding: ``jpeg``, ``png8`` or ``png16`` (then millimetres of depth).
        channels: of the stored values. side: height and width of a frame in pixels.
    """
    from mg_data.video.codec import encode_frame

    rng = np.random.default_rng(0)
    deep = encoding == "png16"
    shape = (side, side) if channels == 1 else (side, side, 3)
    with StreamsWriter(
        path,
        dataset=DATASET,
        stream=stream,
        encoding=encoding,
        channels=channels,
        scale=0.001 if deep else 1.0,
    ) as writer:
        for clip_id, length in CLIP_LENGTHS.items():
            frames = []
            for number in range(length):
                frame = rng.integers(1800, 2200, shape) if deep else rng.integers(0, 120, shape)
                frame[20:40, 5 + number : 25 + number] = 1500 if deep else 220
                frames.append(encode_frame(frame.astype(np.uint16 if deep else np.uint8), encoding))
            boxes = np.tile(np.array([0, 0, side, side], np.float32), (length, 1))
            writer.add(clip_id=clip_id, frames=frames, boxes=boxes)
    return path


def write_fake_features(path: Path, *, feature: str = "pooled", signal: str = "inertial") -> Path:
    """Write a features store of six clips with a vector of 16 numbers and a signal of six channels."""
    rng = np.random.default_rng(0)
    write_features(
        path,
        clip_ids=list(CLIP_LENGTHS),
        features={feature: rng.normal(size=(len(CLIP_LENGTHS), 16))},
        signals={signal: [rng.normal(size=(2 * frames, 6)) for frames in CLIP_LENGTHS.values()]},
        attributes={signal: {"rate_hz": 50.0, "units": "g, deg/s"}},
        dataset=DATASET,
    )
    return path
