"""Flip averaging (paper 4.2) by ``mg predict``: the mean of two runs, one of them on mirrored recordings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import mg

from mg_data.datasets.utd_mhad import CLASS_NAMES
from mg_data.plugins import registry
from mg_data.store import StreamsWriter, read_logits, write_split
from mg_data.video.codec import encode_frame
from mg_data.video.flow import CHANNELS, OFFSET, SCALE, quantise_flow

CLIPS, LENGTH, SIDE = 8, 6, 48


def pictures(stream: str) -> list[list[np.ndarray]]:
    """Frames of every clip as stored: smooth colours, or displacements in pixels (H, W, 2)."""
    rng = np.random.default_rng(0)
    channels, spread = (2, 6.0) if stream == "flow" else (3, 255.0)
    found = []
    for _ in range(CLIPS):
        small = rng.uniform(-spread if stream == "flow" else 0, spread, (6, 6, channels)).astype(np.float32)
        large = cv2.resize(small, (SIDE + LENGTH, SIDE + LENGTH))
        found.append([large[n : n + SIDE, n : n + SIDE] for n in range(LENGTH)])
    return found


def write(path: Path, stream: str, *, mirrored: bool) -> Path:
    """Write the clips, or what a mirrored camera would have given."""
    flow = stream == "flow"
    with StreamsWriter(
        path,
        dataset="utd-mhad",
        stream=stream,
        encoding="png8",
        channels=CHANNELS if flow else 3,
        scale=SCALE if flow else 1.0,
        offset=OFFSET if flow else 0.0,
    ) as writer:
        for number, frames in enumerate(pictures(stream)):
            encoded = []
            for frame in frames:
                shown = frame[:, ::-1] * ([-1, 1] if flow else [1, 1, 1]) if mirrored else frame
                whole = quantise_flow(shown) if flow else np.rint(shown).astype(np.uint8)
                encoded.append(encode_frame(whole, "png8"))
            writer.add(clip_id=f"c{number}", frames=encoded, boxes=np.zeros((LENGTH, 4)))
    return path


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_it_is_the_mean_of_two_runs_with_mirrored_classes_exchanged(stream: str, tmp_path: Path) -> None:
    mirror_classes = registry().get("datasets", "utd-mhad").mirror_classes
    assert len(mirror_classes) == 2, "swipes and circles"
    split = tmp_path / "split.h5"
    names = ["train", "target"] * (CLIPS // 2)
    write_split(
        split,
        dataset="utd-mhad",
        clip_ids=[f"c{number}" for number in range(CLIPS)],
        names=names,
        labels=[number if name == "train" else -1 for number, name in enumerate(names)],
        class_names=CLASS_NAMES,
        subject_ids=names,
    )
    data = write(tmp_path / "data.h5", stream, mirrored=False)
    mirrored = write(tmp_path / "mirrored.h5", stream, mirrored=True)
    checkpoint = tmp_path / "model.safetensors"
    settings = ("recipe.epochs=2", "recipe.flip=true", "modality.frames=4", "recipe.lr=0.02")
    changes = [word for setting in settings for word in ("--set", setting)]
    mg("train", "r2plus1d", "--preset", "tiny", "--modality", stream, "--data", data, "--split", split,
       "-o", checkpoint, *changes, "--quiet")  # fmt: skip

    def logits(store: Path, flip: str) -> np.ndarray:
        out = tmp_path / f"{store.stem}{flip}.h5"
        mg("predict", checkpoint, "--data", store, "--split", split, "--subset", "all", "-o", out, flip)
        return read_logits(out).values

    averaged, plain, other = logits(data, "--flip"), logits(data, "--no-flip"), logits(mirrored, "--no-flip")
    exchanged = other.copy()
    for left, right in mirror_classes:
        exchanged[:, [left, right]] = other[:, [right, left]]
    np.testing.assert_allclose(averaged, (plain + exchanged) / 2, atol=1e-5)
    assert np.abs(averaged - (plain + other) / 2).max() > 1e-3, "the exchange of columns is seen"
    assert np.abs(plain - other).max() > 1e-3, "the mirror image is seen"
