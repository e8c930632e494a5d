"""Frame modalities over real stores: shapes, mirror, randomness, which frames are decoded, damaged input."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from mg_data.contract import StoreError, UsageError
from mg_data.store import StreamsWriter
from mg_data.video.codec import decode_frame, encode_frame
from mg_data.video.flow import OFFSET, SCALE, quantise_flow
from mg_rgb.frames import Cutter, frame_numbers
from mg_rgb.modalities import base
from mg_rgb.modalities.base import FrameModality
from mg_rgb.modalities.colour import Rgb
from mg_rgb.modalities.depth import Depth, DepthMotion, nearness
from mg_rgb.modalities.difference import FrameDifference
from mg_rgb.modalities.flow import Flow
from mg_rgb.modalities.taylor import Taylor
from mg_rgb.records_modalities import MODALITIES
from mg_rgb.windows import Window

SIDE, LENGTH = 40, 12
CLASSES: dict[str, type[FrameModality]] = {
    "rgb": Rgb,
    "depth": Depth,
    "depth-motion": DepthMotion,
    "frame-difference": FrameDifference,
    "flow": Flow,
    "taylor": Taylor,
}


def colour_frame(number: int) -> np.ndarray:
    """A picture that differs from left to right and brightens with its number."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[..., 0] = np.arange(SIDE) * 4
    frame[..., 1] = 15 * number
    frame[..., 2] = 60
    return frame


def depth_frame(number: int) -> np.ndarray:
    """Millimetres: a body at 2.8 m, a hand that comes nearer, a wall at 4.5 m, and 0 elsewhere."""
    frame = np.zeros((SIDE, SIDE), np.uint16)
    frame[:, :6] = 4500
    frame[8:36, 14:26] = 2800
    frame[12:18, 26:34] = 2800 - 40 * number
    return frame


def flow_frame(number: int) -> np.ndarray:
    """A square of 3 pixels a frame to the right and 2 down, at rest elsewhere."""
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    flow[10:30, 8:24] = (3.0, 2.0)
    return quantise_flow(flow)


FORMS = {"rgb": ("jpeg", 3), "taylor": ("jpeg", 3), "depth": ("png16", 1), "flow": ("png8", 2)}


def write(
    path: Path, stream: str, clips: dict[str, list[bytes]], scale: float = 1.0, offset: float = 0.0
) -> Path:
    encoding, channels = FORMS[stream]
    with StreamsWriter(
        path,
        dataset="toy",
        stream=stream,
        encoding=encoding,
        channels=channels,
        scale=scale,
        offset=offset,
    ) as writer:
        for clip_id, frames in clips.items():
            writer.add(clip_id=clip_id, frames=frames, boxes=np.zeros((len(frames), 4), np.float32))
    return path


def encoded(frame: np.ndarray) -> bytes:
    if frame.dtype == np.uint16:
        return cv2.imencode(".png", frame)[1].tobytes()
    quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Path]:
    colour = [encoded(colour_frame(n)) for n in range(LENGTH)]
    deep = [encoded(depth_frame(n)) for n in range(LENGTH)]
    moving = [encode_frame(flow_frame(n), "png8") for n in range(LENGTH)]
    return {
        "rgb": write(tmp_path / "rgb.h5", "rgb", {"a": colour, "short": colour[:1]}),
        "depth": write(tmp_path / "depth.h5", "depth", {"a": deep, "short": deep[:1]}, scale=0.001),
        "taylor": write(tmp_path / "taylor.h5", "taylor", {"a": colour, "short": colour[:1]}),
        "flow": write(
            tmp_path / "flow.h5", "flow", {"a": moving, "short": moving[:1]}, scale=SCALE, offset=OFFSET
        ),
    }


def opened(name: str, stores: dict[str, Path], **options: object) -> FrameModality:
    spec = next(modality for modality in MODALITIES if modality.name == name)
    merged = {**spec.options, "frames": 4, "size": 24, **options}
    return CLASSES[name](stores[str(merged["stream"])], **merged)


