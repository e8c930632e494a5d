"""Skeleton models beside the public reference: ``python -m benchmarks.skeleton_speed --peer ENVIRONMENT``.

``ENVIRONMENT`` is the folder that ``python tools/parity.py --environment FOLDER`` makes. The reference runs
there as a server of timings: one line in, seconds out, so that the two sides take turns in one run, on the
same inputs (made by rule) with two threads each. A ratio is the reference's time over ours in one round, the
median over rounds; the best of each side is kept as well, as other work on a machine only ever adds time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.peer import Peer, serve, time_call

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
FRAMES, POINTS, SIDE = 48, 68, 56
BATCH = 8  # clips of 64 frames for the models over coordinates
# A limb for each keypoint: to the one two places on, as far apart as keypoints come.
LIMBS = tuple((point, (point + 2) % POINTS) for point in range(POINTS))
GOALS = {"joints": 8.0, "limbs": 20.0, "posec3d-forward": 1.5, "posec3d-step": 1.2, "stcnn-over-stgcn": 4.0}


def rule() -> Any:
    """Return the module that both sides make their inputs with."""
    sys.path.insert(0, str(ROOT / "packages" / "mg-skeleton" / "tests" / "golden"))
    import rule as module  # type: ignore[import-not-found]

    return module


def keypoints(kind: str) -> Any:
    """Return (1, T, V, 3): ``uniform`` all over the image, or a ``figure`` whose limbs are short."""
    import numpy as np

    people = rule().uniform("speed", (1, FRAMES, POINTS, 3)).astype(np.float32)
    if kind == "figure":
        # A walk with steps of a few pixels inside the image, that shakes a little from frame to frame.
        steps = rule().uniform("figure", (POINTS, 2), -0.1, 0.1).cumsum(axis=0) % 1.6
        places = 0.1 + np.abs(0.8 - steps)
        people[..., :2] = places + 0.03 * (people[..., :2] - 0.5)
    people[..., 2] = 0.1 + 0.9 * people[..., 2]
    return people


def step_of(model: Any, run: Callable[[], Any], optimizer: Any) -> Callable[[], None]:
    """Return one training step on a batch whose classes are all 0."""
    import torch

    def step() -> None:
        model.train()
        logits = run()
        torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def calls_of_peer() -> dict[str, Callable[[], Any]]:
    """Return the reference's side, by name of the measurement."""
    sys.path.insert(0, str(ROOT / "tools"))
    from parity import import_peer  # type: ignore[import-not-found]

    import_peer()
    import numpy as np
    import torch
    from mmaction.datasets.transforms.pose_transforms import GeneratePoseTarget
    from mmaction.models import STGCN, GCNHead, I3DHead, ResNet3dSlowOnly

    calls: dict[str, Callable[[], Any]] = {}
    for kind in ("figure", "uniform"):
        people = keypoints(kind)
        for name, transform in {
            "joints": GeneratePoseTarget(),
            "limbs": GeneratePoseTarget(with_kp=False, with_limb=True, skeletons=LIMBS),
        }.items():

            def render(people: Any = people, transform: Any = transform) -> Any:
                pixels = people[..., :2] * np.float32(SIDE)
                sample = {"keypoint": pixels, "keypoint_score": people[..., 2], "img_shape": (SIDE, SIDE)}
                return transform.transform(sample)["imgs"]

            calls[f"{name}/{kind}"] = render
    options = {"depth": 50, "pretrained": None, "in_channels": POINTS, "base_channels": 32, "num_stages": 3}
    options |= {"out_indices": (2,), "stage_blocks": (4, 6, 3), "conv1_stride_s": 1, "pool1_stride_s": 1}
    options |= {"inflate": (0, 1, 1), "spatial_strides": (2, 2, 2), "temporal_strides": (1, 1, 2)}
    backbone, head = ResNet3dSlowOnly(**options, dilations=(1, 1, 1)), I3DHead(32, 512)
    maps = torch.from_numpy(calls["joints/figure"]().transpose(1, 0, 2, 3).copy())[None]
    graph = STGCN(graph_cfg={"layout": GRAPH, "mode": "stgcn_spatial"}), GCNHead(32, 256)
    points = torch.randn(BATCH, 1, 64, POINTS, 3)
    for name, (body, top), data in (("posec3d", (backbone, head), maps), ("stgcn", graph, points)):
        model = torch.nn.ModuleList([body, top])

        def run(body: Any = body, top: Any = top, data: Any = data) -> Any:
            return top(body(data))

        def forward(model: Any = model, run: Any = run) -> Any:
            model.eval()
            with torch.no_grad():
                return run()

        calls[f"{name}-forward"] = forward
        calls[f"{name}-step"] = step_of(model, run, torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9))
    return calls


# A chain of keypoints: the reference knows no layout of 68, and its time does not depend on the edges.
GRAPH = {"num_node": POINTS, "inward": [(point + 1, point) for point in range(POINTS - 1)], "center": 0}


