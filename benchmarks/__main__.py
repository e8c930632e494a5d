"""Make the pages of docs/ that show the records in results/; ``--check``: are they up to date?"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import (
    bench_page,
    depth_page,
    fusion_page,
    fuzz_page,
    other_page,
    rgb_models_page,
    scale_page,
    skeleton_speed_page,
    synth_page,
    training_page,
    utd_page,
    watch_page,
    zoo_page,
)
from benchmarks.catalogue import RATIOS
from benchmarks.page_parts import spread
from benchmarks.skeleton_utd import ROWS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Runs that the page shows, with the seeds that belong to each; a missing one reads "not run".
RUNS = {"utd-mhad": (0, 1, 2), "demo": (0,)}
SUMMARY_ROWS = ("single-best", "equal-weight", "fused")


def _records() -> dict[tuple[str, int], dict[str, Any]]:
    found = {}
    for path in sorted((ROOT / "benchmarks" / "results").glob("run-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["name"], record["seed"]] = record
    return found


def _section(name: str, seeds: tuple[int, ...], records: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    have = [records[name, seed] for seed in seeds if (name, seed) in records]
    missing = [str(seed) for seed in seeds if (name, seed) not in records]
    lines = ["", f"## `recipes/{name}.toml`", ""]
    if not have:
        return [*lines, "not run"]
    done = ", ".join(str(record["seed"]) for record in have)
    lines.append(f"Seeds {done}" + (f"; seeds {', '.join(missing)}: not run." if missing else "."))
    lines.append("Mean, and standard deviation over seeds where there are several; percent.")
    lines += [
        "",
        "| row | accuracy before | after | macro-F1 before | after | ECE before | after | parameters |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    branches = {branch["name"]: branch for branch in have[0]["branches"]}
    for row in (*branches, *SUMMARY_ROWS):
        cells = []
        for metric in ("accuracy", "macro_f1", "ece"):
            for when in ("before", "after"):
                rows = [record["scores"].get(f"{row}/{when}") for record in have]
                cells.append(spread([item[metric] for item in rows if item]))
        label = row
        parameters = ""
        if row in branches:
            branch = branches[row]
            label = f"{row} ({branch['model']} `{branch['preset']}`, {branch['modality']})"
            parameters = f"{branch['parameters']:,}"
        lines.append(f"| {label} | {' | '.join(cells)} | {parameters} |")
    lines.append("")
    for record in have:
        pseudo = record["scores"].get("pseudo", {})
        weights = ", ".join(f"{key} {value:.2f}" for key, value in record["weights"].items())
        text = f"- seed {record['seed']}: temperature {record['temperature']:.2f}, weights {weights}"
        if "precision" in pseudo:
            text += (
                f"; pseudo-labels: yield {100 * pseudo['yield']:.1f} %, "
                f"precision {100 * pseudo['precision']:.1f} %"
            )
        if record["wall_seconds"]:
            text += f"; {record['wall_seconds'] / 60:.1f} min on {record['machine']}"
            text += f", of its work {_shares(record['steps'])}"
        failing = [key for key, note in record["notes"].items() if "FAILING" in note]
        text += f"; below their floor: {', '.join(failing)}" if failing else ""
        lines.append(f"{text} (commit {record['commit']}, `{record['command']}`)")
    return lines


def _shares(steps: dict[str, float]) -> str:
    """Return what share of the seconds each stage took, as far as it shows.

    >>> _shares({"round1/train-a": 90.0, "round2/train-a": 5.0, "data/crop-x": 4.9, "score-b": 0.1})
    'train 95 %, crop 5 %'
    """
    seconds: dict[str, float] = {}
    for step, value in steps.items():
        stage = step.rpartition("/")[2].partition("-")[0]
        seconds[stage] = seconds.get(stage, 0.0) + value
    total = sum(seconds.values())
    largest = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{stage} {100 * value / total:.0f} %" for stage, value in largest if value > total / 200
    )


# Rows and seeds of benchmarks/skeleton_utd.py that the page shows.
SKELETON_SEEDS = (0, 1, 2)
SKELETON_PROTOCOLS = ("standard", "hard")


def _skeleton_rows(protocol: str, seeds: tuple[int, ...]) -> list[str]:
    cells: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((ROOT / "benchmarks" / "results").glob(f"skeleton-utd-{protocol}-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        cells.setdefault(record["row"], {})[record["seed"]] = record
    lines = ["| row | accuracy | macro-F1 | seeds | not run | parameters | training, minutes |"]
    lines.append("|---|---|---|---|---|---|---|")
    rows = [name for name in cells if name != "ensemble"]
    # The ensemble is made of what the protocol "choose" has chosen.
    for row in rows if protocol == "choose" else [*rows, "ensemble"]:
        have = cells.get(row, {})
        found = [have[seed] for seed in sorted(have)]
        missing = ", ".join(str(seed) for seed in seeds if seed not in have) or "-"
        first = found[0] if found else {}
        spec = ROWS.get(row)
        what = f" ({spec['model']} `{spec['preset']}`, {spec['modality']})" if spec else ""
        if row == "ensemble" and found:
            what = f" (equal vote of {', '.join(first['settings']['rows'])})"
        parameters = f"{first['parameters']:,}" if first.get("parameters") else ""
        minutes = [record["train_seconds"] / 60 for record in found if "train_seconds" in record]
        time = f"{statistics.mean(minutes):.0f}" if minutes else ""
        cells_text = [spread([record["scores"][key] for record in found]) for key in ("accuracy", "macro_f1")]
        done = ", ".join(str(seed) for seed in sorted(have)) or "-"
        lines.append(
            f"| {row}{what} | {' | '.join(cells_text)} | {done} | {missing} | {parameters} | {time} |"
        )
    return lines


def _skeleton() -> list[str]:
    lines = ["", "## Skeleton models on UTD-MHAD, without adaptation", ""]
    lines.append(
        "Train on subjects 1, 3, 5, 7 and test on 2, 4, 6, 8 (standard), or train on 1 and test on all but"
    )
    lines.append(
        "1 and 3 (hard). The last checkpoint of fixed epochs; percent; `python -m benchmarks.skeleton_utd`."
    )
    lines.append("Minutes are of one thread on a machine that did other work besides.")
    for protocol in SKELETON_PROTOCOLS:
        lines += ["", f"### {protocol}", "", *_skeleton_rows(protocol, SKELETON_SEEDS)]
    lines += [
        "",
        "### choose",
        "",
        "Where the members of the ensemble were chosen, among the training people: train on 1, 3, 5, test",
        "on 7.",
        "",
        *_skeleton_rows("choose", (0,)),
    ]
    return lines


# Records with a section of their own, besides those of RATIOS.
SHOWN = (
    *("run-*", "skeleton-utd-*", "depth-utd-*", "imu-utd-*", "ablation-utd-*", "long-tail-utd-*"),
    *("fusion-crossfit", "fusion-search", "fusion-scale", "fusion-scale-10000000", "fusion-import"),
    *("startup", "synth", "skeleton-speed", "rgb-models", "trainer-overhead", "two-processes"),
    "watch-synthetic-*",
    "model-sizes",  # in the model zoo
    "load-*",  # in docs/benchmarks.md
    "fuzz-*",  # in docs/fuzzing.md
)


def page() -> str:
    """Return docs/results.md."""
    records = _records()
    lines = [
        "# Results",
        "",
        "Made by `make pages` from `benchmarks/results/*.json` alone: each file names command, commit,",
        "seed and the digests of its inputs. Labels of the target are read by `mg score` and",
        "`mg watch --truth` only; the single best branch and the parameters of the vote are chosen on",
        "validation.",
    ]
    for name, seeds in RUNS.items():
        lines += _section(name, seeds, records)
    lines += _skeleton()
    lines += fusion_page.sections()
    lines += synth_page.section()
    lines += training_page.section()
    lines += skeleton_speed_page.section()
    lines += rgb_models_page.section()
    lines += depth_page.section()
    lines += utd_page.imu_section() + utd_page.ablation_section() + utd_page.long_tail_section()
    lines += watch_page.section()
    lines += other_page.section((*SHOWN, *(ratio.record for ratio in RATIOS)))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the pages."""
    stale = []
    for name, text in (
        ("results.md", page()),
        ("model-zoo.md", zoo_page.page()),
        ("benchmarks.md", bench_page.page()),
        ("scale.md", scale_page.page()),
        ("fuzzing.md", fuzz_page.page()),
    ):
        path = DOCS / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print(f"docs/{name} is out of date: run 'make pages'", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