@pytest.mark.parametrize("name", list(CLASSES))
@pytest.mark.parametrize("clip_id", ["a", "short"])
def test_samples_have_the_shape_and_type_they_announce(name: str, clip_id: str, stores) -> None:
    modality = opened(name, stores)
    for rng in (None, np.random.default_rng(0)):
        sample = modality.sample(clip_id, rng)
        assert sample.shape == modality.input.shape
        assert sample.dtype == np.dtype(modality.input.dtype)
        assert np.isfinite(sample).all()
    assert len(modality.input.extra.get("mean", sample)) == sample.shape[0]


@pytest.mark.parametrize("name", list(CLASSES))
def test_flip_is_an_involution_that_copies(name: str, stores) -> None:
    modality = opened(name, stores)
    sample = modality.sample("a", None)
    before = sample.copy()
    mirrored = modality.flip(sample)
    assert not np.shares_memory(mirrored, sample)
    assert np.array_equal(sample, before)
    sign = np.array([-1, 1]).reshape(2, 1, 1) if name == "flow" else 1
    assert np.array_equal(mirrored[..., 0], sign * sample[..., -1])
    assert np.array_equal(modality.flip(mirrored), sample)


@pytest.mark.parametrize("name", list(CLASSES))
def test_samples_follow_the_generator_alone(name: str, stores) -> None:
    modality = opened(name, stores, erase=0.5)
    first = modality.sample("a", np.random.default_rng(3))
    np.random.default_rng(0).random()
    again = pickle.loads(pickle.dumps(modality)).sample("a", np.random.default_rng(3))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, modality.sample("a", np.random.default_rng(4)))
    assert np.array_equal(modality.sample("a", None), modality.sample("a", None))


def test_rgb_keeps_the_order_of_colours_and_frames(stores) -> None:
    sample = opened("rgb", stores, frames=12, size=40).sample("a", None)
    red, green, blue = sample.astype(int)
    assert np.all(np.diff(red.mean(axis=(0, 1))[2:-2]) > 2)
    assert np.allclose(green.mean(axis=(1, 2)), 15 * np.arange(12), atol=4)
    assert np.allclose(blue, 60, atol=8)


def test_depth_shows_the_person_and_nothing_else(stores) -> None:
    sample = opened("depth", stores, frames=12, size=40, zoom=1.0).sample("a", None)[0]
    assert np.all(sample[:, :, :6] == 0), "the wall is background"
    assert np.all(sample[:, 0:6, 36:] == 0), "what was not measured is background"
    assert np.allclose(sample[:, 10:34, 16:24], 0.5, atol=0.01), "the person stands at 0.5"
    hand = sample[:, 14:16, 28:32].mean(axis=(1, 2))
    assert np.all(np.diff(hand) > 0), "a hand that comes nearer gets brighter"


def test_millimetres_and_metres_give_the_same_nearness(tmp_path: Path, stores) -> None:
    frames = [encoded(depth_frame(n)) for n in range(LENGTH)]
    raw = write(tmp_path / "raw.h5", "depth", {"a": frames}, scale=1.0)
    metres, millimetres = opened("depth", stores), opened("depth", {"depth": raw})
    np.testing.assert_allclose(metres.sample("a", None), millimetres.sample("a", None), atol=1e-5)


def test_depth_motion_is_the_change_of_nearness(stores) -> None:
    near, change = opened("depth-motion", stores).sample("a", None)
    assert np.all(change[0] == 0)
    assert np.allclose(change[1:], near[1:] - near[:-1])
    assert np.allclose(near, opened("depth", stores).sample("a", None)[0])


def test_a_clip_without_any_measurement_is_all_background() -> None:
    empty = np.zeros((2, 8, 8), np.float32)
    assert np.array_equal(nearness(empty, empty > 0, 0.6), empty)


def test_frame_difference_is_the_brightening(stores) -> None:
    difference = opened("frame-difference", stores, frames=5).sample("a", None)[0]
    # Six frames of twelve, two apart; green weighs 0.587 in brightness.
    assert np.allclose(difference.mean(axis=(1, 2)), 2 * 15 * 0.587 / 255, atol=0.01)


