"""Video models: equal to torchvision's, the right shapes, trainable everywhere, clear about wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import video as torchvision_video

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_rgb.models import r2plus1d as r2plus1d_module
from mg_rgb.models import swin3d as swin3d_module
from mg_rgb.models.branch import VideoBranch
from mg_rgb.models.convolution import ShortClipConv3d, inflate_channels
from mg_rgb.records_models import MODELS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def video(channels: int = 3, frames: int = 8, size: int = 32, dtype: str = "uint8") -> InputSpec:
    return InputSpec(kind="video", shape=(channels, frames, size, size), dtype=dtype)


def narrow(family: str, num_classes: int = 5, channels: int = 3, preset: str = "tiny") -> VideoBranch:
    spec = next(model for model in MODELS if model.name == family)
    options = {**spec.options, **spec.presets[preset]}
    build = getattr(r2plus1d_module if family == "r2plus1d" else swin3d_module, family)
    branch = build(num_classes, input=video(channels), **options)
    assert isinstance(branch, VideoBranch)
    return branch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "ours"),
    [("r2plus1d_18", r2plus1d_module.r2plus1d_18), ("swin3d_t", swin3d_module.swin3d_t)],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_logits_equal_torchvision_bit_for_bit(library: str, ours, suffix: str, tmp_path: Path) -> None:
    theirs = getattr(torchvision_video, library)(weights=None, num_classes=12)
    # Statistics of a trained network, not those of a fresh one.
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    theirs.eval()
    path = tmp_path / f"checkpoint{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs.state_dict(), path)
    branch = ours(12, input=video(size=64), weights=str(path)).eval()
    clip = torch.randint(0, 256, (1, 3, 8, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        output = branch(clip)
        expected = theirs((clip.float() / 255 - branch.mean) / branch.std)
    assert torch.equal(output.logits, expected)
    assert output.feature.shape == (1, branch.head.in_features)


@pytest.mark.parametrize("family", ["r2plus1d", "swin3d"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_channel_count_gives_logits_and_feature(family: str, channels: int) -> None:
    branch = narrow(family, channels=channels)
    output = branch(torch.rand(2, channels, 8, 32, 32))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (2, 5)
    assert output.feature.shape == (2, 256) == (2, branch.feature_dim)


@pytest.mark.parametrize("family", ["r2plus1d", "swin3d"])
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_gradient_reaches_every_parameter(family: str, preset: str) -> None:
    branch = narrow(family, preset=preset).train()
    # Blocks that are skipped by chance would have none.
    for module in branch.modules():
        if hasattr(module, "stochastic_depth"):
            module.stochastic_depth.p = 0.0
    output = branch(torch.rand(2, 3, 8, 64, 64))
    (output.logits.square().sum() + output.feature.square().sum()).backward()
    without = [name for name, p in branch.named_parameters() if p.grad is None or not torch.any(p.grad != 0)]
    assert without == []


@pytest.mark.parametrize("family", ["r2plus1d", "swin3d"])
def test_a_clip_alone_scores_as_in_a_batch(family: str) -> None:
    branch = narrow(family).eval()
    batch = torch.randint(0, 256, (3, 3, 8, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        together = branch(batch).logits
        alone = branch(batch[1:2]).logits
    torch.testing.assert_close(alone[0], together[1], rtol=1e-5, atol=1e-6)


def test_uint8_and_unit_float_are_the_same_video() -> None:
    branch = narrow("swin3d").eval()
    clip = torch.randint(0, 256, (1, 3, 8, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(branch(clip).logits, branch(clip.float() / 255).logits)


@pytest.mark.parametrize("family", ["r2plus1d", "swin3d"])
def test_odd_sizes_and_one_frame_are_served(family: str) -> None:
    branch = narrow(family).eval()
    with torch.no_grad():
        for shape in ((1, 3, 1, 32, 32), (1, 3, 5, 37, 41)):
            assert torch.isfinite(branch(torch.rand(*shape)).logits).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((3, 8, 32, 32), torch.float32, r"shape \(3, 8, 32, 32\), wanted 5 axes \(N, C, T, H, W\)"),
        ((1, 2, 8, 32, 32), torch.float32, "has 2 channels .* the model was built for 3"),
        ((1, 3, 0, 32, 32), torch.float32, r"has no frames \(axis 2"),
        ((1, 3, 8, 32, 0), torch.float32, r"has no columns \(axis 4"),
        ((1, 3, 8, 32, 32), torch.int64, "type torch.int64, wanted uint8 or float32"),
    ],
)
def test_wrong_input_is_named(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        narrow("r2plus1d")(torch.zeros(shape, dtype=dtype))


def test_keypoints_are_not_video() -> None:
    with pytest.raises(UsageError, match=r"model r2plus1d: the modality gives keypoints .* wanted video"):
        r2plus1d_module.r2plus1d(5, input=InputSpec(kind="keypoints", shape=(3, 64, 20)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal_strides": (1, 2)}, "wanted 4 numbers"),
        ({"temporal_strides": (1, 3, 1, 1)}, "each 1 or 2"),
        ({"layers": ()}, "wanted one or more positive"),
        ({"stem_kernel": 4}, "odd kernel"),
        ({"mean": (0.5,)}, "mean has 1 and std 3 numbers, the input has 3 channels"),
    ],
)
def test_contradicting_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        r2plus1d_module.r2plus1d(5, input=video(), **options)  # type: ignore[arg-type]


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(UsageError, match="stage 0 has 32 channels, which 3 heads do not divide"):
        swin3d_module.swin3d(5, input=video(), heads=(3, 6, 12))


def test_statistics_come_from_the_modality_then_the_library() -> None:
    depth = InputSpec(kind="video", shape=(1, 8, 32, 32), extra={"mean": [0.1], "std": [0.2]})
    assert r2plus1d_module.r2plus1d(5, input=depth).mean.flatten().tolist() == pytest.approx([0.1])
    library = r2plus1d_module.r2plus1d(5, input=video()).mean.flatten().tolist()
    assert library == pytest.approx([0.43216, 0.394666, 0.37645])
    grey = r2plus1d_module.r2plus1d(5, input=video(channels=1)).mean.flatten().tolist()
    assert grey == pytest.approx([sum(library) / 3])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_inflated_kernels_answer_a_grey_video_alike(channels: int) -> None:
    kernels = torch.randn(4, 3, 1, 3, 3)
    grey = torch.randn(1, 1, 2, 6, 6)
    old = torch.nn.functional.conv3d(grey.expand(-1, 3, -1, -1, -1), kernels)
    inflated = inflate_channels(kernels, channels)
    new = torch.nn.functional.conv3d(grey.expand(-1, channels, -1, -1, -1), inflated)
    torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)


def test_bfloat16_gradients_stay_finite_where_two_frames_are_left() -> None:
    """Two frames under a temporal kernel of three: the CPU's bfloat16 backward reads unwritten memory."""
    convolution = ShortClipConv3d(64, 64, (3, 1, 1), padding=(1, 0, 0), bias=False)
    for _ in range(10):
        dirty = [torch.full((size,), float("nan")) for size in (256, 4096, 65536, 1_000_000)]
        del dirty
        x = torch.randn(16, 64, 2, 4, 4, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            y = convolution(x)
        y.float().square().sum().backward()
        assert torch.isfinite(convolution.weight.grad).all()
        assert torch.isfinite(x.grad).all()
        convolution.zero_grad()


def test_every_temporal_convolution_of_the_r2plus1d_family_is_guarded() -> None:
    branch = narrow("r2plus1d")
    temporal = [m for m in branch.modules() if isinstance(m, torch.nn.Conv3d) and m.kernel_size[0] > 1]
    assert temporal
    assert all(isinstance(m, ShortClipConv3d) for m in temporal)
