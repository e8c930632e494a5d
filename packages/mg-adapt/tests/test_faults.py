"""What can go wrong in a training: kills anywhere, disks that fill up, strangers' code that raises."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mg_adapt_toy import Talk

from mg_adapt.branch import choose_device
from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.stages.train import train
from mg_adapt.training.state import StateFolder
from mg_data.contract import DataError, PluginError, StoreError, UsageError, hookimpl
from mg_data.plugins import use_plugins
from mg_data.store import read_split, write_split

Toy = tuple[Path, Path]
HERE = Path(__file__).parent


def learn(toy: Toy, out: Path, *settings: str, **options: Any) -> Talk:
    talk = Talk()
    train(console=talk, model="toy-net", data=toy[0], split=toy[1], out=out, set=list(settings), **options)
    return talk


def script(name: str, *words: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", name, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


# Forks a child for each moment, kills it there and lets another one finish: everything is imported once.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import mg_adapt_toy
from mg_data.plugins import use_plugins
from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.stages.train import train
torch.set_num_threads(1)
use_plugins(mg_adapt_toy)
folder, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
settings = ["recipe.epochs=6", "recipe.flip=true", "recipe.ema=0.9", "recipe.select=best", "recipe.mixup=0.3",
            "model.delay=0.01"]

def learn(out):
    train(console=mg_adapt_toy.Talk(), model="toy-net", data=folder / "clips.h5", split=folder / "split.h5",
          out=out, set=settings, state_every=0.0)

def child(out):
    process = os.fork()
    if process == 0:
        learn(out)
        os._exit(0)
    return process

learn(folder / "warm")
began = time.monotonic()
learn(folder / "whole")
seconds = time.monotonic() - began
print("whole", load_checkpoint(folder / "whole").digest, seconds, flush=True)
for number in range(int(sys.argv[3])):
    out = folder / f"killed-{number}"
    process = child(out)
    moment = rng.uniform(0, seconds)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    os.wait()
    left = len(list((folder / f"killed-{number}.state").glob("*.safetensors")))
    child(out)
    os.wait()
    rows = len((folder / f"killed-{number}.log.jsonl").read_text().splitlines())
    print(number, load_checkpoint(out).digest, round(moment, 3), left, rows, flush=True)
"""


@pytest.mark.extended
@pytest.mark.slow
def test_twenty_kills_at_random_moments_each_end_with_the_same_weights(toy: Toy, tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().entropy) % 2**31  # type: ignore[arg-type]  # another one each time
    process = script(KILLER, tmp_path, seed, 20)
    lines = process.communicate()[0].splitlines()
    print(f"seed {seed}", *lines, sep="\n")  # pytest shows it if the test fails
    assert process.returncode == 0
    digest = lines[0].split()[1]
    rows = [line.split() for line in lines[1:]]
    assert len(rows) == 20
    assert {row[1] for row in rows} == {digest}
    assert {row[4] for row in rows} == {"6"}
    assert any(int(row[3]) > 0 for row in rows), "no kill fell between the first state and the end"


