"""A disk that fails is told as such: no frame is made up from half a read, and no video gets shorter."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.contract import DataError, StoreError
from mg_data.prepare.pose_video import stated_frames
from mg_data.video.decode import count_frames, decode_frames, first_video_size, frame_rates
from mg_data.video.source import open_video

av = pytest.importorskip("av")

NUM_FRAMES = 60
CODECS = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264"}


class FailingFile(io.FileIO):
    """A file on a disk that fails beyond ``good`` bytes; a read across the border gets the part before it."""

    good = 0
    failures = 0

    def read(self, size: int = -1) -> Any:
        """Read up to the border, raise OSError beyond it."""
        if self.tell() >= self.good:
            type(self).failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(min(size, self.good - self.tell()))


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every file fail beyond so many bytes."""

    def set_border(good: int) -> None:
        FailingFile.good, FailingFile.failures = good, 0
        monkeypatch.setattr(Path, "open", lambda self, *_, **__: FailingFile(self))

    return set_border


def write_video(path: Path) -> Path:
    rng = np.random.default_rng(0)
    table_first = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=table_first) as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 12
        for _ in range(NUM_FRAMES):
            picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module", params=CODECS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / f"v.{request.param}")


@pytest.mark.parametrize("wanted", [range(NUM_FRAMES), [0, NUM_FRAMES - 1]], ids=["all", "two"])
@pytest.mark.parametrize("forget_index", [False, True])
def test_frames_are_right_or_the_disk_is_blamed(
    video: Path, fail: Any, wanted: Any, forget_index: bool
) -> None:
    whole = list(decode_frames(video, wanted))
    size = video.stat().st_size
    said = set()
    for good in [size * part // 20 + 1 for part in range(20)] + [size - 200 * last for last in range(1, 16)]:
        if forget_index:
            os.utime(video, ns=(good, good))
        fail(good)
        frames = []
        try:
            frames.extend(decode_frames(video, wanted))
        except StoreError as error:
            said.add(str(error))
        else:
            assert len(frames) == len(whole)
        assert all(np.array_equal(*pair) for pair in zip(frames, whole, strict=False))
    assert said == {f"{video}: cannot be read: {os.strerror(errno.EIO)}"}


def test_no_video_gets_shorter(video: Path, fail: Any) -> None:
    looks = (count_frames, lambda path: frame_rates({"v": path}), lambda path: first_video_size([path]))
    assert count_frames(video) == NUM_FRAMES
    for part in range(20):
        os.utime(video, ns=(part, part))
        fail(video.stat().st_size * part // 20)
        for look in looks:
            try:
                found = look(video)
            except StoreError:
                assert FailingFile.failures
                continue
            assert found in (NUM_FRAMES, {"v": 25.0}, (64, 48))


def test_a_failing_disk_is_not_a_damaged_file(video: Path, fail: Any, tmp_path: Path) -> None:
    cut = tmp_path / video.name
    cut.write_bytes(video.read_bytes()[:64])
    with pytest.raises(DataError, match=r"cannot be decoded|holds no video stream"):
        count_frames(cut)
    fail(64)
    with pytest.raises(StoreError, match="cannot be read"):
        count_frames(video)
    with pytest.raises(StoreError, match="cannot be read"):
        stated_frames(video, 25.0)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.mp4", tmp_path / "none" / "none.mp4"):
        with pytest.raises(DataError, match="cannot be decoded"), open_video(path):
            pass


@pytest.mark.parametrize("place", ["beside", "elsewhere", "a connection"])
@pytest.mark.parametrize("kind", ["m3u8", "mp4"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, kind: str, place: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    part, other = write_video(folder / "part.ts"), write_video(tmp_path / "other.ts")
    where = {"beside": part.name, "elsewhere": str(other), "a connection": "http://127.0.0.1:9/a.ts"}[place]
    texts = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{where}\n#EXT-X-ENDLIST\n",
        "mp4": f"ffconcat version 1.0\nfile '{where}'\n",
    }
    path = folder / f"list.{kind}"
    path.write_text(texts[kind])
    with pytest.raises(DataError, match="cannot be decoded"):
        list(decode_frames(path, [0]))
    with pytest.raises(DataError, match="cannot be decoded"):
        count_frames(path)
    assert count_frames(part) == NUM_FRAMES
