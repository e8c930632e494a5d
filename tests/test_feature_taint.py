"""Whatever learns from stored features has seen what the model behind them has seen, however it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import mg

from mg_adapt.checkpoint import load_checkpoint
from mg_data.store import Taint, write_features, write_split

ANCESTOR = 3  # the key of a clip that the model behind the features was trained on


@pytest.mark.slow
def test_training_adversarial_training_and_shot_inherit_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"c{number:02d}" for number in range(30)]
    labels = np.arange(30) % 2
    names = np.array(["train"] * 20 + ["target"] * 10)
    data, split = tmp_path / "features.h5", tmp_path / "split.h5"
    values = {"feature": rng.normal(size=(30, 8)) + 3 * labels[:, None]}
    write_features(data, clip_ids=ids, features=values, dataset="toy", taint=Taint.of([ANCESTOR]))
    write_split(
        split,
        clip_ids=ids,
        names=names,
        labels=np.where(names == "target", -1, labels),
        subject_ids=["s1" if name == "train" else "s2" for name in names],
        class_names=("a", "b"),
        vocabulary="toy",
        dataset="toy",
    )
    common = ("--data", data, "--split", split, "--threads", 1, "--set", "recipe.epochs=1")
    trained, adversarial, shot = (tmp_path / f"{name}.safetensors" for name in ("train", "dann", "shot"))
    mg("train", "mlp-probe", *common, "-o", trained)
    mg("dann", "mlp-probe", *common, "-o", adversarial)
    mg("shot", trained, *common, "-o", shot)
    for checkpoint in (trained, adversarial, shot):
        assert ANCESTOR in load_checkpoint(checkpoint).taint.trained_on.tolist(), checkpoint.name
    mg("train", "linear-probe", *common, "-o", trained)
    refused = mg("shot", trained, *common, "-o", shot, code=2)
    assert "mg shot: linear-probe has nothing but its classifier, which stays as it is" in refused.stderr
