"""Video models: channels, sizes and number types they take, and what they say about wrong input.

What every registered model must hold is checked in test_rgb_conformance.py.
"""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_rgb.models.branch import VideoBranch
from mg_rgb.models.convolution import (
    PointwiseHead,
    SmallMapConv3d,
    WindowOrMean,
    inflate_channels,
    replace_first,
)
from mg_rgb.models.r2plus1d import r2plus1d
from mg_rgb.models.s3d import s3d
from mg_rgb.models.slowfast import slowfast_r50
from mg_rgb.models.swin3d import swin3d
from mg_rgb.records_models import MODELS

NAMES = [model.name for model in MODELS]
TABLES_OF_POSITIONS = {"mvit-v1-b", "mvit-v2-s", "videomae", "timesformer", "vivit"}
every_model = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def video(channels: int = 3, frames: int = 8, size: int = 32, dtype: str = "uint8") -> InputSpec:
    return InputSpec(kind="video", shape=(channels, frames, size, size), dtype=dtype)


def small(name: str, num_classes: int = 5, channels: int = 3, **options: object) -> VideoBranch:
    """A registered model at its small preset, for samples of 8 frames of 32 x 32 pixels."""
    spec = next(model for model in MODELS if model.name == name)
    module, _, factory = spec.factory.partition(":")
    build = getattr(importlib.import_module(module), factory)
    options = {**spec.options, **spec.presets["small"], **options}
    branch = build(num_classes, input=video(channels), **options)
    assert isinstance(branch, VideoBranch)
    return branch


@every_model
@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_than_colours_give_logits_and_feature(name: str, channels: int) -> None:
    branch = small(name, channels=channels).eval()
    with torch.no_grad():
        output = branch(torch.rand(2, channels, 8, 32, 32))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (2, 5)
    assert output.feature.shape == (2, branch.feature_dim) == (2, 256)


@every_model
def test_bytes_and_unit_floats_are_the_same_video(name: str) -> None:
    branch = small(name).eval()
    clip = torch.randint(0, 256, (1, 3, 8, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(branch(clip).logits, branch(clip.float() / 255).logits)


@every_model
def test_a_training_step_in_bfloat16_is_finite(name: str) -> None:
    branch = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = branch(torch.rand(2, 3, 8, 32, 32))
    (output.logits.float().square().sum() + output.feature.float().square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in branch.parameters() if p.grad is not None)


@every_model
def test_other_sizes_are_served_or_refused_in_words(name: str) -> None:
    branch = small(name).eval()
    with torch.no_grad():
        for shape in ((1, 3, 1, 32, 32), (1, 3, 5, 37, 41)):
            if name in TABLES_OF_POSITIONS:
                with pytest.raises(ValueError, match="built for 8 frames of 32 x 32 pixels"):
                    branch(torch.rand(*shape))
            else:
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
        small("r2plus1d")(torch.zeros(shape, dtype=dtype))


def test_keypoints_are_not_video() -> None:
    with pytest.raises(UsageError, match=r"model r2plus1d: the modality gives keypoints .* wanted video"):
        r2plus1d(5, input=InputSpec(kind="keypoints", shape=(3, 64, 20)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal_strides": (1, 2)}, "wanted 4 numbers"),
        ({"temporal_strides": (1, 3, 1, 1)}, "each 1 or 2"),
        ({"layers": ()}, "wanted one or more positive"),
        ({"stem_kernel": 4}, "odd kernel"),
        ({"std": (0.2, 0.0, 0.2)}, "std is .*, wanted numbers above 0"),
        ({"mean": (0.5,)}, "mean has 1 and std 3 numbers, the input has 3 channels"),
    ],
)
def test_contradicting_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        r2plus1d(5, input=video(), **options)  # type: ignore[arg-type]


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(UsageError, match="stage 0 has 32 channels, which 3 heads do not divide"):
        swin3d(5, input=video(), heads=(3, 6, 12))


def test_statistics_come_from_the_modality_then_the_library() -> None:
    depth = InputSpec(kind="video", shape=(1, 8, 32, 32), extra={"mean": [0.1], "std": [0.2]})
    assert r2plus1d(5, input=depth).mean.flatten().tolist() == pytest.approx([0.1])
    library = r2plus1d(5, input=video()).mean.flatten().tolist()
    assert library == pytest.approx([0.43216, 0.394666, 0.37645])
    grey = r2plus1d(5, input=video(channels=1)).mean.flatten().tolist()
    assert grey == pytest.approx([sum(library) / 3])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("r3d-18", {"layers": (2, 2)}, r"layers \[2, 2\] and width 16: wanted four positive numbers"),
        ("slow-r50", {"layers": (3, 4, 40, 3)}, r"wanted 4 numbers .* \[3, 8, 36, 3\]"),
        ("slowfast-r50", {"width": 12}, "width is 12, wanted a multiple of 8"),
        ("x3d-m", {"width_factor": 0.0}, "width_factor 0, .* wanted positive numbers"),
        ("s3d", {"width": 2}, "width is 2, wanted at least 4"),
        ("s3d", {"width": 64, "dropout": 0.0, "mean": (1.0,)}, "mean has 1 and std 3 numbers"),
        ("mvit-v2-s", {"depths": (1,)}, "two blocks or more in all"),
        ("vivit", {"patch": (3, 8)}, "of 8 frames of 32 x 32 pixels, wanted squares, in multiples of 3"),
        ("videomae", {"heads": 5}, "a width that the heads divide"),
        ("timesformer", {"patch": (2, 8)}, r"patch \[2, 8\]: .* one frame each, wanted \[1, 8\]"),
    ],
)  # fmt: skip
def test_options_that_a_library_cannot_build_are_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=f"{'' if 'mean' in message else f'model {name}: '}.*{message}"):
        small(name, **options)