HOLDER = """
import sys, time
from pathlib import Path
from mg_adapt.training.state import StateFolder
state = StateFolder(Path(sys.argv[1]), "key")
state.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_training_of_a_checkpoint_is_refused_until_the_first_is_gone(
    toy: Toy, tmp_path: Path
) -> None:
    process = script(HOLDER, tmp_path / "a")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match=rf"a: process {process.pid} on .* is training it: wait, stop that"):
        learn(toy, tmp_path / "a")
    learn(toy, tmp_path / "b")
    process.kill()
    process.wait()
    learn(toy, tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").digest == load_checkpoint(tmp_path / "b").digest
    assert not (tmp_path / "a.state").exists()


def test_a_training_that_failed_lets_the_next_one_in(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the loss is nan"):
        learn(toy, tmp_path / "a", "modality.poison=c005")
    state = StateFolder(tmp_path / "a", "another key")
    state.acquire()
    state.remove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB; skips where nothing may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    gc.collect()  # frames of an error hold files of the disk, from Python 3.13 on until then
    subprocess.run(["umount", str(folder)], check=True)


class Filler:
    """A tracker that fills the disk when the last epoch is done: the checkpoint finds no room."""

    def __init__(self, disk: Path, at: int) -> None:
        self.disk, self.at = disk, at

    def scalars(self, epoch: int, values: Any) -> None:
        if epoch == self.at:
            self.fill()

    def close(self) -> None:
        self.fill()

    def fill(self) -> None:
        with (self.disk / "filler").open("ab", buffering=0) as handle:
            try:
                while handle.write(bytes(4096)):
                    pass
            except OSError:
                return


@pytest.mark.parametrize("epoch", [1, 99])
def test_a_disk_that_fills_up_costs_no_epoch(
    toy: Toy, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """Full from epoch 1 on, or when the checkpoint is written: state and earlier checkpoint survive."""
    from mg_adapt.stages import train as stage
    from mg_adapt.trackers import Trackers

    learn(toy, tmp_path / "whole")
    out = small_disk / "a"
    learn(toy, out, "recipe.lr=0.5")
    earlier = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            stage, "open_trackers", lambda *given: Trackers({"filler": Filler(small_disk, epoch)}, given[2])
        )
        with pytest.raises(StoreError, match=r"disk/a: cannot be written: No space left on device \(nothing"):
            learn(toy, out, state_every=0.0)
    assert out.read_bytes() == earlier
    assert sorted(path.name for path in small_disk.iterdir()) == ["a", "a.log.jsonl", "a.state", "filler"]
    (small_disk / "filler").unlink()
    talk = learn(toy, out)
    done = [re.search(r"resumed after (\d+) of 15", line) for line in talk.lines]
    steps = [int(match[1]) for match in done if match]
    assert steps == [15] if epoch == 99 else steps[0] > 0
    assert load_checkpoint(out).digest == load_checkpoint(tmp_path / "whole").digest
    log = (small_disk / "a.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]


def test_a_row_of_the_log_is_whole_or_absent(small_disk: Path) -> None:
    from mg_adapt.training.epoch_log import EpochLog

    talk = Talk()
    log = EpochLog(small_disk / "a.log.jsonl", talk)
    log.begin([{"epoch": 1}])
    Filler(small_disk, 0).fill()
    log.add({"epoch": 2, "note": "x" * 5000})
    assert (small_disk / "a.log.jsonl").read_text() == '{"epoch": 1}\n'
    assert any("training goes on without its log: No space left" in line for line in talk.lines)


class Raising:
    """A plugin whose model raises in the third step, and its loss in the first."""

    __name__ = "raising"

    @hookimpl
    def mg_register_models(self) -> Any:
        import dataclasses

        import mg_adapt_toy

        (spec,) = mg_adapt_toy.mg_register_models()
        return (dataclasses.replace(spec, name="raising-net", factory="test_faults_plugin:build"),)

    @hookimpl
    def mg_register_losses(self) -> Any:
        from mg_data.contract import LossSpec

        return (LossSpec(name="raising", summary="raises", factory="test_faults_plugin:loss"),)


def build_raising(num_classes: int, **options: Any) -> Any:
    import mg_adapt_toy

    net = mg_adapt_toy.build(num_classes, **options)
    calls = 0

    def count(module: Any, inputs: Any) -> None:
        nonlocal calls
        calls += module.training
        if calls == 3:
            raise ValueError("the matrix\nis singular")

    net.register_forward_pre_hook(count)
    return net


def raising_loss(*, class_counts: Any) -> Any:
    def loss(output: Any, target: Any) -> Any:
        raise KeyError("prior")

    return loss


def test_a_model_or_loss_that_raises_is_named_and_the_state_is_kept(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    import mg_adapt_toy

    module = types.ModuleType("test_faults_plugin")
    module.build, module.loss = build_raising, raising_loss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_faults_plugin", module)
    use_plugins(mg_adapt_toy, Raising())
    arguments: dict[str, Any] = {"console": Talk(), "data": toy[0], "split": toy[1], "out": tmp_path / "a"}
    with pytest.raises(
        PluginError,
        match=r"^model 'raising-net' \(.+\) failed at epoch 1, step 3: ValueError: the matrix is singular$",
    ):
        train(model="raising-net", state_every=0.0, **arguments)
    assert not (tmp_path / "a").exists()
    assert list((tmp_path / "a.state").glob("*.safetensors"))
    with pytest.raises(PluginError, match=r"^loss 'raising' \(.+\) failed at epoch 1, step 1: KeyError"):
        train(model="toy-net", set=["recipe.loss=raising"], **arguments)


def test_a_class_list_that_differs_from_the_data_is_refused(toy: Toy, tmp_path: Path) -> None:
    split = read_split(toy[1])
    names = ("right", "left", "still")
    write_split(
        tmp_path / "s.h5",
        dataset="toy",
        clip_ids=split.clip_ids,
        names=split.names,
        labels=split.labels,
        class_names=names,
    )
    with pytest.raises(StoreError, match=r"s\.h5: class 0 is 'right', in .*h5 it is 'left' \(split the"):
        learn((toy[0], tmp_path / "s.h5"), tmp_path / "a")
    assert not (tmp_path / "a.state").exists()


def test_half_precision_needs_cuda_and_compiling_a_compiler(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"recipe.amp = 'fp16' needs CUDA, the device is cpu: take 'auto'"):
        learn(toy, tmp_path / "a", "recipe.amp=fp16")
    with pytest.raises(UsageError, match=r"recipe.amp: 'fp61' is unknown, did you mean 'fp16'\?"):
        learn(toy, tmp_path / "a", "recipe.amp=fp61")
    with pytest.raises(UsageError, match="unknown setting 'bach_size', did you mean 'batch_size'"):
        learn(toy, tmp_path / "a", "recipe.bach_size=4")


@pytest.mark.extended
@pytest.mark.slow
def test_a_compiled_training_needs_a_compiler(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with (
        config.patch({"cpp.cxx": ("/nowhere/c++",)}),
        pytest.raises(UsageError, match=r"recipe.compile: torch cannot compile model 'toy-net' .*compiler"),
    ):
        learn(toy, tmp_path / "a", "recipe.compile=true")
    torch._dynamo.reset()
    learn(toy, tmp_path / "a", "recipe.compile=true", "recipe.epochs=1")
    learn(toy, tmp_path / "b", "recipe.epochs=1")
    compiled, plain = load_checkpoint(tmp_path / "a"), load_checkpoint(tmp_path / "b")
    assert compiled.model_state.keys() == plain.model_state.keys()


def test_frozen_parameters_are_in_no_optimizer_and_decay_touches_them_not() -> None:
    from mg_adapt.recipe import Recipe
    from mg_adapt.training.optim import build_optimizer

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = build_optimizer(model, torch.nn.Module(), Recipe(weight_decay=0.5, lr=0.1))
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert [tuple(parameter.shape) for parameter in held] == [(2, 4), (2,)]
    model(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("device", ["meta", "privateuseone", "gpu"])
def test_a_device_that_cannot_be_used_is_refused(toy: Toy, tmp_path: Path, device: str) -> None:
    with pytest.raises(
        UsageError, match=rf"--device {device}: (cannot be used here|unknown) \(known: auto, cpu"
    ):
        learn(toy, tmp_path / "a", device=device)


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert choose_device("cuda:1").index == 1
    with pytest.raises(
        UsageError, match=r"--device cuda:2: this machine has 2 CUDA device\(s\), counted from 0"
    ):
        choose_device("cuda:2")


class Refusing:
    """A plugin whose modality, loss and adapter raise when they are built or asked, its model at test."""

    __name__ = "refusing"

    @hookimpl
    def mg_register_modalities(self) -> Any:
        import dataclasses

        import mg_adapt_toy

        (spec,) = mg_adapt_toy.mg_register_modalities()
        built = dataclasses.replace(spec, name="refused", factory="test_faults_plugin:refuse")
        asked = dataclasses.replace(spec, name="silent", factory="test_faults_plugin:Silent")
        return built, asked

    @hookimpl
    def mg_register_models(self) -> Any:
        import dataclasses

        import mg_adapt_toy

        (spec,) = mg_adapt_toy.mg_register_models()
        reads = ("drift", "refused", "silent")
        return (
            dataclasses.replace(
                spec, name="odd-net", factory="test_faults_plugin:build_for_training", modalities=reads
            ),
        )

    @hookimpl
    def mg_register_losses(self) -> Any:
        from mg_data.contract import LossSpec

        return (LossSpec(name="refused", summary="raises", factory="test_faults_plugin:refuse"),)

    @hookimpl
    def mg_register_adapters(self) -> Any:
        from mg_data.contract import AdapterSpec

        return (AdapterSpec(name="refused", summary="raises", factory="test_faults_plugin:refuse"),)


def refuse(*given: Any, **options: Any) -> Any:
    raise IndexError("out\nof range")


def build_for_training(num_classes: int, **options: Any) -> Any:
    import mg_adapt_toy

    net = mg_adapt_toy.build(num_classes, **options)
    calls = 0

    def count(module: Any, inputs: Any) -> None:
        nonlocal calls
        calls += not module.training and len(inputs[0]) > 9
        if calls:
            raise ValueError("too many")

    net.register_forward_pre_hook(count)
    return net


def test_whoever_raises_where_it_is_built_or_asked_is_named(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    import mg_adapt_toy

    from mg_adapt.stages.adapt import adapt
    from mg_adapt.stages.predict import predict
    from mg_adapt.stages.shot import shot

    class Silent(mg_adapt_toy.Drift):
        def sample(self, clip_id: str, rng: Any) -> Any:
            raise IndexError("no frame 3")

    module: Any = types.ModuleType("test_faults_plugin")
    module.refuse, module.build_for_training, module.Silent = refuse, build_for_training, Silent
    monkeypatch.setitem(sys.modules, "test_faults_plugin", module)
    use_plugins(mg_adapt_toy, Refusing())
    given: dict[str, Any] = {"console": Talk(), "data": toy[0], "split": toy[1], "out": tmp_path / "a"}
    with pytest.raises(
        PluginError,
        match=r"^modality 'refused' cannot read .*clips\.h5 with these options: IndexError: out of",
    ):
        train(model="odd-net", modality="refused", **given)
    with pytest.raises(
        PluginError, match=r"^modality .*Silent failed on clip 'c000': IndexError: no frame 3$"
    ):
        train(model="odd-net", modality="silent", **given)
    with pytest.raises(PluginError, match=r"^loss 'refused' cannot be built with these options: IndexError"):
        train(model="toy-net", set=["recipe.loss=refused"], **given)
    train(model="odd-net", set=["recipe.epochs=1"], **given)
    named = r"^model 'odd-net' \(.+\) failed at "
    asked: dict[str, Any] = {
        **given,
        "checkpoint": tmp_path / "a",
        "subset": "target",
        "out": tmp_path / "t.h5",
    }
    with pytest.raises(PluginError, match=named + "prediction: ValueError: too many$"):
        predict(**asked)
    with pytest.raises(PluginError, match=named + "--bn-adapt: ValueError: too many$"):
        predict(**asked, bn_adapt=True)
    with pytest.raises(PluginError, match=named + "the target's clips: ValueError: too many$"):
        shot(**{**given, "out": tmp_path / "b"}, checkpoint=tmp_path / "a", set=["recipe.batch_size=32"])
    predict(**asked, batch_size=4)
    with pytest.raises(
        PluginError,
        match=r"^adapter 'refused' \(.+\) failed at the target's clips: IndexError: out of range$",
    ):
        adapt(
            console=Talk(), logits=[tmp_path / "t.h5"], split=toy[1], out=tmp_path / "p.h5", adapter="refused"
        )
