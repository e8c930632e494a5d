"""docs/benchmarks.md: one table of every ratio in benchmarks/catalogue.py."""

from __future__ import annotations

from benchmarks import load_page
from benchmarks.catalogue import RATIOS, Ratio, load
from benchmarks.page_parts import NOT_RUN

# Why a ratio is below what was wanted, where that is known: (record, keys) -> the reason.
LIMITS = {
    ("startup", ("ratio",)): (
        "click has its compiled files here, which makes its import twice as fast; what is left are pluggy "
        "and the contract's dataclasses, about a tenth of the time each"
    ),
    ("crop", ("intel_asl_640x480", "ratio")): "small frames decode fast: encoding the crop counts",
    ("crop", ("workers", "ratio")): "the main process writes the store besides",
    ("import-workers", ("ratio",)): "the main process writes the store besides",
    ("rgb-loader", ("ratio",)): (
        "a frame resized from 256 to 224 pixels costs a third of its decoding in OpenCV, and two processes "
        "and the one that collects share two cores; in one process the ratio is 0.74"
    ),
    ("two-processes", ("ratio",)): "probably the exchange of gradients and of BatchNorm's sums",
    ("skeleton-speed", ("posec3d-forward", "ratio")): (
        "differs between processors: 1.65 on another machine, where the peer was slower"
    ),
    ("skeleton-speed", ("stcnn-over-stgcn", "ratio")): "differs between processors: 4.88 on another machine",
}


def page() -> str:
    """Return docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Every ratio that the project asks of itself, each measured in one run on one machine with the sides",
        "taking turns; median, and in brackets the smallest and the largest of the rounds. `make bench`",
        "measures all of them again (about half an hour of a quiet machine), compares with the records in",
        "`benchmarks/results` and fails if a ratio got worse by more than 15 %. The peers are installed from",
        "the package index in environments of their own. Without a sign a ratio is how many times as fast.",
        "",
        "| what | beside | wanted | measured | met | machine | commit |",
        "|---|---|---|---|---|---|---|",
        *map(_line, RATIOS),
        "",
        "## Short of what was wanted",
        "",
    ]
    short = [ratio for ratio in RATIOS if _value(ratio) is not None and not ratio.meets(_value(ratio) or 0)]
    for ratio in short:
        why = LIMITS.get((ratio.record, ratio.keys), "not known")
        if (ceiling := ratio.ceiling(load(ratio.record))) is not None:
            why += f"; two runs at once that share nothing reach {ceiling:.2f} on this machine"
        lines.append(
            f"- {ratio.what}, beside {ratio.beside}: {_value(ratio):.2f}, wanted {ratio.wanted}: {why}."
        )
    if not short:
        lines.append("None.")
    return "\n".join([*lines, *load_page.section()]) + "\n"


def _value(ratio: Ratio) -> float | None:
    return ratio.find(load(ratio.record))


def _line(ratio: Ratio) -> str:
    record = load(ratio.record)
    value, around = ratio.find(record), ratio.range(record)
    if record is None or value is None:
        return f"| {ratio.what} | {ratio.beside} | {ratio.wanted} | {NOT_RUN} | | | |"
    text = f"{value:.2f}" + (f" ({around[0]:.2f} to {around[1]:.2f})" if around else "")
    met = "" if not ratio.wanted else "yes" if ratio.meets(value) else "no"
    cells = (ratio.what, ratio.beside, ratio.wanted, text, met, record.get("machine", ""), record["commit"])
    return f"| {' | '.join(cells)} |"
