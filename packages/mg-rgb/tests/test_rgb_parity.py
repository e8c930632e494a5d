"""Our models beside the libraries' own: with one checkpoint, both give the same logits, bit for bit."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorchvideo.models import csn, r2plus1d, resnet, slowfast, x3d
from pytorchvideo.models import hub as pytorchvideo_hub
from safetensors.torch import save_file
from torch import nn
from torchvision.models import video as torchvision_video
from torchvision.models.video import mvit as torchvision_mvit

from mg_data.contract import DataError, InputSpec
from mg_rgb.models.branch import VideoBranch
from mg_rgb.models.positions import resize_table
from mg_rgb.models.transformers_video import grid_of
from mg_rgb.records_models import MODELS

CLASSES = 12


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def ours(name: str, shape: tuple[int, int, int], classes: int = CLASSES, **options: Any) -> VideoBranch:
    spec = next(model for model in MODELS if model.name == name)
    module, _, factory = spec.factory.partition(":")
    build = getattr(importlib.import_module(module), factory)
    branch = build(classes, input=InputSpec(kind="video", shape=(3, *shape)), **{**spec.options, **options})
    assert isinstance(branch, VideoBranch)
    return branch.eval()


def trained(network: nn.Module) -> nn.Module:
    """Statistics and scales as of a trained network, not those of a fresh one."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()


def assert_equal(
    branch: VideoBranch,
    theirs: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    count: int = 1,
) -> None:
    """Compare on one or two clips of bytes; the library gets them standardised as the branch does it."""
    clips = torch.randint(0, 256, (count, 3, *shape), dtype=torch.uint8)
    with torch.no_grad():
        output = branch(clips)
        expected = theirs((clips.float() / 255 - branch.mean) / branch.std)
    assert torch.equal(output.logits, expected)
    assert output.logits.std() > 0
    assert output.feature.shape == (count, branch.head.in_features)


