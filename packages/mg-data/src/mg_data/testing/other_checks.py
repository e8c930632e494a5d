"""Checks of pose estimators, trackers and observers of stores."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mg_data.contract import PoseEstimatorSpec, TrackerSpec
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import resolve
from mg_data.testing.checks import require
from mg_data.testing.inputs import Workplace


def check_points_follow_the_layout(spec: PoseEstimatorSpec) -> str:
    """Each frame gives (P, V, 3) float32 people of the record's layout, finite, confidence in [0, 1]."""
    points = len(find_layout(spec.layout).names)
    frames = [np.full((120, 160, 3), 60 + 40 * number, np.uint8) for number in range(3)]
    found = list(resolve(spec.factory)(**spec.options).estimate(iter(frames), 25.0))
    require(len(found) == len(frames), f"{len(found)} results for {len(frames)} frames")
    for people in found:
        require(
            people.ndim == 3 and people.shape[1:] == (points, 3) and people.dtype == np.float32,
            f"a frame gives {people.dtype} {people.shape}, wanted float32 (P, {points}, 3)",
        )
        require(np.isfinite(people).all(), "a frame gives NaN or infinity: a point not found is 0, 0, 0")
        confidence = people[..., 2]
        require(((confidence >= 0) & (confidence <= 1)).all(), "a confidence lies outside [0, 1]")
    return f"{sum(len(people) for people in found)} people in {len(frames)} empty frames"


POSE = (check_points_follow_the_layout,)


@dataclass(frozen=True, kw_only=True)
class TrackerBench:
    """A tracker and where it may write."""

    spec: TrackerSpec
    place: Workplace


def check_takes_scalars(bench: TrackerBench) -> None:
    """It takes the numbers of two epochs, can be closed, and writes into its folder."""
    folder = bench.place.new_folder() / "tracker"
    tracker = resolve(bench.spec.factory)(folder, **bench.spec.options)
    for epoch in (1, 2):
        tracker.scalars(epoch, {"loss": 1.0 / epoch, "accuracy": 0.5})
    tracker.close()


TRACKER = (check_takes_scalars,)


@dataclass(frozen=True, kw_only=True)
class ObserverBench:
    """The module of a plugin that observes stores."""

    module: ModuleType


def check_observer_takes_a_store(bench: ObserverBench) -> None:
    """mg_store_written can be told of a store and returns nothing."""
    hook: Any = bench.module.mg_store_written  # its arguments may be fewer than the hook's
    wanted = {"path": "store.h5", "kind": "logits", "digest": "sha256:0"}
    names = hook.__code__.co_varnames[: hook.__code__.co_argcount]
    require(hook(**{name: wanted[name] for name in names}) is None, "mg_store_written returned something")


OBSERVER = (check_observer_takes_a_store,)