def test_samples_that_are_too_small_for_the_library_are_refused() -> None:
    with pytest.raises(UsageError, match="model s3d: samples of 4 frames of 32 x 32 pixels are too small"):
        s3d(5, input=video(frames=4))


def test_sides_that_patches_do_not_cover_are_refused() -> None:
    from mg_rgb.models.mvit import mvit_v2_s

    with pytest.raises(UsageError, match="samples of 8 frames of 34 x 34 pixels, wanted an even number"):
        mvit_v2_s(5, input=video(size=34))
    with pytest.raises(UsageError, match="of 12 x 12 pixels are too small for 3 stages, wanted 16 or more"):
        mvit_v2_s(5, input=video(size=12), width=8, depths=(1, 1, 1))
    assert mvit_v2_s(5, input=video(size=16), width=8, depths=(1, 1, 1)).size == (8, 16, 16)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "transformers.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"model vivit: needs the package transformers .* 'mg-rgb\[hf\]'"):
        small("vivit")


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_inflated_kernels_answer_a_grey_video_alike(channels: int) -> None:
    old = torch.nn.Conv3d(3, 4, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    new = replace_first(old, channels)
    grey = torch.randn(1, 1, 2, 6, 6)
    expected = old(grey.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(new(grey.expand(-1, channels, -1, -1, -1)), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(new.weight, inflate_channels(old.weight, channels))


def test_a_pooling_window_larger_than_the_map_becomes_its_mean() -> None:
    pool = WindowOrMean(torch.nn.AvgPool3d((2, 4, 4), stride=1))
    x = torch.randn(2, 3, 2, 4, 4)
    assert torch.equal(pool(x), torch.nn.functional.avg_pool3d(x, (2, 4, 4)))
    assert torch.equal(pool(x[:, :, :1]), x[:, :, :1].mean(dim=(2, 3, 4), keepdim=True))


def test_slowfast_takes_clips_longer_than_the_librarys() -> None:
    """36 frames of 224 pixels hold two of the slow pathway's windows, five of the fast one's."""
    branch = slowfast_r50(2, input=video(1, 36, 224), width=8, layers=(1, 1, 1, 1)).eval()
    with torch.no_grad():
        assert branch(torch.rand(1, 1, 36, 224, 224)).logits.isfinite().all()


def test_a_pointwise_head_is_the_convolution_it_stands_for() -> None:
    head = PointwiseHead(7, 4)
    x = torch.randn(3, 7)
    kernels = head.weight.reshape(4, 7, 1, 1, 1)
    expected = torch.nn.functional.conv3d(x.reshape(3, 7, 1, 1, 1), kernels, head.bias).reshape(3, 4)
    assert torch.equal(head(x), expected)
    torch.testing.assert_close(head(x), torch.nn.functional.linear(x, head.weight, head.bias))


@pytest.mark.parametrize(
    ("kernel", "frames"), [((3, 1, 1), 2), ((5, 1, 1), 3), ((7, 1, 1), 4), ((5, 3, 3), 4)], ids=str
)
def test_bfloat16_gradients_are_right_where_the_kernel_is_larger_than_the_map(
    kernel: tuple[int, int, int], frames: int
) -> None:
    """There the CPU's bfloat16 backward pass reads and writes memory that is not its own."""
    padding = tuple(size // 2 for size in kernel)
    convolution = SmallMapConv3d(16, 16, kernel, padding=padding, bias=False)
    for _ in range(5):
        dirty = [torch.full((size,), float("nan")) for size in (256, 4096, 65536, 1_000_000)]
        del dirty
        x = torch.randn(4, 16, frames, 4, 4, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            y = convolution(x)
        y.float().square().sum().backward()
        found, convolution.weight.grad = convolution.weight.grad, None
        convolution(x).square().sum().backward()
        torch.testing.assert_close(found, convolution.weight.grad, rtol=1e-4, atol=1e-3)
        convolution.weight.grad = None


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TABLES_OF_POSITIONS])
def test_every_convolution_with_a_kernel_is_guarded(name: str) -> None:
    convolutions = [m for m in small(name).backbone.modules() if isinstance(m, torch.nn.Conv3d)]
    assert convolutions
    if not name.startswith("swin3d"):  # its only convolution cuts patches
        assert all(isinstance(m, SmallMapConv3d) for m in convolutions if max(m.kernel_size) > 1)
