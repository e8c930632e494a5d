"""SIGKILL anywhere: no half file under a final name, and the same command then ends as if nothing had been.

MG_FAULT_KILLS=200 kills so many times in all; MG_FAULT_SEED repeats a run. Results: docs/faults.md.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from fault_tools import Bench
from kills import campaign

SEED = int(os.environ.get("MG_FAULT_SEED", secrets.randbelow(2**31)))
KILLS = int(os.environ.get("MG_FAULT_KILLS", 0))
# Shares of a long run; what is killed in `make test` and in `make test-slow`.
SHARES = {
    "import": 0.1, "import --resume": 0.15, "crop": 0.1, "crop --resume": 0.15, "train": 0.2, "predict": 0.1,
    "fuse": 0.1, "merge": 0.05, "split": 0.025, "report": 0.025,
}  # fmt: skip


def kill(benches: dict[str, Bench], stage: str, kills: int) -> None:
    tally = campaign(benches[stage], kills, SEED)
    line = f"seed {SEED} {tally.row()} late {tally.late}"
    print(line)
    if "MG_FAULT_LOG" in os.environ:
        with Path(os.environ["MG_FAULT_LOG"]).open("a", encoding="utf-8") as log:
            log.write("\n".join([line, *tally.broken]) + "\n")
    assert not tally.broken, "\n".join([f"seed {SEED}", *tally.broken])
    assert tally.kills >= kills, "too few kills fell before the end"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["import --resume", "merge"])
def test_a_killed_command_ends_as_if_nothing_had_been(benches: dict[str, Bench], stage: str) -> None:
    kill(benches, stage, 2)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("stage", SHARES)
def test_kills_at_random_points(benches: dict[str, Bench], stage: str) -> None:
    kill(benches, stage, max(2, round(KILLS * SHARES[stage])))
