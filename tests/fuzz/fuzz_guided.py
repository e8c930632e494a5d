"""Run one reader on files that coverage leads to: ``python tests/fuzz/fuzz_guided.py READER --seconds 600``.

Needs atheris (``pip install atheris``). A case that reaches new lines of the project is kept and changed
further, by the changes of ``fuzz_worker.py`` and by those of libFuzzer. What is judged and what is forbidden
are the same as there; ``fuzz_run.py --guided`` starts this file, again after each crash. Here a case is not
made again from its number: the input of a finding is kept.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import sys
import time
import warnings
from pathlib import Path

import atheris

PACKAGES = ["mg_data", "mg_skeleton", "mg_rgb", "mg_adapt", "mg_fusion"]
#: seconds between two states of the result, as libFuzzer ends the process by itself
EVERY = 0.5

# Readers import what they need when they are called: imports are instrumented as long as the process lives.
atheris.instrument_imports(include=PACKAGES).__enter__()

from fuzz_readers import READERS  # noqa: E402
from fuzz_worker import LIMIT, Cases, Findings, change, judge, limit_memory, settle  # noqa: E402


class Guided:
    """The cases of a reader as libFuzzer sees them: a byte that says which file, and its content."""

    def __init__(self, reader: str, folder: Path, seed: str) -> None:
        self.cases = Cases(READERS[reader], folder, seed)
        self.folder = folder
        self.tally = {"read": 0, "refused": 0, "found": 0}
        self.findings = Findings(self.cases)
        self.links: set[int] = set()
        self.before: int | None = None
        self.began = self.written = time.monotonic()
        self.slowest = (0.0, -1)

    def seeds(self, corpus: Path) -> None:
        """Write the valid files as the first cases."""
        corpus.mkdir(exist_ok=True)
        for number, content in enumerate(self.cases.contents):
            (corpus / f"valid-{number}").write_bytes(bytes([number]) + content)

    def mutate(self, data: bytes, longest: int, seed: int) -> bytes:
        """Return a changed case: two of three by our changes, which keep files in form."""
        if len(data) < 2:
            which = seed % len(self.cases.files)
            return bytes([which]) + self.cases.contents[which][: longest - 1]
        rng = random.Random(seed)
        if rng.random() < 0.33:
            return data[:1] + bytes(atheris.Mutate(data[1:], longest - 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content, must = change(self.cases.reader, data[1:], rng, self.cases.spare)
        changed = data[:1] + content[: longest - 1]
        if must and len(content) < longest:
            self.links.add(hash(changed))
        return changed

    def test(self, data: bytes) -> None:
        """Read one case and judge it."""
        if len(data) < 1:
            return
        which = data[0] % len(self.cases.files)
        if self.before is not None and self.before != which:
            self.cases.put(self.before, self.cases.contents[self.before])
        self.cases.put(which, data[1:])
        self.before = which
        number = sum(self.tally.values())
        now = {"index": number, "file": str(self.cases.files[which]), "tally": self.tally}
        (self.folder / "now.json").write_text(json.dumps(now))
        limit_memory()  # anew for each case, as libFuzzer's own memory grows
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        started = time.monotonic()
        outcome, why, trace = judge(self.cases.reader, self.cases.work, hash(data) in self.links)
        faulthandler.cancel_dump_traceback_later()
        self.slowest = max(self.slowest, (time.monotonic() - started, number))
        self.tally[outcome] += 1
        if outcome == "found":
            self.findings.keep(number, which, data[1:], why, trace, "guided-")
        if time.monotonic() - self.written > EVERY or outcome == "found":
            self.write()

    def write(self) -> None:
        """Write the result so far."""
        self.written = time.monotonic()
        result = {
            "cases": sum(self.tally.values()),
            **self.tally,
            "seconds": round(self.written - self.began, 1),
            "slowest": [round(self.slowest[0], 2), self.slowest[1]],
            "findings": self.findings.listed(),
        }
        part = self.folder / "result.part"
        part.write_text(json.dumps(result))
        part.replace(self.folder / "result.json")


def main() -> None:
    """Fuzz one reader until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=list(READERS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    faulthandler.enable()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)
    folder = given.folder.resolve()
    guided = Guided(given.reader, folder, given.seed)
    settle(guided.cases)
    corpus = folder / "corpus"
    guided.seeds(corpus)
    number = random.Random(given.seed).getrandbits(31) or 1
    most = 2 * max(map(len, guided.cases.contents)) + 4096
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={max(1, round(given.seconds))}",
            f"-seed={number}",
            f"-max_len={most}",
            "-rss_limit_mb=0",
            "-malloc_limit_mb=0",
            "-timeout=1000000",
            "-print_final_stats=1",
        ],
        guided.test,
        custom_mutator=guided.mutate,
        internal_libfuzzer=True,
    )
    guided.began = time.monotonic()
    atheris.Fuzz()


if __name__ == "__main__":
    main()
