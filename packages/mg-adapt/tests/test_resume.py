"""A killed training goes on bit for bit: SIGKILL in a subprocess, and damaged states."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.stages.train import train

Toy = tuple[Path, Path]
SETTINGS = ("recipe.epochs=4", "recipe.flip=true", "recipe.ema=0.9", "recipe.select=best", "model.delay=0.02")
SCRIPT = """
import sys, torch
from pathlib import Path
import mg_adapt_toy
from mg_data.plugins import use_plugins
from mg_adapt.stages.train import train
torch.set_num_threads(1)
use_plugins(mg_adapt_toy)
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
train(console=mg_adapt_toy.Talk(), model="toy-net", data=folder / "clips.h5", split=folder / "split.h5",
      out=out, set=sys.argv[3:], state_every=0.0)
"""


def start(folder: Path, out: Path, *settings: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, str(folder), str(out), *settings]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})


def learn(toy: Toy, out: Path, *settings: str, state_every: float = 0.0) -> list[str]:
    from mg_adapt_toy import Talk

    talk = Talk()
    train(
        console=talk,
        model="toy-net",
        data=toy[0],
        split=toy[1],
        out=out,
        set=list(settings),
        state_every=state_every,
    )
    return talk.lines


def equal(first: Path, second: Path) -> bool:
    a, b = load_checkpoint(first), load_checkpoint(second)
    return a.digest == b.digest and all(torch.equal(v, b.model_state[k]) for k, v in a.model_state.items())


def epochs(log: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in log.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [9, *(pytest.param(moment, marks=pytest.mark.extended) for moment in (1, 14))]
)
def test_sigkill_anywhere_then_again_gives_the_same_weights(toy: Toy, tmp_path: Path, moment: int) -> None:
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    learn(toy, whole, *SETTINGS)
    process = start(tmp_path, killed, *SETTINGS)
    state = tmp_path / "killed.safetensors.state"
    seen: set[int] = set()
    deadline = time.monotonic() + 120
    while len(seen) < moment and time.monotonic() < deadline and process.poll() is None:
        for file in state.glob("[ab].safetensors"):
            seen.add(file.stat().st_mtime_ns)
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not killed.exists()
    lines = learn(toy, killed, *SETTINGS)
    assert any("resumed after" in line for line in lines)
    assert equal(whole, killed)
    assert epochs(tmp_path / "killed.log.jsonl") == [1, 2, 3, 4]
    assert not state.exists()


class Stopped(Exception):
    """Stands for a kill, inside this process."""


def interrupt(monkeypatch: pytest.MonkeyPatch, toy: Toy, out: Path, steps: int, *settings: str) -> None:
    """Train and break off after so many optimizer steps."""
    from mg_adapt.training.trainer import Trainer

    done = 0
    real = Trainer._step

    def step(self: Trainer, *args: object) -> tuple[float, int, int]:
        nonlocal done
        if done == steps:
            raise Stopped
        done += 1
        return real(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Stopped):
            learn(toy, out, *settings)


@pytest.mark.parametrize("steps", [3, 5, 7, 12])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_broken_off_training_goes_on_from_any_step(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, optimizer: str
) -> None:
    settings = (f"recipe.optimizer={optimizer}", 'recipe.auxiliary=["orthogonal-semantic"]')
    learn(toy, tmp_path / "whole", *settings, state_every=1e9)
    interrupt(monkeypatch, toy, tmp_path / "part", steps, *settings)
    assert any("resumed after" in line for line in learn(toy, tmp_path / "part", *settings))
    assert equal(tmp_path / "whole", tmp_path / "part")
    assert epochs(tmp_path / "part.log.jsonl") == [1, 2, 3]


def test_a_corrupt_last_state_falls_back_to_the_one_before(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(toy, tmp_path / "whole")
    interrupt(monkeypatch, toy, tmp_path / "part", 8)
    states = sorted((tmp_path / "part.state").glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    content = bytearray(states[-1].read_bytes())
    content[-1] ^= 1
    states[-1].write_bytes(content)
    lines = learn(toy, tmp_path / "part")
    assert any("passed over" in line and "checksum differs" in line for line in lines)
    assert any("resumed after 7 of 15 steps" in line for line in lines)
    assert equal(tmp_path / "whole", tmp_path / "part")


def test_a_state_of_other_settings_is_not_used(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(toy, tmp_path / "whole", "recipe.lr=0.02")
    interrupt(monkeypatch, toy, tmp_path / "part", 8)
    lines = learn(toy, tmp_path / "part", "recipe.lr=0.02")
    assert any("state of another training" in line for line in lines)
    assert not any("resumed" in line for line in lines)
    assert equal(tmp_path / "whole", tmp_path / "part")


def test_a_full_disk_for_states_does_not_end_the_training(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_adapt.training import state
    from mg_data.contract import StoreError

    def full(path: Path, *args: object) -> str:
        raise StoreError(path, "cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_tensors", full)
        lines = learn(toy, tmp_path / "a")
    assert any("training goes on without a new state" in line for line in lines)
    assert load_checkpoint(tmp_path / "a").epochs == 3
