"""UTD-MHAD: Kinect v1 skeletons and depth maps, and one inertial sensor, in MATLAB files.

Layout of the source: ``Skeleton/aA_sS_tT_skeleton.mat`` (``d_skel`` (20, 3, T) metres), optional
``Inertial/aA_sS_tT_inertial.mat`` (``d_iner`` (N, 6): acceleration in g, rotation in deg/s, 50 Hz) and
optional ``Depth/aA_sS_tT_depth.mat`` (``d_depth`` (240, 320, T) uint16 millimetres, 0 = no person there).

The skeletons lead the depth maps by about two frames: of wrists and hands 73 % lie on the person
in the depth map of the same frame, 85 % in the one two frames later (72 recordings). Frames are kept as they
are; boxes over whole clips do not feel it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.table import check_video
from mg_data.prepare.extras import require

CLASS_NAMES = (
    "swipe left",
    "swipe right",
    "wave",
    "clap",
    "throw",
    "arm cross",
    "basketball shoot",
    "draw x",
    "draw circle clockwise",
    "draw circle counter-clockwise",
    "draw triangle",
    "bowling",
    "boxing",
    "baseball swing",
    "tennis swing",
    "arm curl",
    "tennis serve",
    "push",
    "knock",
    "catch",
    "pick up and throw",
    "jog",
    "walk",
    "sit to stand",
    "stand to sit",
    "lunge",
    "squat",
)
IMAGE_SIZE = (320, 240)
# Focal lengths and centre of the Kinect v1 depth camera at 320 x 240, pixels.
CAMERA = (285.63, 285.63, 160.0, 120.0)
INERTIAL_RATE_HZ = 50.0
# A file may always unfold to this much; beyond it to so many times its own size.
_FREE_BYTES, _MAX_RATIO = 256 << 20, 200
_MATRIX, _PACKED, _DEEPEST = 14, 15, 16
# Whole numbers, floating-point numbers, arrays, packed elements and texts.
_TYPES = frozenset((*range(1, 8), 9, *range(12, 19)))
_NAME = re.compile(r"a(\d+)_s(\d+)_t(\d+)_skeleton\.mat")


def _load(path: Path, key: str) -> NDArray[Any]:
    """Return one array of a MATLAB file, or raise DataError saying why not."""
    from scipy.io import loadmat

    try:
        _check_file(path)
        content = loadmat(path, variable_names=[key])
    except Exception as error:  # scipy raises a different type for each kind of damage
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is no readable MATLAB file: {first}") from error
    if key not in content:
        raise DataError(f"{path}: holds no array '{key}'")
    return np.asarray(content[key])


def _check_file(path: Path) -> None:
    """Refuse a file that scipy should not see: it believes lengths, and crashes on types that it lacks.

    A version 5 file is a header of 128 bytes and elements (:func:`_check_elements`). One with a zero among
    its first four bytes is taken for version 4, whatever else it says.

    Raises:
        ValueError: it is of another version, claims more bytes than it has, or unfolds to far more.
    """
    data = path.read_bytes()
    order = {b"MI": "big", b"IM": "little"}.get(data[126:128])
    if order is None or 0 in data[:4]:
        raise ValueError("it is none of version 5 to 7, as the data set's are")
    _check_elements(memoryview(data)[128:], "big" if order == "big" else "little", _limit(len(data)))


def _limit(size: int) -> int:
    return max(_FREE_BYTES, _MAX_RATIO * size)


def _check_elements(data: memoryview, order: Literal["little", "big"], limit: int, depth: int = 0) -> None:
    """Walk over elements: type and length of 4 bytes, content; type 15 is packed, type 14 holds others."""
    if depth > _DEEPEST:
        raise ValueError("its arrays are nested too deep")
    at = 0
    while at + 8 <= len(data):
        kind, length = (int.from_bytes(data[at + part : at + part + 4], order) for part in (0, 4))
        short, kind = kind >> 16, kind & 0xFFFF
        if kind not in _TYPES or short > 4:
            raise ValueError(f"it holds an element of type {kind} and {short or length} bytes")
        if short:  # up to four bytes of content stand in place of the length
            at += 8
            continue
        if length > len(data) - at - 8:
            raise ValueError(f"it claims {length} bytes where {len(data) - at - 8} are left")
        content = data[at + 8 : at + 8 + length]
        if kind == _PACKED:
            inside = zlib.decompressobj().decompress(content, limit + 1)
            if len(inside) > limit:
                raise ValueError(f"it unfolds to more than {_MAX_RATIO} times its size")
            _check_elements(memoryview(inside), order, limit, depth + 1)
        elif kind == _MATRIX:
            _check_elements(content, order, limit, depth + 1)
        at += 8 + length + (-length % 8 if kind != _PACKED else 0)


def _read_skeleton(path: Path) -> NDArray[np.float32]:
    """Return joints (T, 1, 20, 3) in metres."""
    skeleton = _load(path, "d_skel")
    if skeleton.ndim != 3 or skeleton.shape[:2] != (20, 3) or skeleton.shape[2] == 0:
        raise DataError(f"{path}: has shape {skeleton.shape}, wanted (20, 3, T)")
    return _finite(path, skeleton.transpose(2, 0, 1)[:, None])


def _read_inertial(path: Path) -> NDArray[np.float32]:
    """Return (N, 6): acceleration x, y, z in g and rotation x, y, z in deg/s."""
    signal = _load(path, "d_iner")
    if signal.ndim != 2 or signal.shape[1] != 6:
        raise DataError(f"{path}: has shape {signal.shape}, wanted (N, 6)")
    return _finite(path, signal)


def _finite(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: holds {values.dtype} values, wanted numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
        found = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(found).all():
        raise DataError(f"{path}: holds values that are not finite")
    return found


def _read_recording(
    path: Path, signal_path: Path | None, *, action: int, subject: int
) -> tuple[list[RawClip], list[Dropped]]:
    """Read one recording; a unit of :func:`import_utd_mhad`."""
    clip_id = path.name.removesuffix("_skeleton.mat")
    joints = _read_skeleton(path)
    signals: dict[str, NDArray[np.float32]] = {}
    if signal_path is not None:
        exists = signal_path.is_file()
        signals["inertial"] = _read_inertial(signal_path) if exists else np.empty((0, 6), np.float32)
    clip = RawClip(
        clip_id=clip_id,
        subject_id=f"s{subject}",
        video_id=clip_id,
        start=0,
        stop=len(joints),
        joints=joints,
        label=action - 1,
        signals=signals,
    )
    return [clip], []


def import_utd_mhad(source: Path, *, inertial: bool = True) -> DatasetImport:
    """Read UTD-MHAD; recordings come in the order action, subject, trial.

    A clip is one recording: id ``a1_s1_t1`` (also its video), subject ``s1``, label = action - 1.

    Args:
        source: folder that holds ``Skeleton/`` and, optionally, ``Inertial/`` and ``Depth/``.
        inertial: keep the inertial signal if the folder is there; recordings without it get (0, 6).

    Raises:
        DataError: there is no ``Skeleton/`` or no recording in it.
    """
    require("utd-mhad", "scipy")
    folder = Path(source) / "Skeleton"
    if not folder.is_dir():
        raise DataError(
            f"{source}: holds no folder 'Skeleton' (wanted the UTD-MHAD tree with Skeleton/*.mat)"
        )
    found: list[tuple[int, int, int, Path]] = []
    dropped: list[Dropped] = []
    for path in sorted(folder.glob("*.mat")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            dropped.append(Dropped(what=path.name, why="its name is not aA_sS_tT_skeleton.mat"))
            continue
        action, subject, trial = (int(number) for number in match.groups())
        if 1 <= action <= len(CLASS_NAMES):
            found.append((action, subject, trial, path))
        else:
            dropped.append(Dropped(what=path.name, why=f"action {action} is outside 1..{len(CLASS_NAMES)}"))
    if not found:
        raise DataError(f"{folder}: holds no recording named aA_sS_tT_skeleton.mat")
    signals_folder = Path(source) / "Inertial"
    with_inertial = inertial and signals_folder.is_dir()

    def signal_of(path: Path) -> Path:
        return signals_folder / path.name.replace("_skeleton", "_inertial")

    attributes = {"rate_hz": INERTIAL_RATE_HZ, "units": "g, deg/s", "channels": 6}
    return DatasetImport(
        class_names=CLASS_NAMES,
        vocabulary="utd-mhad-27",
        layout="kinect-20",
        columns=("x", "y", "z"),
        image_size=IMAGE_SIZE,
        camera=CAMERA,
        signals={"inertial": attributes} if with_inertial else {},
        sources=[
            ClipSource(
                name=path.name.removesuffix("_skeleton.mat"),
                read=partial(
                    _read_recording,
                    path,
                    signal_of(path) if with_inertial else None,
                    action=action,
                    subject=subject,
                ),
                files=(path, signal_of(path)) if with_inertial else (path,),
            )
            for action, subject, _, path in sorted(found)
        ],
        dropped=dropped,
    )


class DepthFrames:
    """Depth maps of one tree; a recording is one file, so it is read whole (about 12 MB)."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[np.uint16]]:
        """Yield frames start..stop-1 as (240, 320) uint16, millimetres, 0 = nothing seen.

        Raises:
            DataError: the file is missing, damaged or too short.
        """
        if check_video(video_id):
            raise DataError(f"recording '{video_id}' {check_video(video_id)}")
        path = self.root / "Depth" / f"{video_id}_depth.mat"
        if not path.is_file():
            raise DataError(f"{path}: does not exist (the depth map of recording '{video_id}')")
        depth = _load(path, "d_depth")
        if depth.ndim != 3 or depth.dtype != np.uint16:
            raise DataError(f"{path}: holds {depth.dtype} {depth.shape}, wanted uint16 (H, W, T)")
        if not 0 <= start <= stop <= depth.shape[2]:
            raise DataError(f"{path}: holds {depth.shape[2]} frames, wanted {start}..{stop - 1}")
        for frame_number in range(start, stop):
            yield np.ascontiguousarray(depth[:, :, frame_number])


def open_frames(root: Path, stream: str) -> DepthFrames:
    """Open the depth maps of the tree ``root``.

    Raises:
        UsageError: the stream is not ``depth``. DataError: there is no folder ``Depth``.
    """
    require("utd-mhad", "scipy")
    if stream != "depth":
        raise UsageError(f"utd-mhad has no stream '{stream}' (it has: depth)")
    if not (Path(root) / "Depth").is_dir():
        raise DataError(f"{root}: holds no folder 'Depth' (wanted the UTD-MHAD tree with Depth/*.mat)")
    return DepthFrames(root)
