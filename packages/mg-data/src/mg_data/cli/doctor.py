"""``mg doctor``: facts about this installation that answer most first questions.

Each check is a function that says ``good``, ``info`` (something is missing that not everybody needs) or
``bad`` (something will fail), and what it found. A check that raises is bad and stops no other.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mg_data.contract.errors import MgError
from mg_data.contract.runtime import Console, StageResult
from mg_data.plugins import registry

State = Literal["good", "info", "bad"]
_PACKAGES = (
    "mg-data", "mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion",
    "numpy", "h5py", "pluggy", "click", "torch", "torchvision", "pytorchvideo",
    "av", "opencv-python-headless",
)  # fmt: skip
# Less free space than this is bad: crops of a data set take gigabytes, and a full disk ends a run.
_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """What a check says."""

    state: State
    what: str


def _optional(name: str) -> Any:
    """Return a module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def python() -> Finding:
    """Version, platform, and whether this is an environment of its own."""
    import sys

    own = sys.prefix != sys.base_prefix or bool(os.environ.get("CONDA_PREFIX"))
    where = "" if own else ", not in a virtual environment"
    return Finding("good", f"{platform.python_version()} on {platform.platform()}{where}")


def cores() -> Finding:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS")
    return Finding("good", f"{usable} of {os.cpu_count()}" + (f", OMP_NUM_THREADS={limit}" if limit else ""))


def hdf5() -> Finding:
    """The HDF5 library that runs, the one h5py was built with, and the checksum filter of the stores."""
    import h5py

    built = ".".join(map(str, h5py.version.hdf5_built_version_tuple))
    running = h5py.version.hdf5_version
    text = f"{running} (h5py {h5py.version.version}, built with {built})"
    if not h5py.h5z.filter_avail(h5py.h5z.FILTER_FLETCHER32):
        return Finding("bad", f"{text}: lacks the filter fletcher32, without which no store can be read")
    if running.split(".")[:2] != built.split(".")[:2]:
        return Finding("bad", f"{text}: two different libraries: install h5py again, from one source")
    return Finding("good", text)


def torch() -> Finding:
    """Version and build of torch, and the widest vectors it computes with on this processor."""
    found = _optional("torch")
    if found is None:
        return Finding("info", "not installed (training and prediction need it; fusion does not)")
    cuda = getattr(found.version, "cuda", None)
    build = f"built for CUDA {cuda}" if cuda else "CPU build"
    vectors = found.backends.cpu.get_cpu_capability()
    return Finding("good", f"{found.__version__}, {build}, {found.get_num_threads()} threads, {vectors}")


def torchvision() -> Finding:
    """Whether torchvision was built for this torch: its own operators tell."""
    if _optional("torch") is None:
        return Finding("info", "not installed, nor is torch (mg-rgb needs both)")
    try:
        found = importlib.import_module("torchvision")
        operators = importlib.import_module("torchvision.ops")
        tensor = importlib.import_module("torch").zeros
        operators.nms(tensor(1, 4), tensor(1), 0.5)
    except ImportError as error:
        if getattr(error, "name", "") == "torchvision":
            return Finding("info", "not installed (mg-rgb needs it)")
        return Finding("bad", f"cannot be imported: {error}")
    except (RuntimeError, AttributeError) as error:
        first = str(error).splitlines()[0]
        return Finding("bad", f"was built for another torch ({first}): install both from the same place")
    return Finding("good", f"{found.__version__}, fits torch")


def gpus() -> Finding:
    """Devices that torch sees, and a driver whose devices it does not see."""
    found = _optional("torch")
    if found is not None and found.cuda.is_available():
        names = []
        for number in range(found.cuda.device_count()):
            facts = found.cuda.get_device_properties(number)
            names.append(f"{facts.name} with {facts.total_memory / 2**30:.0f} GiB")
        return Finding("good", ", ".join(names))
    there = _driver_devices()
    if there and found is not None:
        why = "it is a CPU build" if not found.version.cuda else "its CUDA does not fit the driver"
        return Finding("bad", f"{'; '.join(there)}: the driver has them, torch does not: {why}")
    return Finding("info", "; ".join(there) if there else "none; training runs on the processor")


