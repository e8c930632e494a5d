"""``mg models convert``: public checkpoints become initial weights; hostile ones are refused, never run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mg_data.contract import DataError, InputSpec, UsageError
from mg_skeleton.convert import convert, read_checkpoint
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.models.posec3d import PoseC3D, SlowOnly
from mg_skeleton.models.posec3d import build as build_posec3d
from mg_skeleton.models.stgcn import build as build_stgcn
from mg_skeleton.weights import load_weights, read_weights

GOLDEN = Path(__file__).parent / "golden"
POINTS = InputSpec(kind="keypoints", shape=(3, 16, 17), layout="coco-17")


class _Console:
    quiet = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say

    def progress(self, label: str, total: int | None) -> Any:
        raise NotImplementedError


def _rule() -> Any:
    spec = importlib.util.spec_from_file_location("golden_rule", GOLDEN / "rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _golden(name: str) -> np.ndarray:
    with np.load(GOLDEN / "networks.npz") as kept:
        return np.asarray(kept[name])


def _convert(checkpoint: Path, out: Path, **options: Any) -> dict[str, Any]:
    console = _Console()
    result = convert(console=console, checkpoint=checkpoint, source="mmaction2", out=out, **options)
    return {**result.data, "said": console.said}


@torch.no_grad()
def test_a_converted_stgcn_gives_the_logits_of_the_framework_that_saved_it(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    facts = _convert(GOLDEN / "mmaction2-st-gcn.pth", out)
    assert (facts["model"], facts["layout"], facts["num_classes"]) == ("st-gcn", "coco-17", 5)
    model = build_stgcn(5, input=POINTS, **facts["model_options"], weights=str(out)).eval()
    points = torch.from_numpy(_rule().clips("points", (2, 1, 16, 17, 3), -1.0))
    logits = model(points[:, 0].permute(0, 3, 1, 2)).logits.numpy()
    assert np.abs(logits - _golden("tiny/st-gcn")).max() < 1e-5


@torch.no_grad()
def test_a_converted_posec3d_gives_the_logits_of_the_framework_that_saved_it(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    facts = _convert(GOLDEN / "mmaction2-posec3d.pth", out)
    assert (facts["model"], facts["channels"], facts["num_classes"]) == ("posec3d", 3, 5)
    assert facts["model_options"]["depths"] == [1, 2, 1]
    model = PoseC3D(5, HeatmapRenderer(3, ()), SlowOnly(3, **facts["model_options"])).eval()
    assert load_weights(model, out, model_name="posec3d") == ()
    maps = torch.from_numpy(_rule().clips("maps", (2, 17, 8, 32, 32)))[:, :3]
    logits = model.classifier(model.backbone(maps).mean(dim=(2, 3, 4))).numpy()
    assert np.abs(logits - _golden("tiny/posec3d")).max() < 1e-5


def test_objects_of_the_framework_are_passed_over_and_named(tmp_path: Path) -> None:
    facts = _convert(GOLDEN / "mmaction2-st-gcn.pth", tmp_path / "w.safetensors")
    assert "mmengine.logging.history_buffer.HistoryBuffer" in facts["source"]["ignored"]
    assert "not executed" in facts["said"][0]


def test_the_header_names_source_model_and_mapping(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    _convert(GOLDEN / "mmaction2-posec3d.pth", out)
    with safe_open(out, framework="pt") as file:
        header = json.loads(file.metadata()["mg"])
    assert header["format"] == "mg-weights"
    assert header["from"] == "mmaction2"
    assert header["source"]["file"] == "mmaction2-posec3d.pth"
    assert len(header["source"]["sha256"]) == 64
    assert header["mapping"]["cls_head.fc_cls.bias"] == "classifier.bias"
    assert set(header["mapping"].values()) == set(read_weights(out)[1])


def test_a_new_set_of_classes_starts_with_a_new_classifier(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    options = _convert(GOLDEN / "mmaction2-st-gcn.pth", out)["model_options"]
    torch.manual_seed(0)
    fresh = build_stgcn(7, input=POINTS, **options)
    torch.manual_seed(0)
    begun = build_stgcn(7, input=POINTS, **options, weights=str(out))
    assert torch.equal(begun.classifier.weight, fresh.classifier.weight)
    name = "blocks.0.temporal.0.weight"
    assert torch.equal(begun.state_dict()[name], read_weights(out)[1][name])
    assert not torch.equal(begun.state_dict()[name], fresh.state_dict()[name])


def test_weights_of_another_model_or_shape_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    _convert(GOLDEN / "mmaction2-st-gcn.pth", out)
    people = InputSpec(kind="people", shape=(1, 8, 17, 3), extra={"edges": [], "size": 16})
    with pytest.raises(DataError, match="found those of model 'st-gcn', want 'posec3d'"):
        build_posec3d(5, input=people, weights=str(out))
    with pytest.raises(DataError, match=r"tensors missing and .* without a place"):
        build_stgcn(5, input=POINTS, weights=str(out))
    with pytest.raises(DataError, match=r"'adjacency' has shape \(3, 17, 17\), want"):
        build_stgcn(
            5,
            input=InputSpec(kind="keypoints", shape=(3, 16, 20), layout="kinect-20"),
            widths=(4, 8, 8),
            strides=(1, 2, 1),
            weights=str(out),
        )


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __init__(self, function: Any, *words: Any) -> None:
            self.call = function, words

        def __reduce__(self) -> tuple[Any, ...]:
            return self.call

    path, burst = tmp_path / "bomb.pth", str(tmp_path / "burst")
    called, system = Bomb(shutil.copy, str(GOLDEN / "rule.py"), burst), Bomb(os.system, f"touch {burst}")
    torch.save({"state_dict": {"a.weight": torch.zeros(2)}, "meta": called}, path)
    tensors, ignored = read_checkpoint(path)
    assert list(tensors) == ["a.weight"]
    assert ignored == ("shutil.copy",)
    torch.save({"state_dict": {"a.weight": torch.zeros(2)}, "meta": system}, path)
    with pytest.raises(DataError, match=r"running what it holds, so it was refused \(.*system"):
        read_checkpoint(path)
    torch.save({"state_dict": {"a.weight": called}}, path)
    with pytest.raises(DataError, match=r"'a.weight' of its state_dict is no tensor"):
        read_checkpoint(path)
    torch.save({"state_dict": {"a.weight": called}}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="cannot be read without running what it holds"):
        read_checkpoint(path)
    assert not Path(burst).exists()


def test_damaged_and_swollen_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(DataError, match="no such file"):
        read_checkpoint(path)
    whole = (GOLDEN / "mmaction2-st-gcn.pth").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=str(path)):
        read_checkpoint(path)
    path.write_text("# a page of text", encoding="utf-8")
    with pytest.raises(DataError, match="no readable torch checkpoint"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=str(path)):
        read_checkpoint(path)
    torch.save({"state_dict": {"a.weight": torch.zeros(1).expand(1 << 40)}}, path)
    with pytest.raises(DataError, match=r"claims \(1099511627776,\), more than the file holds"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 100_000)
    with pytest.raises(DataError, match="a compressed archive"):
        read_checkpoint(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(DataError, match="holds no state_dict"):
        read_checkpoint(path)


def test_checkpoints_of_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "o.safetensors"
    torch.save({"state_dict": {"backbone.conv9.weight": torch.zeros(2)}}, path)
    with pytest.raises(DataError, match=r"1 of 1 tensors have no place in posec3d, such as 'backbone.conv9"):
        _convert(path, out)
    tensors, _ = read_checkpoint(GOLDEN / "mmaction2-st-gcn.pth")
    del tensors["backbone.gcn.1.tcn.bn.bias"]
    torch.save(tensors, path)
    with pytest.raises(DataError, match=r"1 of 60 tensors missing .* 'blocks.1.temporal.1.bias'"):
        _convert(path, out)
    with pytest.raises(UsageError, match="is that of layout 'coco-17', not 'kinect-20'"):
        _convert(GOLDEN / "mmaction2-st-gcn.pth", out, layout="kinect-20")
    assert not out.exists()


def test_a_stem_and_a_classifier_without_stages_make_no_network(tmp_path: Path) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "o.safetensors"
    ends = {
        "backbone.conv1.conv.weight": torch.zeros(4, 3, 1, 7, 7),
        "cls_head.fc_cls.weight": torch.zeros(2, 4),
    }
    torch.save(ends, path)
    with pytest.raises(DataError, match=r"stages \[\] of blocks make no PoseC3D"):
        _convert(path, out)
    graph = {"backbone.gcn.0.gcn.A": torch.zeros(3, 0, 0), "backbone.data_bn.weight": torch.zeros(6)}
    torch.save(graph, path)
    with pytest.raises(DataError, match=r"its adjacency has shape \(3, 0, 0\), want \(subsets, V, V\)"):
        _convert(path, out)
