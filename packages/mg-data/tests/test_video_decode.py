"""Decoding gives exactly the frames asked for, forward or by time stamp, whatever the time stamps are."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.video import decode
from mg_data.video.decode import (
    VideoTooShortError,
    count_frames,
    decode_frames,
    decode_pictures,
    frame_rate,
    frame_times,
    video_size,
)
from mg_data.video.index import frame_index

av = pytest.importorskip("av")

NUM_FRAMES = 300
BITS = 10
BLOCK = 16
HEIGHT, WIDTH = 48, BITS * BLOCK
WAYS = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264", "h264": "libx264"}


def burn(number: int, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return a picture that says its number in blocks of black and white, over a moving ramp."""
    image = np.empty((height, WIDTH, 3), np.uint8)
    image[:] = ((np.arange(WIDTH) * 3 + 5 * number) % 256).astype(np.uint8)[None, :, None]
    bits = np.array([(number >> bit) & 1 for bit in range(BITS)], np.uint8) * 255
    image[: height // 2] = np.repeat(bits, BLOCK)[None, :, None]
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """Read the number of a picture of :func:`burn`."""
    top = image[: image.shape[0] // 2].mean(axis=(0, 2))
    bits = top.reshape(BITS, BLOCK)[:, 4:12].mean(axis=1)
    assert np.abs(bits - 127.5).min() > 60
    return int(sum(1 << bit for bit in range(BITS) if bits[bit] > 127.5))


def times_of(variable: bool, count: int = NUM_FRAMES) -> NDArray[np.int64]:
    """Return time stamps in milliseconds: every 40 ms, or irregular between 10 ms and 2 s."""
    steps = np.full(count, 40)
    if variable:
        steps = np.random.default_rng(3).choice(
            [10, 33, 40, 47, 130, 2000], count, p=[0.1, 0.3, 0.3, 0.2, 0.08, 0.02]
        )
    return np.concatenate([[0], np.cumsum(steps[:-1])]).astype(np.int64)


def write_video(
    path: Path,
    *,
    variable: bool = False,
    count: int = NUM_FRAMES,
    codec: str = "",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    """Write a video of numbered frames; groups of 24 frames with B-frames in between."""
    codec = codec or WAYS[path.suffix[1:]]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        chosen = {"crf": "18", "g": "24", "bf": "3", "b_strategy": "0", "sc_threshold": "0"}
        stream.options = options if options is not None else chosen if codec == "libx264" else {"g": "24"}
        if codec == "libx264":
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times_of(variable, count)):
            frame = av.VideoFrame.from_ndarray(burn(number), format="rgb24")
            if codec == "libx264":
                frame.pts, frame.time_base = int(time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(
    scope="module",
    params=[("mp4", True), ("mkv", True), ("mp4", False), ("ts", True), ("avi", False)],
    ids=str,
)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 300 numbered frames; True means irregular time stamps."""
    suffix, variable = request.param
    path = tmp_path_factory.mktemp("video") / f"v.{suffix}"
    write_video(path, variable=variable)
    return path


def numbers(path: Path, wanted: Any, **options: Any) -> list[int]:
    return [number_of(frame) for frame in decode_frames(path, wanted, **options)]


def test_every_frame_is_the_right_one(video: Path) -> None:
    assert numbers(video, range(NUM_FRAMES)) == list(range(NUM_FRAMES))
    assert numbers(video, range(NUM_FRAMES), threads=2) == list(range(NUM_FRAMES))
    rng = np.random.default_rng(0)
    for _ in range(12):
        start = int(rng.integers(0, NUM_FRAMES))
        span = list(range(start, min(NUM_FRAMES, start + int(rng.integers(1, 40)))))
        assert numbers(video, span) == span
    for _ in range(6):
        scattered = sorted(rng.choice(NUM_FRAMES, 7, replace=False).tolist())
        assert numbers(video, scattered) == scattered
    for single in range(0, NUM_FRAMES, 13):
        assert numbers(video, [single]) == [single]
    assert numbers(video, [0, 150, 151, 299]) == [0, 150, 151, 299]
    assert list(decode_frames(video, [])) == []


def test_there_are_as_many_frames_as_were_written(video: Path) -> None:
    assert count_frames(video) == NUM_FRAMES
    times = frame_times(video)
    assert len(times) == NUM_FRAMES
    assert np.all(np.diff(times) > 0)
    assert frame_rate(video) == pytest.approx((NUM_FRAMES - 1) / (times[-1] - times[0]), rel=1e-3)
    assert video_size(video) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_times_are_those_written(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"v.{suffix}", variable=True)
    times = frame_times(tmp_path / f"v.{suffix}")
    np.testing.assert_allclose(times - times[0], times_of(True) / 1000, atol=0.0011)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_late_span_is_not_decoded_from_the_start(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"v.{suffix}"
    write_video(path, variable=True)
    decoded: list[int] = []
    original = decode._run

    def counting(*arguments: Any) -> Any:
        for item in original(*arguments):
            decoded.append(item[0])
            yield item

    def never(*arguments: Any) -> Any:
        raise AssertionError("decoded forward from the start")

    monkeypatch.setattr(decode, "_run", counting)
    monkeypatch.setattr(decode, "_forward", never)
    assert numbers(path, range(280, 285)) == list(range(280, 285))
    assert len(decoded) <= 24 + 5
    decoded.clear()
    # Near spans are one pass, far ones two.
    assert numbers(path, [100, 110, 290]) == [100, 110, 290]
    assert len(decoded) <= 24 + 10 + 24


def test_where_the_index_is_wrong_frames_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.mp4"
    write_video(path)
    index = frame_index(path)
    assert index is not None
    holed = type(index)(np.delete(index.times, [170]), index.keys, index.time_base)
    monkeypatch.setattr(decode, "frame_index", lambda path: holed)
    assert numbers(path, [150, 175]) == [150, 175]
    shifted = type(index)(index.times + 1, index.keys, index.time_base)
    monkeypatch.setattr(decode, "frame_index", lambda path: shifted)
    assert numbers(path, [150, 175]) == [150, 175]


def test_an_index_of_uncertain_packets_is_not_made(tmp_path: Path) -> None:
    write_video(tmp_path / "v.h264")  # a bare stream: no times at all
    assert frame_index(tmp_path / "v.h264") is None
    assert numbers(tmp_path / "v.h264", [70, 200, 299]) == [70, 200, 299]
    assert count_frames(tmp_path / "v.h264") == NUM_FRAMES
    assert frame_rate(tmp_path / "v.h264") == 25
    write_video(tmp_path / "v.webm", codec="libvpx", count=60, options={"auto-alt-ref": "1"})
    assert frame_index(tmp_path / "v.webm") is None
    assert numbers(tmp_path / "v.webm", [50, 59]) == [50, 59]
    assert frame_index(tmp_path / "none.mp4") is None


def test_open_groups_and_gradual_refresh_are_decoded_right(tmp_path: Path) -> None:
    for name, options in {
        "open": {"crf": "18", "x264-params": "open-gop=1:keyint=24:bframes=3:b-adapt=0:scenecut=0"},
        "refresh": {"crf": "18", "x264-params": "intra-refresh=1:keyint=24:bframes=0"},
    }.items():
        path = tmp_path / f"{name}.mp4"
        write_video(path, options=options)
        for wanted in (range(NUM_FRAMES), range(200, 230), [60, 130, 131, 250], [97], [121], [144]):
            assert numbers(path, wanted) == list(wanted), name


def turn_display(path: Path, degrees: int) -> None:
    """Write a rotation (clockwise, as shown) into the track header's matrix of an mp4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of header fields
    assert struct.unpack(">9i", data[place : place + 36])[8] == 1 << 30
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = (cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    data[place : place + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_stand_as_their_container_says(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, count=60)
    turn_display(path, degrees)
    # np.rot90 turns counter-clockwise.
    [frame] = decode_frames(path, [55])
    assert video_size(path) == ((HEIGHT, WIDTH) if degrees in (90, 270) else (WIDTH, HEIGHT))
    assert number_of(np.rot90(frame, degrees // 90)) == 55
    [picture] = decode_pictures(path, [55])
    box = np.array([0, 0, picture.width, picture.height])
    np.testing.assert_array_equal(picture.crop(box, (picture.width, picture.height)), frame)


def test_damage_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, count=60)
    with pytest.raises(
        DataError, match=r"v\.mp4: has 60 frames, wanted frame 60 \(counted from 0\)"
    ) as caught:
        list(decode_frames(path, [59, 60]))
    assert isinstance(caught.value, VideoTooShortError)
    assert caught.value.count == 60
    with pytest.raises(DataError, match=r"has 60 frames, wanted frame 500"):
        list(decode_frames(path, [500]))
    for name, content in {"t.mp4": b"no video", "z.mp4": b"", "r.mp4": bytes(range(256)) * 40}.items():
        (tmp_path / name).write_bytes(content)
        for ask in (video_size, count_frames, frame_rate, lambda file: list(decode_frames(file, [0]))):
            with pytest.raises(DataError, match=rf"{name}: cannot be decoded"):
                ask(tmp_path / name)
    with pytest.raises(DataError, match=r"none\.mp4: cannot be decoded: No such file"):
        video_size(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="ascending"):
        list(decode_frames(path, [3, 2]))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for ask in (video_size, count_frames, lambda file: list(decode_frames(file, [100]))):
        with pytest.raises(DataError, match=r"a\.mp4: holds no video stream"):
            ask(path)


def test_a_video_without_a_frame_has_none(tmp_path: Path) -> None:
    path = tmp_path / "e.mp4"
    write_video(path, count=1)
    data = path.read_bytes()
    at = data.index(b"stsz") + 4 + 8
    assert struct.unpack(">I", data[at : at + 4])[0] == 1
    path.write_bytes(data[:at] + struct.pack(">I", 0) + data[at + 4 :])
    with pytest.raises(DataError, match=r"e\.mp4: (holds no frame|cannot be decoded)"):
        video_size(path)
    with pytest.raises(DataError, match=r"e\.mp4: (has 0 frames|cannot be decoded)"):
        list(decode_frames(path, [0]))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_of_a_video_cut_off_the_frames_before_the_cut_are_right(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"v.{suffix}"
    write_video(path, container_options={"movflags": "faststart"} if suffix == "mp4" else None)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    seen: list[int] = []
    with pytest.raises(VideoTooShortError, match="wanted frame") as caught:
        seen.extend(number_of(frame) for frame in decode_frames(path, range(NUM_FRAMES)))
    count = caught.value.count
    assert 10 < count < 0.9 * NUM_FRAMES
    # The last frames of the last group may refer to what is gone.
    assert seen[: count - 4] == list(range(count - 4))
    assert abs(count_frames(path) - count) <= 4
    with pytest.raises(VideoTooShortError, match=rf"has {count} frames.*, wanted frame 299"):
        list(decode_frames(path, [299]))
    assert numbers(path, [count - 5]) == [count - 5]


def test_a_size_that_changes_in_the_middle_is_refused(tmp_path: Path) -> None:
    parts = []
    for height in (48, 64):
        part = tmp_path / f"{height}.h264"
        with av.open(str(part), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, height, "yuv420p"
            for number in range(12):
                frame = av.VideoFrame.from_ndarray(burn(number, height), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
    path = tmp_path / "v.h264"
    path.write_bytes(b"".join(parts))
    with pytest.raises(DataError, match=r"frame 12 is 160x64, the ones before 160x48 \(split the video"):
        list(decode_frames(path, range(24)))