TORCHVISION = {
    "r2plus1d-18": (8, 64, 64),
    "r3d-18": (8, 64, 64),
    "mc3-18": (8, 64, 64),
    "s3d": (16, 224, 224),
    "swin3d-t": (8, 64, 64),
    "mvit-v1-b": (8, 64, 64),
    "mvit-v2-s": (8, 64, 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_logits_equal_torchvision_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = TORCHVISION[name]
    if name.startswith("mvit"):  # the library's functions fix the sample; their settings serve a smaller one
        original = torchvision_mvit._mvit
        sample = {"temporal_size": shape[0], "spatial_size": shape[1:]}
        monkeypatch.setattr(torchvision_mvit, "_mvit", lambda **given: original(**{**given, **sample}))
    theirs = trained(getattr(torchvision_video, name.replace("-", "_"))(weights=None, num_classes=CLASSES))
    torch.save(theirs.state_dict(), tmp_path / "checkpoint.pth")
    branch = ours(name, shape, weights=str(tmp_path / "checkpoint.pth"))
    assert_equal(branch, theirs, shape, count=1 if name == "s3d" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin3d-s", "swin3d-b"])
def test_larger_swins_have_the_tensors_of_the_library(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision_video, name.replace("-", "_"))(weights=None)
        own = ours(name, (8, 64, 64)).backbone.state_dict()
    wanted = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("head.")}
    assert {key: value.shape for key, value in own.items()} == wanted


# The library's function and the arguments of its published checkpoint (pytorchvideo.models.hub), its classes
# given by another activation than none, and a sample whose last map is the library's window.
I3D_KERNELS = ((3, 1, 1), [(3, 1, 1), (1, 1, 1)], [(3, 1, 1), (1, 1, 1)], [(1, 1, 1), (3, 1, 1)])
NARROW: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], dict[str, Any]]] = {
    "slow-r50": (
        lambda: resnet.create_resnet(
            stem_dim_out=8, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(8, 7, 7), model_depth=50
        ),
        (8, 224, 224),
        {"width": 8},
    ),
    "i3d-r50": (
        lambda: resnet.create_resnet(
            stem_dim_out=8,
            stem_conv_kernel_size=(5, 7, 7),
            stage1_pool=nn.MaxPool3d,
            stage_conv_a_kernel_size=I3D_KERNELS,
        ),
        (8, 224, 224),
        {"width": 8},
    ),
    "r2plus1d-r50": (
        lambda: r2plus1d.create_r2plus1d(dropout_rate=0.5, stem_dim_out=8, head_activation=None),
        (16, 224, 224),
        {"width": 8},
    ),
    "csn-r101": (
        lambda: csn.create_csn(
            model_depth=101, stem_pool=nn.MaxPool3d, head_pool_kernel_size=(4, 7, 7), stem_dim_out=8
        ),
        (32, 224, 224),
        {"width": 8},
    ),
    "x3d-s": (
        lambda: x3d.create_x3d(input_clip_length=13, input_crop_size=160, head_activation=None),
        (13, 160, 160),
        {},
    ),
    "x3d-m": (
        lambda: x3d.create_x3d(
            input_clip_length=16, input_crop_size=96, head_activation=None, head_dim_out=64, width_factor=1.0
        ),
        (16, 96, 96),
        {"head_channels": 64, "width_factor": 1.0},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_logits_equal_pytorchvideo_bit_for_bit(name: str, tmp_path: Path) -> None:
    build, shape, options = NARROW[name]
    theirs = trained(build())
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "checkpoint.pyth")
    branch = ours(name, shape, 400, weights=str(tmp_path / "checkpoint.pyth"), **options)
    assert_equal(branch, theirs, shape)


def two_pathways(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The library's example of its two inputs: every frame, and a quarter of them from first to last."""

    def call(video: torch.Tensor) -> torch.Tensor:
        frames = video.shape[2]
        chosen = torch.linspace(0, frames - 1, frames // 4).long()
        return network([torch.index_select(video, 2, chosen), video])

    return call


@pytest.mark.slow
def test_logits_equal_slowfast_bit_for_bit(tmp_path: Path) -> None:
    theirs = trained(
        slowfast.create_slowfast(stem_dim_outs=(16, 2), slowfast_fusion_conv_kernel_size=(7, 1, 1))
    )
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "checkpoint.pyth")
    branch = ours("slowfast-r50", (32, 224, 224), 400, weights=str(tmp_path / "checkpoint.pyth"), width=16)
    assert_equal(branch, two_pathways(theirs), (32, 224, 224))


HUB = {
    "slow-r50": ("slow_r50", (8, 224, 224)),
    "i3d-r50": ("i3d_r50", (8, 224, 224)),
    "r2plus1d-r50": ("r2plus1d_r50", (16, 224, 224)),
    "csn-r101": ("csn_r101", (32, 224, 224)),
    "slowfast-r50": ("slowfast_r50", (32, 224, 224)),
    "x3d-s": ("x3d_s", (13, 160, 160)),
    "x3d-m": ("x3d_m", (16, 224, 224)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("slow-r50", "x3d-s") else pytest.param(name, marks=pytest.mark.extended)
        for name in HUB
    ],
)
def test_checkpoints_of_the_published_size_load_with_a_new_head(name: str, tmp_path: Path) -> None:
    function, shape = HUB[name]
    theirs = trained(getattr(pytorchvideo_hub, function)(pretrained=False))
    state = theirs.state_dict()
    torch.save({"model_state": state}, tmp_path / "checkpoint.pyth")
    branch = ours(name, shape, weights=str(tmp_path / "checkpoint.pyth"))
    own = branch.backbone.state_dict()
    assert set(state) - set(own) == {key for key in state if ".proj." in key}
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    assert branch.head.weight.shape == (CLASSES, branch.feature_dim)


@pytest.mark.extended
@pytest.mark.parametrize("name", HUB)
def test_logits_equal_the_published_sizes_bit_for_bit(name: str, tmp_path: Path) -> None:
    function, shape = HUB[name]
    theirs = trained(getattr(pytorchvideo_hub, function)(pretrained=False))
    theirs.blocks[-1].activation = None  # some of the library's heads return probabilities
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "checkpoint.pyth")
    branch = ours(name, shape, 400, weights=str(tmp_path / "checkpoint.pyth"))
    assert_equal(branch, two_pathways(theirs) if name == "slowfast-r50" else theirs, shape)


HUGGING_FACE = {
    "videomae": ("VideoMAE", {"tubelet_size": 2, "patch_size": 8}),
    "timesformer": ("Timesformer", {"patch_size": 8}),
    "vivit": ("Vivit", {"tubelet_size": [2, 8, 8]}),
}


def hugging_face(name: str, frames: int = 8, size: int = 32) -> nn.Module:
    models = pytest.importorskip(f"transformers.models.{name}")
    prefix, options = HUGGING_FACE[name]
    shared = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 192}
    configuration = getattr(models, f"{prefix}Config")(
        image_size=size, num_frames=frames, num_labels=CLASSES, **shared, **options
    )
    network: nn.Module = getattr(models, f"{prefix}ForVideoClassification")(configuration)
    for parameter in network.parameters():  # tables of positions and biases begin at zero
        nn.init.normal_(parameter, 0, 0.1)
    return network.eval()


