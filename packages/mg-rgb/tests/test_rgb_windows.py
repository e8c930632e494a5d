"""Windows, crops of the test, and training augmentation beside torchvision's own functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from mg_data.store import StreamsWriter
from mg_data.video.codec import encode_frame
from mg_rgb.augment import colour_jitter_matrix, colour_matrix, rand_augment
from mg_rgb.frames import Cutter
from mg_rgb.modalities.colour import Rgb
from mg_rgb.windows import Window, crop_windows, resized_window


def picture(side: int = 96) -> np.ndarray:
    """A smooth coloured picture with every brightness."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (side, side))


def shown(frame: np.ndarray, window: Window, size: int) -> np.ndarray:
    out = np.empty((size, size, 3), np.uint8)
    Cutter(frame, window, size, repeat_border=True)(frame, out)
    return out


@pytest.mark.parametrize("size", [40, 64, 96])
def test_upright_windows_are_torchvisions_resized_crop(size: int) -> None:
    frame = picture()
    left, top, width, height = 11, 23, 60, 52
    window = Window((left + width / 2) / 96, (top + height / 2) / 96, width / 96, height / 96)
    assert window.rectangle(96, 96) == (left, top, left + width, top + height)
    library = functional.resized_crop(
        torch.from_numpy(frame).permute(2, 0, 1), top, left, height, width, [size, size], antialias=size < 45
    )
    difference = shown(frame, window, size).astype(int) - library.permute(1, 2, 0).numpy()
    # Both round; areas (ours, where it gets much smaller) and torchvision's antialiasing are not the same.
    assert np.abs(difference).max() <= (1 if size > 45 else 6)


def test_a_turned_window_shows_the_same_as_the_library_turned() -> None:
    frame = picture()
    ours = shown(frame, Window(angle=np.pi / 2), 96)
    assert np.abs(ours.astype(int) - np.rot90(frame, 1)).max() <= 1


def test_both_ways_of_cutting_agree_where_they_meet() -> None:
    frame = picture()
    window = Window(0.5, 0.5, 0.5, 0.5)
    barely_turned = Window(0.5, 0.5, 0.5, 0.5, 1e-6)
    assert barely_turned.rectangle(96, 96) is None
    inner = np.s_[2:-2, 2:-2]
    difference = shown(frame, window, 64)[inner].astype(int) - shown(frame, barely_turned, 64)[inner]
    assert np.abs(difference).max() <= 2


def test_windows_of_random_resized_crop_lie_inside_and_have_the_area() -> None:
    rng = np.random.default_rng(0)
    windows = [resized_window(rng, area=0.3, aspect=4 / 3, rotation_degrees=0.0) for _ in range(500)]
    areas = np.array([window.width * window.height for window in windows])
    ratios = np.array([window.width / window.height for window in windows])
    assert areas.min() >= 0.3
    assert 0.55 < areas.mean() < 0.7
    assert ratios.min() >= 3 / 4 - 1e-9
    assert ratios.max() <= 4 / 3 + 1e-9
    assert all(window.rectangle(96, 96) is not None for window in windows)


def test_three_crops_touch_the_sides_and_five_the_corners() -> None:
    three = [window.rectangle(100, 100) for window in crop_windows(3, 1.25)]
    assert three == [(0, 10, 80, 90), (10, 10, 90, 90), (20, 10, 100, 90)]
    five = {window.rectangle(100, 100)[:2] for window in crop_windows(5, 1.25)}
    assert five == {(0, 0), (20, 0), (10, 10), (0, 20), (20, 20)}
    assert [window.rectangle(100, 100) for window in crop_windows(1, 1.0)] == [(0, 0, 100, 100)]


def test_colour_matrix_is_torchvisions_jitter() -> None:
    frame = picture() // 2 + 40  # room on both sides, so that nothing is clipped on the way
    video = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
    library = functional.adjust_brightness(video, 1.2)
    grey = functional.rgb_to_grayscale(library).mean()
    library = functional.adjust_contrast(library, 0.8)
    matrix = colour_matrix(1.2, 0.8, 0.7, 0.0, level=float(grey) * 255 / 1.2)
    library = functional.adjust_saturation(library, 0.7)
    ours = cv2.transform(frame.astype(np.float32), matrix.astype(np.float32))
    np.testing.assert_allclose(ours, library.permute(1, 2, 0).numpy() * 255, atol=0.6)


