"""``mg imu import``: files of inertial sensors, or the signal of a clips store -> a features store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.store import Provenance, open_clips, write_features

Array = NDArray[np.float32]
SUFFIXES = (".mat", ".csv")


def read_mat(path: Path) -> Array:
    """Return the one two-dimensional array of a MATLAB file, (T, C)."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UsageError("mg imu import: .mat files need scipy: pip install 'mg-imu[mat]'") from error
    try:
        content = loadmat(path)
    except Exception as error:  # scipy raises a different type for each kind of damage
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is no readable MATLAB file: {first}") from error
    arrays = [name for name, value in content.items() if not name.startswith("__") and np.ndim(value) == 2]
    if len(arrays) != 1:
        raise DataError(f"{path}: holds the arrays {', '.join(arrays) or 'none'}, wanted one of (T, C)")
    return np.asarray(content[arrays[0]], np.float32)


def read_csv(path: Path) -> Array:
    """Return the numbers of a csv file, (T, C); a first line that is no number is a header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        header = bool(lines) and not _is_numbers(lines[0])
        return np.loadtxt(lines[header:], delimiter=",", ndmin=2, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no csv of numbers: {error}") from error


def _is_numbers(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def read_folder(folder: Path, suffix: str) -> dict[str, Array]:
    """Return the signal of each file by clip id: its name without ``suffix`` and ending.

    Raises:
        DataError: no file, one that cannot be read, two of one clip, or unequal numbers of channels.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder}: holds no file of the kinds {', '.join(SUFFIXES)}")
    found: dict[str, Array] = {}
    for path in paths:
        clip_id = path.stem.removesuffix(suffix)
        if clip_id in found:
            raise DataError(f"{path}: clip '{clip_id}' has a file already")
        values = (read_mat if path.suffix.lower() == ".mat" else read_csv)(path)
        if not np.isfinite(values).all():
            raise DataError(f"{path}: holds values that are not finite")
        wide = next(iter(found.values())).shape[1] if found else values.shape[1]
        if values.shape[1] != wide:
            raise DataError(f"{path}: has {values.shape[1]} channels, the files before it {wide}")
        found[clip_id] = values
    return found


def import_signals(
    *,
    source: Path,
    out: Path,
    dataset: str,
    rate_hz: float,
    units: str,
    signal: str,
    suffix: str,
    console: Console,
) -> StageResult:
    """Write the signals of all clips.

    Args:
        source: a folder with one file a clip, or a clips store. out: features store.
        dataset: of the clips; a clips store tells its own. rate_hz, units: of files.
        signal: name of the signal. suffix: what a file's name has behind the clip id.

    Raises:
        DataError: nothing there, or a file that cannot be used. StoreError: a store without the signal.
    """
    if not source.exists():
        raise DataError(f"{source}: does not exist")
    attributes: dict[str, Any] = {"rate_hz": rate_hz, "units": units}
    inputs: dict[str, str] = {}
    if source.is_dir():
        signals = read_folder(source, suffix)
    else:
        clips = open_clips(source)
        attributes = clips.signal_attributes(signal)
        signals = {str(clip_id): clips.signal(signal, row) for row, clip_id in enumerate(clips.clip_ids)}
        dataset = dataset or clips.dataset
        inputs = {source.name: clips.digest}
    digest = write_features(
        out,
        clip_ids=list(signals),
        signals={signal: list(signals.values())},
        attributes={signal: attributes},
        dataset=dataset,
        provenance=Provenance(
            command="mg imu import",
            config={"signal": signal, "suffix": suffix, **attributes},
            inputs=inputs,
        ),
    )
    seconds = sum(len(values) for values in signals.values()) / float(attributes["rate_hz"])
    return StageResult(
        data={"clips": len(signals), "seconds": round(seconds, 1), "digest": digest},
        text=f"{out}: signal '{signal}' of {len(signals)} clips, {seconds:.0f} seconds",
    )
