"""Say what share of each package the tests run: ``coverage json``, then this file; below 90 % it fails.

``make coverage`` does both. Lines of processes that are killed on purpose are not counted.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

LEAST = 90.0


def shares(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, tuple[int, int]]:
    """Return (lines run, lines) by package, from the report of ``coverage json``.

    Copies that tests install into environments of their own are left out.
    """
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, facts in report["files"].items():
        first, package, *_ = Path(name).parts
        if first != "packages":
            continue
        run, lines = found[package]
        summary = facts["summary"]
        found[package] = (run + summary["covered_lines"], lines + summary["num_statements"])
    return dict(found)


def main() -> int:
    """Print the table and the files with most lines that no test runs; return 1 if a package falls short."""
    report = json.loads(Path(sys.argv[1] if sys.argv[1:] else "coverage.json").read_text(encoding="utf-8"))
    table = shares(report)
    print("| package | lines | run by tests |\n|---|---|---|")
    for package, (run, lines) in sorted(table.items()):
        print(f"| {package} | {lines:,} | {100 * run / lines:.1f} % |")
    own = {name: facts for name, facts in report["files"].items() if name.startswith("packages")}
    missed = sorted(own.items(), key=lambda item: -item[1]["summary"]["missing_lines"])
    for name, facts in missed[:15]:
        print(f"{facts['summary']['missing_lines']:5d} not run: {name} {facts['missing_lines'][:12]}")
    return int(any(100 * run < LEAST * lines for run, lines in table.values()))


if __name__ == "__main__":
    sys.exit(main())