def _driver_devices() -> list[str]:
    """Return what nvidia-smi lists, nothing if it is not there."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True)
        return [line.split(" (UUID")[0] for line in done.stdout.splitlines() if line.startswith("GPU")]
    return []


def video() -> Finding:
    """PyAV with its ffmpeg, whether it decodes H.264, and OpenCV."""
    av, cv2 = _optional("av"), _optional("cv2")
    missing = [name for name, module in (("av", av), ("opencv-python-headless", cv2)) if module is None]
    if missing:
        text = f"{', '.join(missing)} not installed: videos need pip install 'mg-data[prep]'"
        return Finding("info", text)
    libraries = av.library_versions
    text = f"PyAV {av.__version__} with libavcodec {'.'.join(map(str, libraries['libavcodec']))}"
    text += f", OpenCV {cv2.__version__}"
    if "h264" not in av.codecs_available:
        return Finding("bad", f"{text}: this ffmpeg has no h264, in which most videos are coded")
    return Finding("good", text)


def file_locks() -> Finding:
    """Whether this folder's file system has locks, which network mounts may lack."""
    fcntl = _optional("fcntl")
    if fcntl is None:
        return Finding("info", "this system has none of the kind; stores need none")
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return Finding("info", f"none in {Path.cwd()} ({error.strerror}); stores need none")
    return Finding("good", "work here (stores need none)")


def store() -> Finding:
    """Whether a store can be written into this folder, renamed, and read back."""
    from mg_data.store import check_store, write_logits

    place = Path.cwd()
    if not os.access(place, os.W_OK):
        return Finding("info", f"{place} cannot be written: run mg where it may")
    with tempfile.TemporaryDirectory(dir=place, prefix=".mg-doctor-") as folder:
        path = Path(folder) / "logits.h5"
        write_logits(path, clip_ids=["a"], values=[[0.0, 1.0]], class_names="xy", model="m", modality="m")
        check_store(path)
    return Finding("good", f"written, renamed and read in {place}")


def free_disk() -> Finding:
    """Free space here and where temporary files go."""
    places = dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir())))
    free = {place: shutil.disk_usage(place).free for place in places}
    text = ", ".join(f"{size / 2**30:.1f} GiB in {place}" for place, size in free.items())
    if min(free.values()) < _FREE_BYTES:
        return Finding("bad", f"{text}: less than {_FREE_BYTES >> 30} GiB are soon full")
    return Finding("good", text)


def plugins() -> Finding:
    """Plugins that failed, and names that two of them claim."""
    known = registry()
    bad = [
        f"{info.distribution} {info.version} failed: {info.error}"
        for info in known.plugins
        if info.status == "failed"
    ]
    bad += known.conflicts
    ignored = sum(info.status == "ignored" for info in known.plugins)
    text = f"{len(known.plugins) - ignored} loaded" + (
        f", {ignored} left out by MG_PLUGINS" if ignored else ""
    )
    return Finding("bad", "; ".join(bad)) if bad else Finding("good", text)


CHECKS: Mapping[str, Callable[[], Finding]] = {
    "python": python,
    "cores": cores,
    "hdf5": hdf5,
    "torch": torch,
    "torchvision": torchvision,
    "gpus": gpus,
    "video": video,
    "store": store,
    "file locks": file_locks,
    "free disk": free_disk,
    "plugins": plugins,
}


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "-"
    return versions


def examine(checks: Mapping[str, Callable[[], Finding]]) -> dict[str, Finding]:
    """Make all checks; one that raises is bad."""
    found = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except Exception as error:  # whatever a damaged installation raises
            found[name] = Finding("bad", f"{type(error).__name__}: {error}")
    return found


def doctor(*, console: Console) -> StageResult:
    """Check versions, builds, devices, disk and plugins.

    Raises:
        MgError: something is bad (exit code 1); the report comes first.
    """
    found, versions = examine(CHECKS), _versions()
    lines = [f"[{finding.state:4}] {name}: {finding.what}" for name, finding in found.items()]
    lines += [f"       {name} {version}" for name, version in versions.items()]
    bad = [name for name, finding in found.items() if finding.state == "bad"]
    result = StageResult(
        data={
            "good": not bad,
            "checks": [
                {"name": name, "state": finding.state, "what": finding.what}
                for name, finding in found.items()
            ],
            "versions": versions,
        },
        text="\n".join(lines),
    )
    if bad:
        error = MgError(f"doctor: {', '.join(bad)}: what is [bad] above will fail")
        error.result = result
        raise error
    return result
