"""Video models beside torchvision's own modules: ``python -m benchmarks.rgb_models [PART ...]``.

Parts: ``forward`` (ours against the library's module with the same weights, both from bytes to logits),
``layout`` (training steps with and without channels-last), ``compile`` (eager against ``torch.compile``,
where its back end finds a C++ compiler). Each part replaces its own section of
results/PROCESSOR/rgb-models.json. The sides of a ratio take turns; the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.machine import machine, publish, record_path
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_data.contract import InputSpec
from mg_data.plugins import registry, resolve

THREADS = 2
CLASSES = 32
SEED = 0
# Registered model: the library's function, and a sample (frames, rows, columns) below its published one.
MODELS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "r2plus1d-18": ("r2plus1d_18", (8, 112, 112)),
    "swin3d-t": ("swin3d_t", (16, 112, 112)),
}
# Training steps with the small presets, batches of bfloat16 as the small recipes have them, and float32.
LAYOUTS = ("r2plus1d-18", "slow-r50", "x3d-m", "s3d")
BATCH = 4
WANTED = "forward ratio >= 0.98"


def build(name: str, shape: tuple[int, int, int], preset: str, **options: Any) -> torch.nn.Module:
    """Build a registered model for colour video of ``shape``."""
    spec = registry().get("models", name)
    torch.manual_seed(SEED)
    given = InputSpec(kind="video", shape=(3, *shape), dtype="uint8")
    model: torch.nn.Module = resolve(spec.factory)(
        CLASSES, input=given, **{**spec.options, **spec.presets[preset], **options}
    )
    return model


def in_turns(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side's calls, in turns whose order alternates; one round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, call in list(sides.items())[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def milliseconds(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return each side's median."""
    return {f"{name}_ms": round(1e3 * statistics.median(values), 2) for name, values in seconds.items()}


def forward(rounds: int) -> dict[str, Any]:
    """Compare forward passes of one clip, without gradient."""
    from torchvision.models import video as torchvision_video

    result: dict[str, Any] = {}
    for name, (function, shape) in MODELS.items():
        ours: Any = build(name, shape, "paper").eval()
        theirs = getattr(torchvision_video, function)(weights=None, num_classes=CLASSES)
        state = dict(ours.backbone.state_dict())
        head = "fc" if function.startswith("r2plus1d") else "head"
        state |= {f"{head}.{key}": value for key, value in ours.head.state_dict().items()}
        theirs.load_state_dict(state)
        theirs.eval()
        clip = torch.randint(0, 256, (1, 3, *shape), dtype=torch.uint8)

        def library(theirs: Any = theirs, ours: Any = ours, clip: Any = clip) -> Any:
            return theirs((clip.float() / 255 - ours.mean) / ours.std)

        sides: dict[str, Callable[[], Any]] = {"torchvision": library, "ours": partial(ours, clip)}
        if "channels_last" in registry().get("models", name).options:
            last = build(name, shape, "paper", channels_last=True).eval()
            sides["channels_last"] = partial(last, clip)
        with torch.no_grad():
            assert torch.equal(ours(clip).logits, library())
            seconds = in_turns(sides, rounds)
        result[name] = {
            "sample": "x".join(map(str, shape)),
            **milliseconds(seconds),
            **ratio_of_rounds(seconds["torchvision"], seconds["ours"]),
        }
        if "channels_last" in sides:
            last_ratio = ratio_of_rounds(seconds["torchvision"], seconds["channels_last"])
            result[name]["channels_last_ratio"] = last_ratio["ratio"]
    result["ratio"] = min(entry["ratio"] for entry in result.values())
    return result


def training_step(model: torch.nn.Module, clips: torch.Tensor, bf16: bool) -> Callable[[], None]:
    """Return one training step of plain SGD."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3)
    target = torch.arange(len(clips)) % CLASSES

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(clips).logits
        torch.nn.functional.cross_entropy(logits.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def layout(rounds: int) -> dict[str, Any]:
    """Compare training steps of the small presets with and without channels-last."""
    result: dict[str, Any] = {}
    for name in LAYOUTS:
        options = registry().get("models", name).modality_options["small"]
        shape = (options["frames"], options["size"], options["size"])
        clips = torch.randint(0, 256, (BATCH, 3, *shape), dtype=torch.uint8)
        for kind in ("float32", "bf16"):
            sides = {
                label: training_step(build(name, shape, "small", channels_last=last), clips, kind == "bf16")
                for label, last in (("contiguous", False), ("channels_last", True))
            }
            seconds = in_turns(sides, rounds)
            result[f"{name}/{kind}"] = {
                "sample": f"{BATCH} of {'x'.join(map(str, shape))}",
                **milliseconds(seconds),
                "speed_up": ratio_of_rounds(seconds["contiguous"], seconds["channels_last"])["ratio"],
            }
    return result


def compiled(rounds: int) -> dict[str, Any]:
    """Compare forward passes of one clip, eager and compiled."""
    result: dict[str, Any] = {}
    for name, (_, shape) in MODELS.items():
        model = build(name, shape, "paper").eval()
        clip = torch.randint(0, 256, (1, 3, *shape), dtype=torch.uint8)
        began = time.perf_counter()
        fast: Any = torch.compile(model)
        try:
            with torch.no_grad():
                fast(clip)
        except Exception as error:  # no C++ compiler, or an operation that the back end does not know
            result[name] = {"not run": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            continue
        compile_seconds = time.perf_counter() - began
        with torch.no_grad():
            sides = {"eager": partial(model, clip), "compiled": partial(fast, clip)}
            seconds = in_turns(sides, rounds)
        result[name] = {
            "sample": "x".join(map(str, shape)),
            **milliseconds(seconds),
            "speed_up": ratio_of_rounds(seconds["eager"], seconds["compiled"])["ratio"],
            "compile_seconds": round(compile_seconds, 1),
        }
    return result


PARTS = {"forward": forward, "layout": layout, "compile": compiled}


def main() -> None:
    """Write results/PROCESSOR/rgb-models.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))} (known: {', '.join(PARTS)})")
    torch.set_num_threads(THREADS)
    path = record_path("rgb-models")
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result |= {
        "kind": "rgb-models",
        "command": "python -m benchmarks.rgb_models",
        "commit": commit(),
        "machine": machine(f"{THREADS} threads"),
        "torch": torch.__version__,
        "seed": SEED,
        "inputs": "random bytes by the seed",
        "wanted": WANTED,
    }
    for part in given.parts or PARTS:
        result[part] = {**PARTS[part](given.rounds), "commit": commit(), "rounds": given.rounds}
    publish("rgb-models", result)


if __name__ == "__main__":
    main()
