"""docs/benchmarks.md: one table of every ratio in benchmarks/catalogue.py, a column for each processor."""

from __future__ import annotations

from typing import Any

from benchmarks import load_page
from benchmarks.catalogue import RATIOS, Ratio, load
from benchmarks.machine import kinds
from benchmarks.page_parts import NOT_RUN

# Why a ratio is below what was wanted, where that is known: (record, keys) -> the reason.
LIMITS = {
    ("startup", ("ratio",)): (
        "what is left are importlib.metadata, pluggy and the contract's dataclasses; there "
        "the project's files were compiled anew by each process, as Python had been told to write none"
    ),
    ("crop", ("synthetic_720x1280", "ratio")): "mixing pixels is compiled plainly, decoding by hand",
    ("crop", ("intel_asl_640x480", "ratio")): "small frames decode fast: encoding the crop counts",
    ("crop", ("workers", "ratio")): "the main process writes the store besides",
    ("import-workers", ("ratio",)): "the main process writes the store besides",
    ("rgb-loader", ("ratio",)): (
        "a frame resized from 256 to 224 pixels costs a third of its decoding in OpenCV, and two processes "
        "and the one that collects share two cores; in one process the ratio is 0.74"
    ),
    ("two-processes", ("ratio",)): "probably the exchange of gradients and of BatchNorm's sums",
    **{
        ("skeleton-speed", (name, "ratio")): "both sides wait for the same convolutions on narrow vectors"
        for name in ("posec3d-forward", "posec3d-step", "stcnn-over-stgcn")
    },
    (
        "fusion-scale",
        ("speed of fuse shuffled beside read",),
    ): "reading in another order than the rows lie in",
}
NAMES = {
    "amx": "AMX",
    "avx512": "AVX-512",
    "avx2": "AVX2",
    "earlier": "not noted",
}


def page() -> str:
    """Return docs/benchmarks.md."""
    columns = kinds()
    lines = [
        "# Benchmarks",
        "",
        "Every ratio that the project asks of itself, each measured in one run on one machine of two cores",
        "with the sides taking turns; median, and in brackets the smallest and the largest of the rounds. A",
        "ratio differs between processors, as both sides may wait for the same arithmetic: a column for each",
        "kind, the last one of runs that did not note theirs. *Slanted*: short of what was wanted. `make",
        "bench` measures all of them again (half an hour of a quiet machine), compares with the records of",
        "its kind in `benchmarks/results` and fails if a ratio got worse by more than 15 %. The peers are",
        "installed from the package index in environments of their own. Without a sign a ratio is how many",
        "times as fast.",
        "",
        f"| what | beside | wanted | {' | '.join(NAMES.get(kind, kind) for kind in columns)} |",
        "|---|---|---|" + "---|" * len(columns),
        *(_line(ratio, columns) for ratio in RATIOS),
        "",
        "Commits: " + "; ".join(f"{NAMES.get(kind, kind)} {_commits(kind)}" for kind in columns) + ".",
        "",
        "## Short of what was wanted",
        "",
    ]
    short = [line for ratio in RATIOS if (line := _short(ratio, columns))]
    return "\n".join([*lines, *(short or ["None."]), *load_page.section()]) + "\n"


def _line(ratio: Ratio, columns: list[str]) -> str:
    cells = [ratio.what, ratio.beside, ratio.wanted]
    return f"| {' | '.join([*cells, *(_cell(ratio, load(ratio.record, kind)) for kind in columns)])} |"


def _cell(ratio: Ratio, record: dict[str, Any] | None) -> str:
    value, around = ratio.find(record), ratio.range(record)
    if value is None:
        return NOT_RUN
    text = f"{value:.2f}" + (f" ({around[0]:.2f} to {around[1]:.2f})" if around else "")
    return text if ratio.meets(value) else f"*{text}*"


def _commits(kind: str) -> str:
    found = [load(record, kind) for record in sorted({ratio.record for ratio in RATIOS})]
    return ", ".join(sorted({record["commit"] for record in found if record is not None}))


def _short(ratio: Ratio, columns: list[str]) -> str:
    """Return the line of a ratio that is short of what is wanted on one of the processors, else nothing."""
    found = []
    for kind in columns:
        record = load(ratio.record, kind)
        value = ratio.find(record)
        if value is None or ratio.meets(value):
            continue
        text = f"{value:.2f} on {NAMES.get(kind, kind)}" if kind != "earlier" else f"{value:.2f}"
        if (ceiling := ratio.ceiling(record)) is not None:
            text += f" (two runs at once that share nothing reach {ceiling:.2f})"
        found.append(text)
    if not found:
        return ""
    why = LIMITS.get((ratio.record, ratio.keys), "not known")
    return f"- {ratio.what}, beside {ratio.beside}: {', '.join(found)}; wanted {ratio.wanted}: {why}."
