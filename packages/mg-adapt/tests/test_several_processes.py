"""Several processes of torchrun train as one does: the same losses and weights, whatever the batch size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from mg_adapt.checkpoint import Checkpoint, load_checkpoint
from mg_adapt.training.data import EpochBatches
from mg_adapt.training.engine import share
from mg_data.contract import UsageError

SYNC = "recipe.sync_batchnorm=true"
# AdamW makes whole steps of the rounding errors that are the gradient of a bias before a BatchNorm.
SGD = "recipe.optimizer=sgd"
# 37 clips: batches of 8 end with one of 5 (3 and 2 samples), batches of 17 with one of 3, not divided.
CASES: dict[str, tuple[str, ...]] = {
    "plain": (SYNC,),
    "undivided": (SYNC, SGD, "recipe.batch_size=17"),
    "all": (
        *(SYNC, SGD, "recipe.mixup=0.4", "recipe.ema=0.9", "recipe.flip=true", "recipe.sampler=square-root"),
        *('recipe.auxiliary=["orthogonal-semantic"]', "recipe.clip_norm=1", "recipe.select=best"),
    ),
}


def torchrun(
    folder: Path, cases: list[tuple[str, int, list[str]]], processes: int = 2
) -> list[dict[str, str]]:
    pytest.importorskip("lightning_fabric")
    (folder / "cases.json").write_text(json.dumps(cases))
    script = Path(__file__).parent / "several.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--standalone", str(script), str(folder), str(folder / "cases.json")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"outcomes-{rank}.json").read_text()) for rank in range(processes)]


def rows(checkpoint: Path) -> list[dict[str, Any]]:
    log = checkpoint.with_name(checkpoint.stem + ".log.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def assert_alike(first: Checkpoint, second: Checkpoint) -> None:
    for name, value in first.model_state.items():
        torch.testing.assert_close(second.model_state[name], value, rtol=1e-3, atol=2e-5, msg=name)


def assert_trained_as_one(folder: Path, name: str) -> None:
    """Train a case in this process too; its log and weights are those of the checkpoint that is there."""
    from several import learn

    learn(folder, folder / f"one-{name}", 0, list(CASES[name]))
    one, shared = load_checkpoint(folder / f"one-{name}"), load_checkpoint(folder / name)
    if SGD in CASES[name]:
        assert_alike(one, shared)
    for own, other in zip(rows(folder / f"one-{name}"), rows(folder / name), strict=True):
        assert other["loss"] == pytest.approx(own["loss"], rel=1e-4)
        assert other["train_accuracy"] == own["train_accuracy"]
        assert other.get("val_accuracy") == own.get("val_accuracy")
    # A layer that the loss does not reach is left alone: no weight decay either.
    assert torch.equal(one.model_state["idle.weight"], shared.model_state["idle.weight"])


@pytest.mark.extended
def test_two_processes_train_as_one(toy: tuple[Path, Path], tmp_path: Path) -> None:
    cases: list[tuple[str, int, list[str]]] = [(name, 0, list(words)) for name, words in CASES.items()]
    broken_off = list(CASES["all"])
    cases += [
        ("own-statistics", 0, []),
        ("resumed", 7, broken_off),
        ("resumed", 0, broken_off),
        ("poisoned", 0, ["modality.poison=c005"]),
        ("small", 0, ["recipe.batch_size=3"]),
    ]
    first, second = torchrun(tmp_path, cases)
    assert all(first[name] == "done" and second[name] == "silent" for name in (*CASES, "resumed"))
    for name in CASES:
        assert_trained_as_one(tmp_path, name)
    assert load_checkpoint(tmp_path / "resumed").digest == load_checkpoint(tmp_path / "all").digest
    assert not (tmp_path / "all.state").exists()
    # Statistics over each process's own half are others.
    own = load_checkpoint(tmp_path / "own-statistics").model_state["head.weight"]
    assert not torch.allclose(own, load_checkpoint(tmp_path / "plain").model_state["head.weight"], atol=1e-4)
    # All processes score the same model, the one that is published.
    assert len(json.loads(first["validated"])) > len(CASES)
    assert first["validated"] == second["validated"]
    for outcome in (first, second):
        assert outcome["poisoned"].endswith("non-finite input in clip(s) c005")
        assert "recipe.batch_size = 3 is shared by 2 processes" in outcome["small"]


@pytest.mark.extended
def test_four_processes_train_as_one(toy: tuple[Path, Path], tmp_path: Path) -> None:
    outcomes = torchrun(tmp_path, [(name, 0, list(words)) for name, words in CASES.items()], processes=4)
    assert len({outcome.pop("validated") for outcome in outcomes}) == 1
    assert outcomes == [dict.fromkeys(CASES, "done"), *[dict.fromkeys(CASES, "silent")] * 3]
    for name in CASES:
        assert_trained_as_one(tmp_path, name)


def test_processes_share_each_batch_in_order_and_none_is_left_out() -> None:
    labels = torch.zeros(37, dtype=torch.int64).numpy()
    for world in (2, 3, 4):
        whole = list(EpochBatches(labels, 8, 0))
        parts = [
            list(EpochBatches(labels, 8, 0, rows=partial(share, rank=rank, world=world)))
            for rank in range(world)
        ]
        for number, batch in enumerate(whole):
            found = [part[number] for part in parts]
            if len(batch) < 2 * world:
                assert all(part == batch for part in found)
            else:
                assert list(chain.from_iterable(found)) == batch
                assert max(map(len, found)) - min(map(len, found)) <= 1


def test_commands_for_one_process_say_so_under_torchrun(
    toy: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_adapt_toy import Talk

    from mg_adapt.stages.predict import predict
    from mg_adapt.training.engine import open_engine

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UsageError, match="mg predict runs in one process, not under torchrun: share its clips"
    ):
        arguments: dict[str, Any] = {"data": toy[0], "split": toy[1], "subset": "val"}
        predict(console=Talk(), checkpoint=tmp_path / "a", out=tmp_path / "b", **arguments)
    with pytest.raises(UsageError, match="--device cuda:1: under torchrun each process has its own"):
        open_engine(torch.device("cuda:1"), "cuda:1")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.delitem(sys.modules, "mg_adapt.training.fabric_engine", raising=False)
    with pytest.raises(UsageError, match=r"needs lightning-fabric: pip install 'mg-adapt\[fabric\]'"):
        open_engine(torch.device("cpu"), "cpu")


def test_one_process_imports_nothing_of_fabric(toy: tuple[Path, Path], tmp_path: Path) -> None:
    from several import learn

    code = (
        "import sys; from pathlib import Path; from several import learn; "
        "learn(Path(sys.argv[1]), Path(sys.argv[1]) / 'a', 0, ['recipe.epochs=1']); "
        "sys.exit('lightning_fabric' in sys.modules)"
    )
    assert learn is not None
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
