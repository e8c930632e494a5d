"""Forward decoding gives exactly the frames asked for, whatever their time stamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError
from mg_data.video.decode import decode_frames, video_size

av = pytest.importorskip("av")

NUM_FRAMES = 60


def write_counting_video(path: Path, *, variable: bool = False, b_frames: int = 2) -> None:
    """Write a video whose frame n is grey of brightness 4 n; ``variable`` makes time jump now and then."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"crf": "5", "g": "12", "bf": str(b_frames)}
        stream.codec_context.time_base = Fraction(1, 1000)
        time = 0
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            time += 40 if not variable or number % 7 else 130
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbers_of(frames: list[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.mark.parametrize("variable", [False, True])
def test_frames_are_counted_in_order_of_presentation(tmp_path: Path, variable: bool) -> None:
    write_counting_video(tmp_path / "v.mp4", variable=variable)
    assert numbers_of(list(decode_frames(tmp_path / "v.mp4", range(NUM_FRAMES)))) == list(range(NUM_FRAMES))
    wanted = [0, 11, 12, 13, 30, 59]
    frames = list(decode_frames(tmp_path / "v.mp4", wanted))
    assert numbers_of(frames) == wanted
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    assert numbers_of(list(decode_frames(tmp_path / "v.mp4", wanted, threads=2))) == wanted
    assert list(decode_frames(tmp_path / "v.mp4", [])) == []


def test_the_size_is_width_and_height(tmp_path: Path) -> None:
    write_counting_video(tmp_path / "v.mp4")
    assert video_size(tmp_path / "v.mp4") == (64, 48)


def test_damage_is_told_with_the_file(tmp_path: Path) -> None:
    write_counting_video(tmp_path / "v.mp4")
    with pytest.raises(DataError, match=r"v\.mp4: has 60 frames, wanted frame 60 \(counted from 0\)"):
        list(decode_frames(tmp_path / "v.mp4", [59, 60]))
    (tmp_path / "t.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"t\.mp4: cannot be decoded"):
        list(decode_frames(tmp_path / "t.mp4", [0]))
    with pytest.raises(DataError, match=r"none\.mp4: cannot be decoded: No such file"):
        video_size(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="ascending"):
        list(decode_frames(tmp_path / "v.mp4", [3, 2]))
