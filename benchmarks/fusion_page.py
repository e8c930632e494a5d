"""The sections of docs/results.md on mg-fusion: fitted fusion, search, stores larger than memory, imports."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import NOT_RUN, cell, record

# Case of the search -> what it is beside.
SEARCHES = {
    "accuracy, 1,771 weights of 4 models, HMDB51 score files, 51 classes": "plain loop",
    "accuracy, 1,771 weights of 4 models, synthetic, 32 classes": "plain loop",
    "macro_f1, 10,626 weights of 5 models, HMDB51 score files": "every setting",
}
# What is wanted of the first case, which is of real score files.
SEARCH_GOALS = {"numpy": 4, "fast": 15}
SCALES = ("fusion-scale", "fusion-scale-10000000")
SMALL = "accuracy on 777 clips fitted on, and on other videos"


def _gain(values: list[float]) -> str:
    return f"{values[0]:+.2f} [{values[1]:.2f}, {values[2]:.2f}]"


def crossfit_section() -> list[str]:
    """Return the lines on fusers fitted on some videos and judged on others."""
    lines = ["", "## Fitted fusion on clips it has not seen", ""]
    found = record("fusion-crossfit")
    if found is None:
        return [*lines, NOT_RUN]
    lines += [
        "Published scores of HMDB51, three splits; fitted on four fifths of the videos, judged on the fifth,",
        f"in turns ({found['folds']} folds). Hand weights are those of the scores' authors (2 for iframe, 1",
        "for the others, on logits), chosen with these clips in sight. Gains in points of accuracy, with",
        f"95 % intervals over videos. Commit {found['commit']}, `{found['command']}`,",
        f"{found['cpu_seconds'] / 60:.0f} minutes of one core. Left out:",
        "",
        *(f"- {what}: {why}" for what, why in found["left out"].items()),
    ]
    combinations = {
        name: part for name, part in found.items() if isinstance(part, dict) and "published" in part
    }
    for name, part in combinations.items():
        lines += [
            "",
            f"### {name}",
            "",
            f"{part['clips']:,} clips of {part['videos']:,} videos; published: {part['published']:.2f}.",
            "",
            "| fuser | accuracy | NLL | over hand weights | over equal weights |",
            "|---|---|---|---|---|",
        ]
        for fuser, row in part["methods"].items():
            gains = (_gain(row[f"gain over {what} weights"]) for what in ("hand", "equal"))
            lines.append(f"| {fuser} | {row['accuracy']:.2f} | {row['nll']:.3f} | {' | '.join(gains)} |")
    lines += [
        "",
        "### Fitted on few clips",
        "",
        "Three models (iframe, mv, residual), fitted on 777 clips of whole videos; accuracy, mean of the",
        "splits.",
        "",
        "| fuser | on the clips fitted on | on other videos |",
        "|---|---|---|",
    ]
    for fuser, row in found[SMALL].items():
        lines.append(f"| {fuser} | {row['on the clips fitted on']:.2f} | {row['on other videos']:.2f} |")
    return lines


def search_section() -> list[str]:
    """Return the lines on the speed of the exhaustive search."""
    lines = ["", "## Search of temperature and weights: speed", ""]
    found = record("fusion-search")
    if found is None:
        return [*lines, NOT_RUN]
    wanted = " and ".join(f">= {goal} times ({name})" for name, goal in SEARCH_GOALS.items())
    lines += [
        f"{found['clips']} clips, {found['temperatures']} temperatures, {found['threads']} threads; the same",
        f"optimum in every column. Wanted on real score files beside a plain loop of numpy: {wanted}.",
        f"Commit {found['commit']}, `{found['command']}`.",
        "",
        "| what is searched | beside | s | numpy, s | times as fast | `fast`, s | times as fast |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, rival in SEARCHES.items():
        part: dict[str, Any] = found.get(case, {})
        seconds = part.get("seconds")
        cells = [cell(seconds, rival, ".2f")]
        for engine in SEARCH_GOALS:
            cells += [cell(seconds, engine, ".3f"), cell(part, f"{engine}: times as fast as {rival}", ".1f")]
        lines.append(f"| {case} | {rival} | {' | '.join(cells)} |")
    mapped = found.get("fit_soft_vote, memory-mapped")
    return [
        *lines,
        "",
        f"`fit_soft_vote` on a memory map: {cell(mapped, 'clips', ',')} clips in "
        f"{cell(mapped, 'seconds', '.1f')} s, {cell(mapped, 'more_than_before_mb', '.0f')} MB more than "
        "before.",
    ]


def scale_section() -> list[str]:
    """Return the lines on fusing stores larger than memory."""
    lines = ["", "## Fusion of stores larger than memory", ""]
    lines += [
        "`mg fuse` in blocks beside reading the same stores block by block; shuffled: the stores hold their",
        "clips in different orders. Wanted of 10 million rows: at least 0.3 of the speed of reading, at most",
        "1 GB.",
        "",
        "| rows x classes x models | read, s | fuse, s | speed beside reading | memory, MB "
        "| shuffled, s | speed | memory, MB | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SCALES:
        found = record(name)
        if found is None:
            lines.append(f"| {name} |{f' {NOT_RUN} |' * 7} |")
            continue
        cells = [f"{found['rows']:,} x {found['classes']} x {found['models']}"]
        cells.append(cell(found.get("read"), "seconds", ".1f"))
        for what in ("fuse", "fuse shuffled"):
            part = found.get(what)
            cells += [cell(part, "seconds", ".1f"), cell(found, f"speed of {what} beside read", ".2f")]
            cells.append(cell(part, "peak_mb", ".0f"))
        lines.append(f"| {' | '.join(cells)} | {found['commit']} |")
    return lines


def import_section() -> list[str]:
    """Return the lines on what an import costs."""
    lines = ["", "## Import of mg-fusion", ""]
    found = record("fusion-import")
    if found is None:
        return [*lines, NOT_RUN]
    lines += [
        "Medians of fresh interpreters in turns, their start included. Wanted: `import mg_fusion` at most",
        f"1.5 times `import numpy, h5py`. Commit {found['commit']}, `{found['command']}`.",
        "",
        "| statement | ms | ratio |",
        "|---|---|---|",
    ]
    for statement, row in found["statements"].items():
        lines.append(f"| `{statement}` | {1000 * row['seconds']:.0f} | {row['ratio']:.2f} |")
    return lines


def sections() -> list[str]:
    """Return the lines of all sections on mg-fusion."""
    return [*crossfit_section(), *search_section(), *scale_section(), *import_section()]