def test_a_hue_turn_keeps_grey_and_brightness_and_a_full_one_everything() -> None:
    frame = picture().astype(np.float32)
    weights = np.array([0.299, 0.587, 0.114])
    turned = cv2.transform(frame, colour_matrix(1, 1, 1, 0.3, 0).astype(np.float32))
    np.testing.assert_allclose(turned @ weights, frame @ weights, atol=0.5)
    assert np.abs(turned - frame).max() > 20
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 1.0, 0)[:, :3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 0.2, 0) @ [90, 90, 90, 1], 90, atol=0.1)


def test_without_strength_the_jitter_changes_nothing() -> None:
    matrix = colour_jitter_matrix(picture(), np.random.default_rng(0), strength=0.0)
    np.testing.assert_allclose(matrix, np.eye(3, 4), atol=1e-6)


def test_rand_augment_leaves_the_generators_of_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    sample = np.ascontiguousarray(np.stack([picture(32)] * 3).transpose(3, 0, 1, 2))
    rand_augment(sample, np.random.default_rng(0), operations=2, magnitude=9)
    assert not seeded


def test_rand_augment_follows_its_generator_and_leaves_the_global_one_alone() -> None:
    sample = np.ascontiguousarray(np.stack([picture(32)] * 3).transpose(3, 0, 1, 2))
    before = sample.copy()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    changed = [rand_augment(sample, np.random.default_rng(n), operations=2, magnitude=9) for n in range(8)]
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    again = rand_augment(sample, np.random.default_rng(3), operations=2, magnitude=9)
    assert np.array_equal(again, changed[3])
    assert np.array_equal(sample, before)
    assert len({one.tobytes() for one in changed}) > 4
    for one in changed:
        assert one.shape == sample.shape
        assert np.array_equal(one[:, 0], one[:, 2]), "equal frames stay equal"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    frames = [encode_frame(np.roll(picture(64), 5 * n, axis=1), "jpeg") for n in range(6)]
    with StreamsWriter(tmp_path / "rgb.h5", dataset="d", stream="rgb", encoding="jpeg", channels=3) as writer:
        writer.add(clip_id="a", frames=frames, boxes=np.zeros((6, 4)))
    return tmp_path / "rgb.h5"


@pytest.mark.parametrize(
    "options",
    [
        {"crop_area": 0.4},
        {"rand_augment": 2},
        {"hue_jitter": 0.1},
        {"crop_area": 0.2, "rotation_degrees": 0.0, "erase": 1.0},
    ],
    ids=str,
)
def test_augmentation_follows_the_generator_alone(options: dict[str, float], store: Path) -> None:
    modality = Rgb(store, stream="rgb", frames=4, size=32, **options)
    first, again, other = (modality.sample("a", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    plain = Rgb(store, stream="rgb", frames=4, size=32)
    assert np.array_equal(modality.sample("a", None), plain.sample("a", None)), "the test is not augmented"


def test_views_are_clips_times_crops(store: Path) -> None:
    modality = Rgb(store, stream="rgb", frames=2, size=32, zoom=1.25, clips=2, crops=3)
    views = modality.views("a")
    assert len(views) == 6
    assert len({view.tobytes() for view in views}) == 6
    single = Rgb(store, stream="rgb", frames=2, size=32, zoom=1.25, clips=2).views("a")
    assert np.array_equal(views[1], single[0]), "the middle crop"
    assert np.array_equal(views[4], single[1])


def test_samples_are_made_without_torch(store: Path) -> None:
    code = (
        "import sys, numpy; from mg_rgb.modalities.colour import Rgb\n"
        f"m = Rgb({str(store)!r}, stream='rgb', frames=4, size=32, crop_area=0.5)\n"
        "m.sample('a', numpy.random.default_rng(0)); m.views('a')\n"
        "print([name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_window_has_the_same_whole_pixels_wherever_it_lies() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        side, part = int(rng.integers(16, 300)), rng.uniform(0.1, 1)
        x = rng.uniform(part / 2, 1 - part / 2)
        found = Window(x, 0.5, part, 1.0).rectangle(side, side)
        assert found is not None
        assert found[2] - found[0] == round(part * side)
    assert Window(0.5, 0.5, 224 / 256, 224 / 256).rectangle(256, 256) == (16, 16, 240, 240)
    assert Window(0.2, 0.5, 0.5, 0.5).rectangle(64, 64) is None
