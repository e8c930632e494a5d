"""``mg doctor``: facts about this installation that answer most first questions."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from mg_data.contract.runtime import Console, StageResult
from mg_data.plugins import registry

_PACKAGES = (
    "mg-data", "mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion",
    "numpy", "h5py", "torch", "torchvision", "pytorchvideo", "av", "opencv-python-headless",
)  # fmt: skip


def _torch() -> tuple[str, str]:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return "info", "not installed (training and prediction need it; fusion does not)"
    devices = f"{torch.cuda.device_count()} CUDA device(s)" if torch.cuda.is_available() else "CPU only"
    return "good", f"{torch.__version__}, {devices}, {torch.get_num_threads()} threads"


def _torchvision() -> tuple[str, str]:
    try:
        torchvision = importlib.import_module("torchvision")
        getattr(importlib.import_module("torchvision.ops"), "nms")  # noqa: B009
    except ImportError:
        return "info", "not installed (mg-rgb needs it)"
    except (RuntimeError, AttributeError) as error:
        return "bad", f"does not fit this torch ({error}): install both from the same place"
    return "good", str(torchvision.__version__)


def _locking() -> tuple[str, str]:
    import fcntl

    with tempfile.NamedTemporaryFile() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return "info", f"no file locks in {tempfile.gettempdir()} ({error}); stores need none"
    return "good", "works (stores need none)"


def doctor(*, console: Console) -> StageResult:
    """Check versions, builds, disk and plugins."""
    import h5py

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "-"
    free = shutil.disk_usage(Path.cwd()).free
    failed = [info for info in registry().plugins if info.status == "failed"]
    conflicts = registry().conflicts
    plugin_state = "bad" if failed or conflicts else "good"
    plugin_text = "; ".join(
        [f"{info.distribution} {info.version} failed: {info.error}" for info in failed] + list(conflicts)
    )
    checks: list[tuple[str, str, str]] = [
        ("python", "good", f"{platform.python_version()} on {platform.platform()}"),
        (
            "cores",
            "good",
            str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ),
        ("hdf5", "good", f"{h5py.version.hdf5_version} (h5py {h5py.version.version})"),
        ("torch", *_torch()),
        ("torchvision", *_torchvision()),
        ("file locks", *_locking()),
        ("free disk", "good" if free > 2 << 30 else "bad", f"{free / (1 << 30):.1f} GiB in {Path.cwd()}"),
        ("plugins", plugin_state, plugin_text or f"{len(registry().plugins)} loaded"),
    ]
    text = "\n".join(f"[{state:4}] {name}: {what}" for name, state, what in checks)
    text += "\n" + "\n".join(f"       {name} {version}" for name, version in versions.items())
    data = {
        "checks": [{"name": name, "state": state, "what": what} for name, state, what in checks],
        "versions": versions,
    }
    return StageResult(data=data, text=text)
