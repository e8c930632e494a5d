"""SIGKILL at random points of a command, again and again, and what must hold afterwards."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass, field

from fault_tools import Bench


@dataclass
class Tally:
    """Kills of one stage. late: over before the kill. broken: what did not hold, and the way there."""

    stage: str
    kills: int = 0
    late: int = 0
    where: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return a line of the table in docs/faults.md."""
        calls, times = self.where["call"], self.where["time"]
        return f"| `mg {self.stage}` | {self.kills} | {calls} | {times} | {len(self.broken)} |"


def kill_once(bench: Bench, rng: random.Random, tally: Tally) -> None:
    """Kill a command once or twice, look at what it left, let it finish and compare.

    Half of the kills fall before a system call that changes the folder, or in the middle of a write; the
    others at a random time. In half of the trials older results stand under the final names.
    """
    earlier = rng.random() < 0.5
    work = bench.fresh(earlier)
    way = [f"earlier={earlier}"]
    try:
        for _ in range(rng.choice((1, 1, 2))):
            if bench.server.has_shim and rng.random() < 0.6:
                at = rng.randint(1, bench.ended.calls)
                way.append(f"call {at} of {bench.ended.calls}")
                ended = bench.server.run(bench.words(work), mode="kill", at=at, folder=work)
                place = "call"
            else:
                moment = rng.uniform(0.0, bench.seconds)
                way.append(f"{moment:.3f} of {bench.seconds:.3f} s")
                ended = bench.server.run(bench.words(work), kill_after=moment)
                place = "time"
            if ended.killed:
                tally.kills += 1
                tally.where[place] += 1
                bench.check_broken(work, earlier)
            else:
                assert ended.code == 0, ended.err
                tally.late += 1
        bench.finish(work)
    except Exception as error:
        tally.broken.append(f"{bench.stage.name}: {', '.join(way)}: {type(error).__name__}: {error}")
        shutil.rmtree(work, ignore_errors=True)


def campaign(bench: Bench, kills: int, seed: int) -> Tally:
    """Kill a stage so many times; the seed gives the same kills again (their times but for the machine's)."""
    rng = random.Random(f"{seed} {bench.stage.name}")
    tally = Tally(bench.stage.name)
    while tally.kills < kills and tally.late < 4 * kills + 20:
        kill_once(bench, rng, tally)
    return tally