SMALL = {"width": 48, "depth": 2, "heads": 3}


@pytest.mark.parametrize("form", ["published", "own"])
@pytest.mark.parametrize("name", HUGGING_FACE)
def test_logits_equal_hugging_face_bit_for_bit(name: str, form: str, tmp_path: Path) -> None:
    """In the form of its published files (older names), and by the names of its modules."""
    theirs = hugging_face(name)
    if form == "published":
        theirs.save_pretrained(tmp_path)
    else:
        save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    path = str(tmp_path / "model.safetensors")
    branch = ours(name, (8, 32, 32), weights=path, patch=(1 if name == "timesformer" else 2, 8), **SMALL)
    assert_equal(branch, lambda video: theirs(video.transpose(1, 2)).logits, (8, 32, 32), count=2)


@pytest.mark.parametrize("name", ["mvit-v1-b", "mvit-v2-s", "timesformer", "vivit"])
def test_a_checkpoint_of_another_sample_gets_its_positions_interpolated(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"width": 8, "depths": (1, 2)} if name.startswith("mvit") else SMALL
    before = ours(name, (8, 64, 64), **options)
    tables = {n for n, _ in before.named_parameters() if "pos" in n or n.endswith("time_embeddings")}
    tables -= {n for n in tables if n.endswith(("class_pos", "class_token"))}
    for number, table in enumerate(sorted(tables)):
        nn.init.constant_(before.get_parameter(table), number + 1)
    header = json.dumps({"input": {"shape": [3, 8, 64, 64]}})  # as mg train writes it
    save_file(before.state_dict(), tmp_path / "own.safetensors", {"mg": header})
    after = ours(name, (12, 96, 96), weights=str(tmp_path / "own.safetensors"), **options)
    for number, table in enumerate(sorted(tables)):
        value = after.get_parameter(table)
        torch.testing.assert_close(value, torch.full_like(value, number + 1))
    shapes = [[network.get_parameter(t).shape for t in tables] for network in (before, after)]
    assert shapes[0] != shapes[1]
    with torch.no_grad():
        assert torch.isfinite(after(torch.rand(1, 3, 12, 96, 96)).logits).all()


@pytest.mark.parametrize("tells", [True, False])
def test_positions_of_tubes_stay_in_their_columns(tells: bool, tmp_path: Path) -> None:
    """8 frames of 64 pixels are 4 x 8 x 8 tubes, which are as many as 16 x 4 x 4."""
    pytest.importorskip("transformers")
    name, options = "vivit.embeddings.position_embeddings", {**SMALL, "patch": (2, 8)}
    before = ours("vivit", (8, 64, 64), **options)
    columns = torch.arange(8.0).repeat(4 * 8)[:, None]
    before.backbone.get_parameter(name).data[0, 1:] = columns
    header = {"mg": json.dumps({"input": {"shape": [3, 8, 64, 64]}})} if tells else None
    path = tmp_path / "own.safetensors"
    save_file(before.state_dict(), path, header)
    after = ours("vivit", (8, 96, 96), weights=str(path), **options)
    table = after.backbone.get_parameter(name)[0, 1:, 0].reshape(4, 12, 12)
    torch.testing.assert_close(table, table[:1, :1].expand(4, 12, 12))
    assert (table.diff(dim=2) >= 0).all()
    # Of 32 frames it may be as many rows or as many frames, of 2 published frames it is neither.
    assert grid_of(256, (16, 8, 8), (4, 8, 8)) == (4, 8, 8)
    assert grid_of(256, (16, 8, 8), None) == (0, 0, 0)
    assert grid_of(3136, (1, 14, 14), None) == (16, 14, 14)
    if not tells:
        with pytest.raises(DataError, match=r"position_embeddings' has shape \(1, 257, 48\), wanted"):
            ours("vivit", (32, 64, 64), weights=str(path), **options)


def test_an_interpolated_table_keeps_its_order() -> None:
    ramp = torch.arange(8.0)[:, None].expand(8, 3)
    longer = resize_table(ramp, (8,), (16,))
    assert longer.shape == (16, 3)
    assert torch.all(longer[1:, 0] >= longer[:-1, 0])
    rows = torch.arange(4.0)[:, None, None].expand(4, 4, 2).reshape(16, 2)  # rows of a square differ
    square = resize_table(rows, (4, 4), (6, 6)).reshape(6, 6, 2)
    torch.testing.assert_close(square, square[:, :1].expand(6, 6, 2))
    assert resize_table(rows, (4, 4), (4, 4)) is rows
    assert resize_table(rows, (3, 3), (6, 6)) is rows, "of another grid: left for the check of shapes"
