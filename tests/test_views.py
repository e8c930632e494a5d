"""Several views of a clip by ``mg predict --clips``: as a checkpoint trained with them, without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import mg

from mg_data.store import read_logits


@pytest.mark.extended
@pytest.mark.slow
def test_views_are_a_matter_of_the_test_alone(tmp_path: Path) -> None:
    mg("data", "synth", tmp_path / "raw", "--clips", 24, "--subjects", 2, "--size", "64x96", "--no-video")
    clips, split = tmp_path / "clips.h5", tmp_path / "split.h5"
    labels = tmp_path / "labels.csv"
    mg("data", "import", "synthetic", tmp_path / "raw", "-o", clips, "--labels", labels)
    mg("data", "split", clips, labels, "--protocol-json",
       '{"train": {"subjects": ["s01"]}, "target": {"subjects": ["s02"]}}', "-o", split)  # fmt: skip
    common = ("--data", clips, "--split", split, "--threads", 1)

    def trained(views: int) -> Path:
        out = tmp_path / f"{views}.safetensors"
        mg("train", "decoupled-stcnn", *common, "--preset", "tiny", "--modality", "joint-motion", "-o", out,
           "--set", f"modality.clips={views}", "--set", "recipe.epochs=1", "--quiet")  # fmt: skip
        return out

    def logits(checkpoint: Path, name: str, *words: object) -> tuple[np.ndarray, str]:
        out = tmp_path / name
        mg("predict", checkpoint, *common, "--subset", "target", "-o", out, "--no-flip", *words, "--quiet")
        store = read_logits(out)
        return store.values, store.tta

    once, often = trained(1), trained(3)
    plain, asked = logits(once, "plain.h5"), logits(once, "asked.h5", "--clips", 3)
    assert (plain[1], asked[1]) == ("none", "views3")
    np.testing.assert_array_equal(asked[0], logits(often, "often.h5")[0])
    assert np.abs(plain[0] - asked[0]).max() > 1e-4, "other times are seen"
