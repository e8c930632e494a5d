"""Published score files: stacking learns the clips it is fitted on by heart (paper section 4.4)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mg_fusion.fusers.fitting import fit_fuser

pytestmark = pytest.mark.data
MODELS = ("iframe", "mv", "residual")
# HMDB51 calls its clips VIDEO_CLASS_properties_number: clips of one video differ in what follows.
_CLIP = re.compile(r"_[a-z]_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+\.avi$")


@pytest.mark.slow
def test_stacking_overfits_and_folds_by_clip_hide_it(shared_data: Path) -> None:
    logits, labels, videos = [], np.empty(0), np.empty(0)
    for model in MODELS:
        with np.load(shared_data / "dmcnet_hmdb51" / f"split3_{model}.npz") as file:
            logits.append(file["logits"])
            labels, names = file["label"], file["name"]
            videos = np.array([_CLIP.sub("", name) for name in names.tolist()])
    assert len(set(videos)) < 700
    found = {
        folds: fit_fuser("stacking-logistic", np.stack(logits), labels, groups=groups, folds=3)
        for folds, groups in (("video", videos), ("clip", None))
    }
    by_video, by_clip = found["video"].cross_fitted["accuracy"], found["clip"].cross_fitted["accuracy"]
    equal = found["video"].baselines["equal_weight"]["accuracy"]
    assert found["video"].in_sample["accuracy"] > 0.99
    # On videos it has not seen it loses to equal weights; clips of one video on both sides hide that.
    assert by_video < equal - 0.05
    assert by_clip > by_video + 0.1
    weights = fit_fuser("class-weights", np.stack(logits), labels, groups=videos, folds=3)
    assert weights.cross_fitted["accuracy"] > by_video + 0.05
