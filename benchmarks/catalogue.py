"""Every ratio that is measured: of which record, beside what, and what is wanted of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.record_run import RESULTS


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One ratio of a record.

    Args:
        record: name of the file in ``results/PROCESSOR``. what, beside: what is compared with what.
        keys: where the number stands. range_keys: where its smallest and largest of the rounds stand;
            ``ratio_range`` beside the number if not given.
        wanted: such as ``>= 0.7``, empty where nothing is asked. larger_is_better: for regressions.
    """

    record: str
    what: str
    beside: str
    keys: tuple[str, ...] = ("ratio",)
    range_keys: tuple[str, ...] = ()
    wanted: str = ""
    larger_is_better: bool = True

    def find(self, record: Mapping[str, Any] | None) -> float | None:
        """Return the number in a record, None where it is missing."""
        found = _descend(record, self.keys)
        return None if found is None else float(found)

    def range(self, record: Mapping[str, Any] | None) -> tuple[float, float] | None:
        """Return its range over the rounds, None where the record keeps none."""
        found = _descend(record, self.range_keys or (*self.keys[:-1], "ratio_range"))
        return None if found is None else (float(found[0]), float(found[1]))

    def ceiling(self, record: Mapping[str, Any] | None) -> float | None:
        """Return what separate runs at once reach on the machine, None where that was not measured."""
        found = _descend(record, (*self.keys[:-1], "ceiling", "ratio"))
        return None if found is None else float(found)

    def meets(self, value: float) -> bool:
        """Whether a value is what is wanted; nothing wanted is always met."""
        if not self.wanted:
            return True
        sign, goal = self.wanted.split()
        return value >= float(goal) if sign == ">=" else value <= float(goal)


