"""Measure every ratio again and compare with the records before: ``make bench``.

``python -m benchmarks.bench [RECORD ...] --work DIR`` runs the measurements of benchmarks/catalogue.py one
after another, each in a process of its own on a machine that should do nothing else, and writes records.
Peers get environments of their own in ``DIR/peers``. Then every ratio is printed beside that of the record
of the same kind of processor that was there: one that got worse by more than 15 % is a regression, and the
exit code is 1. Absolute seconds are not compared, as they belong to a machine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalogue import MEASUREMENTS, RATIOS, Measurement, Ratio, load
from benchmarks.machine import processor

ROOT = Path(__file__).resolve().parent.parent
WORSE = 0.15


def change(ratio: Ratio, before: float, now: float) -> float:
    """Return by which share a ratio got better (positive) or worse.

    A ratio near zero, such as an overhead, is compared by its distance to 1: it is time added to a whole.
    """
    if ratio.keys[-1] == "overhead":
        before, now = 1 + before, 1 + now
    better = now / before if ratio.larger_is_better else before / now
    return better - 1


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and those of the regressions; records by their names."""
    lines, worse = [], []
    for ratio in RATIOS:
        value = ratio.find(now.get(ratio.record))
        if value is None:
            continue
        earlier = ratio.find(before.get(ratio.record))
        text = f"{ratio.what}, beside {ratio.beside}: {value:.3g}"
        if not ratio.meets(value):
            text += f" (wanted {ratio.wanted})"
        if earlier is not None:
            share = change(ratio, earlier, value)
            text += f", before {earlier:.3g}, {100 * share:+.0f} %"
            if share < -WORSE:
                text += " REGRESSION"
                worse.append(text)
        lines.append(text)
    return lines, worse


def words_of(measurement: Measurement, work: Path) -> list[str] | None:
    """Return the command of a measurement, None where its peer's environment cannot be made."""
    places = {"work": str(work / "stores")}
    for place, tool in (("skeleton_peer", "parity"), ("calibration_peer", "parity_calibration")):
        if not any(place in argument for argument in measurement.arguments):
            continue
        folder = work / "peers" / tool
        if not _prepared(folder, tool):
            return None
        places[place] = str(folder)
    arguments = [argument.format(**places) for argument in measurement.arguments]
    return [sys.executable, "-m", f"benchmarks.{measurement.module}", *arguments]


def _prepared(folder: Path, tool: str) -> bool:
    """Make the environment of a peer in a folder unless it is there."""
    done = folder / ".done"
    if not done.exists():
        sys.path.insert(0, str(ROOT / "tools"))
        module = importlib.import_module(tool)
        try:
            module.prepare(folder, module.PEER if tool == "parity" else module.PEERS)
        except subprocess.CalledProcessError as error:
            print(f"{tool}: its environment cannot be made: {error}", file=sys.stderr)
            return False
        done.touch()
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, compare, and say what got worse."""
    known = [measurement.record for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="*", metavar="RECORD", help=f"all by default: {', '.join(known)}")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder of peers and stores, kept"
    )
    given = parser.parse_args(argv)
    if unknown := set(given.records) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(known)})")
    chosen = [m for m in MEASUREMENTS if not given.records or m.record in given.records]
    print(f"{len(chosen)} measurements, about {sum(m.minutes for m in chosen):.0f} minutes", flush=True)
    if os.getloadavg()[0] > 0.5:
        print(f"this machine is at work (load {os.getloadavg()[0]:.1f}): ratios will spread", file=sys.stderr)
    kind = processor()
    before = {name: load(name, kind) for name in known}
    failed = []
    for measurement in chosen:
        words = words_of(measurement, given.work.absolute())
        if (
            words is None
            or subprocess.run(words, stdout=subprocess.DEVNULL, cwd=ROOT, check=False).returncode
        ):
            failed.append(measurement.module)
        print(f"{measurement.module}{': not measured' if measurement.module in failed else ''}", flush=True)
    measured = {m.record for m in chosen if m.module not in failed}
    lines, worse = compare(before, {name: load(name, kind) for name in measured})
    print("\n".join(["", *lines]))
    if worse:
        print(f"\n{len(worse)} of {len(lines)} got worse by more than {100 * WORSE:.0f} %", file=sys.stderr)
    if failed:
        print(f"\nnot measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if worse or failed else 0


if __name__ == "__main__":
    sys.exit(main())