def test_only_the_frames_of_a_sample_are_decoded(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def counting(data: np.ndarray, encoding: str) -> np.ndarray:
        decoded.append(len(data))
        return decode_frame(data, encoding)

    monkeypatch.setattr(base, "decode_frame", counting)
    opened("rgb", stores, frames=3).sample("a", None)
    assert len(decoded) == 3
    decoded.clear()
    opened("rgb", stores, frames=8).sample("short", None)
    assert len(decoded) == 1, "repeats of one frame are decoded once"


def test_views_are_spread_over_time(stores) -> None:
    modality = opened("rgb", stores, frames=2, clips=3, stride=1)
    brightness = [view[1].mean() for view in modality.views("a")]
    assert len(brightness) == 3
    assert brightness == sorted(brightness)
    assert brightness[0] < brightness[2]
    assert len(opened("rgb", stores).views("a")) == 1


@pytest.mark.parametrize("stride", [0, 1, 3])
@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_frame_numbers_ascend_within_the_clip(stride: int, length: int) -> None:
    for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
        numbers = frame_numbers(length, 8, stride=stride, rng=rng, part=0.5)
        assert numbers.shape == (8,)
        assert numbers.min() >= 0
        assert numbers.max() < length
        assert np.all(np.diff(numbers) >= 0)


def test_window_of_the_same_size_changes_nothing() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    shown = np.empty_like(frame)
    Cutter(frame, Window(), 16, repeat_border=True)(frame, shown)
    assert np.array_equal(shown, frame)


def test_flow_is_in_sides_of_the_sample_whatever_its_size(stores) -> None:
    for size in (40, 20, 80):
        horizontal, vertical = opened("flow", stores, size=size).sample("a", None)
        middle = np.s_[:, size * 14 // 40 : size * 26 // 40, size * 12 // 40 : size * 20 // 40]
        np.testing.assert_allclose(horizontal[middle], 3 / SIDE, rtol=1e-5)
        np.testing.assert_allclose(vertical[middle], 2 / SIDE, rtol=1e-5)
        assert not horizontal[:, : size // 8].any(), "the rest is at rest"


def test_flow_turns_and_grows_with_its_window(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    modality = opened("flow", stores, size=40)
    quarter = Window(0.4, 0.5, 0.5, 0.5, np.pi / 2)
    monkeypatch.setattr(modality, "_draw_window", lambda rng: quarter)
    turned = modality.sample("a", np.random.default_rng(0))[:, 0, 20, 20]
    # The window's x axis points down the frame: what goes right by 3 goes up by 3, at twice the size.
    np.testing.assert_allclose(turned, [2 * 2 / SIDE, -2 * 3 / SIDE], rtol=1e-4)


def test_frame_difference_of_depth_is_the_change_of_nearness(stores) -> None:
    depth = {**stores, "rgb": stores["depth"]}
    found = opened("frame-difference", depth, stream="depth", frames=11, size=40)
    change = found.sample("a", None)[0]
    near = opened("depth", stores, frames=12, size=40, zoom=1.0).sample("a", None)[0]
    np.testing.assert_allclose(change, np.diff(near, axis=0), atol=1e-6)
    assert change[:, 13:17, 28:32].min() > 0, "a hand that comes nearer"


@pytest.mark.parametrize("name", ["rgb", "taylor"])
def test_erased_boxes_lie_in_all_channels_and_frames(name: str, stores) -> None:
    jitters = ("scale_jitter", "aspect_jitter", "shift_jitter", "rotation_degrees")
    calm = dict.fromkeys(jitters, 0.0) | {"temporal_crop": 1.0}
    seen = opened(name, stores, erase=1.0, **calm).sample("a", np.random.default_rng(0))
    erased = (seen == 0).all(axis=(0, 1))
    assert 0 < erased.sum() < erased.size / 4


def test_a_jpeg_cut_short_in_the_middle_of_a_store_is_named(tmp_path: Path) -> None:
    good = encoded(colour_frame(0))
    path = write(tmp_path / "rgb.h5", "rgb", {"a": [good] * 3, "b": [good, good[: len(good) * 2 // 3], good]})
    modality = opened("rgb", {"rgb": path}, frames=3)
    assert modality.sample("a", None).any()
    with pytest.raises(StoreError, match=r"clip 'b', frame 1: \d+ bytes are the beginning of a jpeg image"):
        modality.sample("b", None)


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    frames = [encoded(colour_frame(0)), encoded(colour_frame(0)[:20])]
    path = write(tmp_path / "rgb.h5", "rgb", {"a": frames})
    with pytest.raises(StoreError, match=r"clip 'a', frame 1 has shape \(20, 40, 3\), those before it"):
        opened("rgb", {"rgb": path}, frames=2).sample("a", None)


def test_an_empty_clip_of_a_foreign_writer_is_named(tmp_path: Path, stores) -> None:
    path = tmp_path / "empty.h5"
    path.write_bytes(stores["rgb"].read_bytes())
    with h5py.File(path, "r+") as file:
        limits = file["streams/rgb/clip_indptr"]
        limits[...] = [0, LENGTH + 1, LENGTH + 1]
    modality = opened("rgb", {"rgb": path})
    assert modality.sample("a", None).shape[1] == 4
    for take in (lambda: modality.sample("short", None), lambda: modality.views("short")):
        with pytest.raises(StoreError, match=r"clip 'short' has no frames \(import it again or drop it\)"):
            take()


def test_damaged_frame_is_named(tmp_path: Path) -> None:
    good = encoded(colour_frame(0))
    path = write(tmp_path / "rgb.h5", "rgb", {"a": [good, b"not a jpeg", good]})
    modality = opened("rgb", {"rgb": path}, frames=3)
    with pytest.raises(StoreError, match=r"rgb\.h5: clip 'a', frame 1: 10 bytes are no jpeg image"):
        modality.sample("a", None)


def test_missing_clip_is_named(stores) -> None:
    with pytest.raises(StoreError, match="holds no clip 'b'"):
        opened("rgb", stores).sample("b", None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rgb", {"frames": 0}, "frames is 0, wanted 1 or more"),
        ("rgb", {"size": 4}, "size is 4, wanted 8 or more"),
        ("rgb", {"zoom": 0.0}, "zoom is 0.0, wanted more than 0"),
        ("rgb", {"temporal_crop": 1.5}, "temporal_crop is 1.5, wanted more than 0 and up to 1"),
        ("rgb", {"crop_area": 1.5}, "crop_area is 1.5, wanted 0 to 1"),
        ("rgb", {"scale_jitter": -0.1}, "scale_jitter is -0.1, wanted 0 or more"),
        ("rgb", {"rotation_degrees": -8.0}, "rotation_degrees is -8.0, wanted 0 or more"),
        ("depth", {"depth_jitter": -0.1}, "depth_jitter is -0.1, wanted 0 or more"),
        ("rgb", {"crops": 2}, "crops is 2, wanted 1, 3 or 5"),
        ("rgb", {"crops": 3}, "with zoom 1.0 all 3 crops would be the whole frame"),
        ("rgb", {"rand_augment": -1}, "rand_augment is -1, wanted 0 to 14"),
        ("depth", {"range_metres": 0.0}, "range_metres is 0.0"),
        ("rgb", {"stream": "depth"}, "stream 'depth' of .* is stored as png16, wanted jpeg or png8"),
        ("depth", {"stream": "rgb"}, "is stored as jpeg, wanted png16 or png8"),
        ("depth", {"stream": "flow"}, "stream 'flow' of .* has 2 channels, wanted 1"),
        ("frame-difference", {"range_metres": -1.0}, "range_metres is -1.0"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], message: str, stores) -> None:
    with pytest.raises(UsageError, match=message):
        opened(name, stores, **options)
