"""Wrong labels of the target change nothing before ``mg score``: no weight, logit, pseudo-label or vote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mg_adapt.run.execute import call_stage
from mg_data.cli.build import run_params
from mg_data.labels import read_labels, write_labels
from mg_data.plugins import registry
from mg_data.store import open_clips, stored_digest

PROTOCOL = {
    "train": {"subjects": ["s01", "s02", "s03"]},
    "val": {"subjects": ["s04"]},
    "target": {"subjects": ["s05", "s06"]},
}
SETTINGS = {"recipe": {"epochs": 2}, "modality": {"layout": "imigue-35", "frames": 16}}


def stage(name: str, /, **params: Any) -> dict[str, Any]:
    """Run a stage as ``mg run`` does, in this process."""
    spec = registry().get("stages", name)
    return call_stage(name, run_params(spec, params), "", True)["data"]


def content(path: Path) -> str | bytes:
    """Return a store's digest, as its file also holds the time it was written; all bytes of others."""
    return stored_digest(path) if path.suffix == ".h5" else path.read_bytes()


def walk(folder: Path, clips: Path, labels: Path) -> dict[str, str | bytes]:
    """Go from labels to the retrained vote; return what each file says that was made."""
    folder.mkdir()

    def file(name: str) -> str:
        return str(folder / name)

    split = file("split.h5")
    stage("split", clips=clips, labels=labels, protocol_json=PROTOCOL, out=split)
    common = {"data": clips, "split": split, "threads": 1}
    model = {"model": "decoupled-stcnn", "preset": "tiny", "modality": "joint", "settings": SETTINGS}
    stage("train", **common, **model, branch="joint", out=file("first.safetensors"))
    for subset in ("val", "target"):
        stage("predict", **common, checkpoint=file("first.safetensors"), subset=subset,
              out=file(f"{subset}.h5"))  # fmt: skip
    stage("fuse", stores=[file("target.h5")], fit=[file("val.h5")], labels=split, out=file("probs.h5"),
          params_out=file("fusion.json"))  # fmt: skip
    stage("adapt", logits=[file("target.h5")], split=split, params=file("fusion.json"), threshold=0.0,
          out=file("pseudo.h5"))  # fmt: skip
    stage("train", **common, **model, branch="joint", pseudo=file("pseudo.h5"), use=["train", "val"],
          out=file("second.safetensors"))  # fmt: skip
    stage("predict", **common, checkpoint=file("second.safetensors"), subset="target",
          out=file("target2.h5"))  # fmt: skip
    stage("fuse", stores=[file("target2.h5")], params=file("fusion.json"), out=file("probs2.h5"))
    # Logs hold times.
    return {path.name: content(path) for path in folder.iterdir() if path.suffix != ".jsonl"}


@pytest.mark.slow
def test_poisoned_labels_of_the_target_change_the_score_alone(tmp_path: Path) -> None:
    raw, clips, labels = tmp_path / "raw", tmp_path / "clips.h5", tmp_path / "labels.csv"
    stage("synth", out=raw, clips=48, subjects=6, classes=3, video=False)
    stage("import", name="synthetic", source=raw, out=clips, labels=labels)
    store = open_clips(clips)
    truth = read_labels(labels)
    people = dict(zip(store.clip_ids.tolist(), store.subject_ids.tolist()))
    wrong = {
        clip_id: (label + 1) % len(store.class_names) if people[clip_id] in ("s05", "s06") else label
        for clip_id, label in truth.items()
    }
    poison = tmp_path / "poison.csv"
    write_labels(poison, list(wrong), list(wrong.values()), store.class_names)
    honest, poisoned = walk(tmp_path / "a", clips, labels), walk(tmp_path / "b", clips, poison)
    assert honest.keys() == poisoned.keys()
    assert len(honest) >= 10
    assert [name for name in honest if honest[name] != poisoned[name]] == []
    scores = []
    for name, file in (("a", labels), ("b", poison)):
        probs, out = tmp_path / name / "probs2.h5", tmp_path / f"{name}.json"
        stage("score", stores=[probs], labels=file, out=out)
        (found,) = json.loads(out.read_text())["scores"].values()
        scores.append(found)
    # Every label of the target is another one now, so a clip cannot be right in both.
    assert scores[0]["accuracy"] + scores[1]["accuracy"] <= 1
    for what in ("confusion", "nll", "per_class"):
        assert scores[0][what] != scores[1][what]