def _descend(part: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        part = part.get(key) if isinstance(part, dict) else None
    return part


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A command that writes the record of its own name.

    Args:
        arguments: of ``python -m benchmarks.MODULE``, with the places
            ``{work}``, ``{skeleton_peer}`` and ``{calibration_peer}``. minutes: about how long it takes.
    """

    module: str
    arguments: tuple[str, ...] = ()
    minutes: float = 1.0

    @property
    def record(self) -> str:
        """Name of its file in ``results/PROCESSOR``, without ``.json``."""
        return self.module.replace("_", "-")


MEASUREMENTS = (
    Measurement(module="startup"),
    Measurement(module="fusion_import"),
    Measurement(module="clips_read"),
    Measurement(module="xlsx_import"),
    Measurement(module="openpose_json"),
    Measurement(module="crop", minutes=4),
    Measurement(module="import_workers", minutes=3),
    Measurement(module="rgb_loader"),
    Measurement(module="rgb_models", arguments=("forward",)),
    Measurement(
        module="skeleton_speed",
        arguments=("--peer", "{skeleton_peer}"),
        minutes=3,
    ),
    Measurement(module="calibration_speed", arguments=("--peer", "{calibration_peer}")),
    Measurement(module="fusion_search"),
    Measurement(module="fusion_scale"),
    Measurement(module="trainer_overhead", arguments=("--work", "{work}"), minutes=4),
    Measurement(module="two_processes", arguments=("--work", "{work}"), minutes=4),
    Measurement(module="report_scale"),
    Measurement(module="explore_scale"),
)

_CROP = "decoding alone"
_DECODE = "decoding the same JPEGs alone, two processes each"
_PEER = "mmaction2 1.2.0"
_LOOP = "a plain numpy loop"
_SCORES = "accuracy, 1,771 weights of 4 models, HMDB51 score files, 51 classes"
_NETCAL, _UNCERTAINTY = "netcal 1.4.0", "torch-uncertainty 0.13.0"

RATIOS = (
    Ratio(
        record="startup",
        what="time of `mg --help`",
        beside='`python -c "import click"`',
        wanted="<= 2.5",
        larger_is_better=False,
    ),
    Ratio(
        record="fusion-import",
        what="time of `import mg_fusion`",
        beside="`import numpy, h5py`",
        keys=("statements", "import mg_fusion", "ratio"),
        wanted="<= 1.5",
        larger_is_better=False,
    ),
    Ratio(
        record="clips-read",
        what="random clips from a store, slowest of three sizes",
        beside="`np.load(mmap)`",
        wanted=">= 0.7",
    ),
    Ratio(record="xlsx-import", what="keypoint workbook", beside="openpyxl", wanted=">= 8"),
    Ratio(record="openpose-json", what="OpenPose JSON, tracked", beside="a stdlib json loop", wanted=">= 3"),
    Ratio(
        record="crop",
        what="crop to JPEG, synthetic 720x1280",
        beside=_CROP,
        keys=("synthetic_720x1280", "ratio"),
        wanted=">= 0.6",
    ),
    Ratio(
        record="crop",
        what="crop to JPEG, real video of 640x480",
        beside=_CROP,
        keys=("intel_asl_640x480", "ratio"),
        wanted=">= 0.6",
    ),
    Ratio(
        record="crop",
        what="crop with two processes",
        beside="one",
        keys=("workers", "ratio"),
        wanted=">= 1.7",
    ),
    Ratio(
        record="crop",
        what="memory of cropping ten times the clips",
        beside="once",
        keys=("memory", "ratio"),
        wanted="<= 1.2",
        larger_is_better=False,
    ),
    Ratio(record="import-workers", what="import with two processes", beside="one", wanted=">= 1.7"),
    Ratio(
        record="import-workers",
        what="memory of importing ten times the clips",
        beside="once",
        keys=("memory_ratio",),
        range_keys=("memory_ratio_range",),
        wanted="<= 1.2",
        larger_is_better=False,
    ),
    Ratio(
        record="rgb-loader",
        what="training clips of 32 frames out of a crop store",
        beside=_DECODE,
        wanted=">= 0.7",
    ),
    *(
        Ratio(record="rgb-loader", what=f"the same, {what}", beside=_DECODE, keys=("ratios", kind, "ratio"))
        for kind, what in (
            ("plain", "whole frames resized from 256 to 224 pixels"),
            ("cut", "224 pixels cut at random, not resized"),
            ("rotated", "small rotations"),
        )
    ),
    *(
        Ratio(
            record="rgb-models",
            what=f"forward of {model}",
            beside="torchvision's own module",
            keys=("forward", model, "ratio"),
            wanted=">= 0.98",
        )
        for model in ("r2plus1d-18", "swin3d-t")
    ),
    *(
        Ratio(record="skeleton-speed", what=what, beside=beside, keys=(key, "ratio"), wanted=wanted)
        for key, what, beside, wanted in (
            ("joints/figure", "heatmaps of keypoints, 68 x 48 x 56 x 56", _PEER, ">= 8"),
            ("limbs/figure", "heatmaps of 68 limbs", _PEER, ">= 20"),
            ("posec3d-forward", "PoseC3D, forward, folded normalisation", _PEER, ">= 1.5"),
            ("posec3d-step", "PoseC3D, training step", _PEER, ">= 1.2"),
            ("stcnn-over-stgcn", "DecoupledSTCNN `base`, training step", "our ST-GCN", ">= 4"),
            ("stcnn-over-peer-stgcn", "the same", f"ST-GCN of {_PEER}", ""),
        )
    ),
    *(
        Ratio(record="calibration-speed", what=what, beside=beside, keys=(key, peer, "ratio"))
        for key, what in (
            ("temperature, 13,670 clips", "fit of a temperature, 13,670 clips"),
            ("ECE, 13,670 clips", "ECE of 13,670 clips"),
        )
        for peer, beside in (("netcal", _NETCAL), ("torch-uncertainty", _UNCERTAINTY))
    ),
    *(
        Ratio(
            record="fusion-search",
            what=f"exact search of 1,771 weights x 30 temperatures, {engine}",
            beside=_LOOP,
            keys=(_SCORES, f"{engine}: times as fast as plain loop"),
            range_keys=(_SCORES, f"{engine}: range"),
            wanted=wanted,
        )
        for engine, wanted in (("numpy", ">= 4"), ("fast", ">= 15"))
    ),
    *(
        Ratio(
            record="fusion-scale",
            what=f"{task} 1,000,000 clips x 32 classes x 4 models from disk",
            beside="reading the same stores block by block",
            keys=(f"speed of {task} beside read",),
            range_keys=(f"speed of {task} beside read, range",),
            wanted=">= 0.3",
        )
        for task in ("fuse", "fuse shuffled")
    ),
    Ratio(
        record="trainer-overhead",
        what="time of the trainer over, as a share",
        beside="a bare PyTorch loop",
        keys=("overhead",),
        range_keys=("overhead_range",),
        wanted="<= 0.03",
        larger_is_better=False,
    ),
    Ratio(
        record="trainer-overhead",
        what="memory after the last epoch",
        beside="after the third",
        keys=("memory_growth",),
        range_keys=("memory_growth_range",),
        wanted="<= 1.02",
        larger_is_better=False,
    ),
    Ratio(
        record="two-processes",
        what="training in two processes",
        beside="one",
        wanted=">= 1.6",
    ),
    Ratio(
        record="report-scale",
        what="seconds of the report of 4,562 clips x 32 classes x 6 models",
        beside="20 s",
        keys=("report, t-SNE", "seconds"),
        range_keys=("report, t-SNE", "seconds_range"),
        wanted="<= 20",
        larger_is_better=False,
    ),
    Ratio(
        record="explore-scale",
        what="seconds from start to the explorer's first page on it",
        beside="2 s",
        keys=("median_seconds", "start to first page"),
        range_keys=("range_seconds", "start to first page"),
        wanted="<= 2",
        larger_is_better=False,
    ),
)


def load(name: str, kind: str) -> dict[str, Any] | None:
    """Return the record ``NAME.json`` of a kind of processor, or None."""
    path = RESULTS / kind / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
