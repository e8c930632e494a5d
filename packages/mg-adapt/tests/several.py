"""What each process of torchrun runs in test_several_processes: trainings of a model without dropout.

``torchrun several.py FOLDER CASES.json``: a case is (name of the checkpoint, step to break off at or 0,
settings).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mg_adapt_toy

from mg_data.contract import DataError, InputSpec, MgError, ModelSpec, hookimpl


def still(num_classes: int, *, input: InputSpec) -> Any:
    """Return the toy network without dropout, with a layer that its loss never reaches."""
    from torch import nn

    net = mg_adapt_toy.build(num_classes, input=input)
    net.drop = nn.Identity()
    net.idle = nn.Linear(2, 2)
    return net


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    recipe = {"epochs": 3, "batch_size": 8, "lr": 0.01}
    factory = "several:still"
    return (
        ModelSpec(
            name="still-net", summary="no dropout", factory=factory, modalities=("drift",), recipe=recipe
        ),
    )


class Stopped(Exception):
    """Stands for a kill, in all processes at the same step."""


# The model's buffers whenever it was validated: sums, by process one list.
validated: list[list[float]] = []


def learn(folder: Path, out: Path, stop: int, settings: list[str]) -> Any:
    """Train, or break off before step ``stop``."""
    import torch

    from mg_adapt.stages.train import train
    from mg_adapt.training.trainer import Trainer
    from mg_data.plugins import use_plugins

    torch.set_num_threads(1)
    use_plugins(mg_adapt_toy, sys.modules[__name__])
    done, real, validate = 0, Trainer._step, Trainer._validate

    def record(self: Trainer) -> float:
        accuracy = validate(self)
        validated.append([float(buffer.double().sum()) for buffer in self.model.buffers()])
        return accuracy

    def step(self: Trainer, *args: Any) -> tuple[float, int, int]:
        nonlocal done
        done += 1
        if done == stop:
            raise Stopped
        return real(self, *args)

    Trainer._step, Trainer._validate = step, record  # type: ignore[method-assign]
    try:
        return train(
            console=mg_adapt_toy.Talk(),
            model="still-net",
            data=folder / "clips.h5",
            split=folder / "split.h5",
            out=out,
            set=settings,
            state_every=0.0,
        )
    finally:
        Trainer._step, Trainer._validate = real, validate  # type: ignore[method-assign]


def toy_answers_of_shard(job: Any, index: int, count: int) -> Any:
    """What a Ray task does, with the toy plugin."""
    from mg_adapt.stages.predict import answers_of_shard
    from mg_data.plugins import use_plugins

    use_plugins(mg_adapt_toy)
    return answers_of_shard(job, index, count)


def fail_at(number: int, bad: int) -> int:
    """A Ray task that finds a bad clip."""
    if number == bad:
        raise DataError(f"clip 'c{number}' has no frames")
    return number


def main() -> None:
    """Run the cases; the first process's outcomes go to outcomes-RANK.json."""
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    outcomes: dict[str, Any] = {}
    for name, stop, settings in json.loads(Path(sys.argv[2]).read_text()):
        try:
            result = learn(folder, folder / name, stop, settings)
            outcomes[name] = "done" if result is not None else "silent"
        except (MgError, Stopped) as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    outcomes["validated"] = json.dumps(validated)
    (folder / f"outcomes-{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    sys.modules["several"] = sys.modules["__main__"]
    main()