def calls_of_ours() -> dict[str, Callable[[], Any]]:
    """Return our side."""
    import torch

    from mg_data.contract import InputSpec
    from mg_data.plugins import registry, resolve
    from mg_skeleton.folding import fold_batchnorm
    from mg_skeleton.heatmaps import render_joints, render_limbs

    calls: dict[str, Callable[[], Any]] = {}
    for kind in ("figure", "uniform"):
        people = torch.from_numpy(keypoints(kind))[None]
        calls[f"joints/{kind}"] = lambda people=people: render_joints(people, (SIDE, SIDE))
        calls[f"limbs/{kind}"] = lambda people=people: render_limbs(people, LIMBS, (SIDE, SIDE))
    network = resolve(registry().get("models", "posec3d").factory)(
        32,
        input=InputSpec(
            kind="people",
            shape=(1, FRAMES, POINTS, 3),
            extra={"edges": [], "size": SIDE},
            layout="openpose-68",
        ),
    )
    maps = calls["joints/figure"]()

    def run_posec3d() -> Any:
        return network.classifier(network.dropout(network.backbone(maps).mean(dim=(2, 3, 4))))

    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    calls["posec3d-step"] = step_of(network, run_posec3d, optimizer)
    folded = fold_batchnorm(network.backbone)

    def forward_posec3d() -> Any:
        with torch.no_grad():
            return network.classifier(folded(maps).mean(dim=(2, 3, 4)))

    calls["posec3d-forward"] = forward_posec3d
    points = torch.randn(BATCH, 3, 64, POINTS)
    given = InputSpec(kind="keypoints", shape=(3, 64, POINTS), layout="openpose-68")
    for name, registered, preset in (
        ("stcnn", "decoupled-stcnn", "base"),
        ("stcnn-small", "decoupled-stcnn", "small"),
        ("stgcn", "st-gcn", "full"),
    ):
        spec = registry().get("models", registered)
        model = resolve(spec.factory)(32, input=given, **spec.presets[preset])
        optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
        calls[f"{name}-step"] = step_of(model, lambda model=model: model(points).logits, optimizer)
    size = 1536
    a, b = torch.randn(size, size), torch.randn(size, size)
    calls["matrix-product"] = lambda: a @ b
    return calls


def flops(function: Callable[[], Any]) -> float:
    """Return the floating-point operations of a call: two for each product and sum."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def measure(environment: Path, rounds: int) -> dict[str, Any]:
    """Return all measurements."""
    import torch

    torch.set_num_threads(THREADS)
    ours, peer = calls_of_ours(), Peer(environment, Path(__file__), THREADS)
    # ours, theirs; the last lines compare two models of ours, and one of ours with the reference's.
    pairs = {
        f"{name}/{kind}": (f"{name}/{kind}",) * 2
        for name in ("joints", "limbs")
        for kind in ("figure", "uniform")
    }
    pairs |= {name: (name, name) for name in ("posec3d-forward", "posec3d-step", "stgcn-step")}
    pairs |= {"stcnn-over-peer-stgcn": ("stcnn-step", "stgcn-step")}
    seconds: dict[str, dict[str, list[float]]] = {name: {"ours": [], "peer": []} for name in pairs}
    names = ("stcnn-step", "stcnn-small-step", "stgcn-step", "matrix-product")
    single: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):  # the first warms up
        for name, (our_name, their_name) in pairs.items():
            # Heatmaps are short: several calls, so that a slice of the machine's time is not all of one.
            for _ in range(5 if "/" in name else 1):
                mine, theirs = time_call(ours[our_name]), peer.seconds(their_name)
                if number:
                    seconds[name]["ours"].append(mine)
                    seconds[name]["peer"].append(theirs)
        for name, values in single.items():
            values.append(time_call(ours[name]))
    peer.close()
    result: dict[str, Any] = {}
    for name, sides in seconds.items():
        result[name] = {
            "ours_ms": 1e3 * statistics.median(sides["ours"]),
            "peer_ms": 1e3 * statistics.median(sides["peer"]),
            **ratio_of_rounds(sides["peer"], sides["ours"]),
            "best_ours_ms": 1e3 * min(sides["ours"]),
            "best_peer_ms": 1e3 * min(sides["peer"]),
            "best_ratio": min(sides["peer"]) / min(sides["ours"]),
        }
    for name in ("stcnn", "stcnn-small"):
        ours_s, stgcn_s = single[f"{name}-step"][1:], single["stgcn-step"][1:]
        result[f"{name}-over-stgcn"] = {
            "stcnn_clips_per_second": BATCH / statistics.median(ours_s),
            "stgcn_clips_per_second": BATCH / statistics.median(stgcn_s),
            **ratio_of_rounds(stgcn_s, ours_s),
            "best_ratio": min(stgcn_s) / min(ours_s),
        }
    result["roofline"] = roofline(ours, seconds, single)
    return result


def roofline(ours: dict[str, Callable[[], Any]], seconds: Any, single: Any) -> dict[str, Any]:
    """Return GFLOP/s of the models against a matrix product's, each at its best."""
    best = {name: min(values[1:]) for name, values in single.items()}
    best |= {name: min(seconds[name]["ours"]) for name in ("posec3d-forward", "posec3d-step")}
    rates = {name: 1e-9 * flops(ours[name]) / value for name, value in best.items()}
    shares = {name: rate / rates["matrix-product"] for name, rate in rates.items()}
    return {"gflops_per_second": rates, "share_of_matrix_product": shares}


def main() -> None:
    """Write results/PROCESSOR/skeleton-speed.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--peer", type=Path, help="environment of the reference")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        import torch

        torch.set_num_threads(THREADS)
        serve(calls_of_peer())
        return
    if given.peer is None or not (given.peer / "bin" / "python").exists():
        print(
            "skeleton_speed: no reference (--peer); make it by 'python tools/parity.py --environment FOLDER'"
        )
        return
    from benchmarks.record_run import commit

    before = os.getloadavg()
    result = {
        "kind": "skeleton-speed",
        "command": f"python -m benchmarks.skeleton_speed --peer ENVIRONMENT --rounds {given.rounds}",
        "commit": commit(),
        "machine": machine(f"{THREADS} threads"),
        "load_before": before,
        "goals": GOALS,
        **measure(given.peer.absolute(), given.rounds),
        "load_after": os.getloadavg(),
    }
    publish("skeleton-speed", result)


if __name__ == "__main__":
    main()
