"""Checks of a modality: one input for all clips, fixed test samples, a flip that can be undone."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import InputSpec, MgError, Modality, ModalitySpec
from mg_data.plugins import resolve
from mg_data.store import store_kind
from mg_data.testing.checks import CheckFailed, require
from mg_data.testing.inputs import Workplace

AXES = {"keypoints": 3, "people": 4, "video": 4, "signal": 2}
SEEDS = (0, 1)


@dataclass(frozen=True, kw_only=True)
class ModalityBench:
    """A modality, opened on a small store."""

    spec: ModalitySpec
    path: Path
    modality: Modality

    @property
    def ids(self) -> list[str]:
        """The clips it can serve."""
        return [str(clip_id) for clip_id in self.modality.clip_ids]

    def samples(self) -> dict[str, NDArray[Any]]:
        """Return samples by what they are: tests and training draws of every clip."""
        found = {}
        for clip_id in self.ids:
            found[f"the test sample of clip '{clip_id}'"] = self.modality.sample(clip_id, None)
            for seed in SEEDS:
                rng = np.random.default_rng(seed)
                found[f"training sample {seed} of clip '{clip_id}'"] = self.modality.sample(clip_id, rng)
            for number, view in enumerate(self.modality.views(clip_id)):
                found[f"view {number} of clip '{clip_id}'"] = view
        return found


def open_bench(spec: ModalitySpec, place: Workplace) -> ModalityBench:
    """Open the modality on its example or a fake."""
    return ModalityBench(spec=spec, path=place.source(spec), modality=place.open(spec))


def check_input_describes_samples(bench: ModalityBench) -> str:
    """Every sample and view has the shape and type that input announces, and is finite."""
    described = bench.modality.input
    require(isinstance(described, InputSpec), f"input is {type(described).__name__}, wanted InputSpec")
    shape = tuple(described.shape)
    require(
        len(shape) == AXES.get(described.kind, len(shape)),
        f"input of kind '{described.kind}' has shape {shape}, wanted {AXES.get(described.kind)} axes",
    )
    require(bench.ids, f"clip_ids is empty for {bench.path.name}")
    for what, sample in bench.samples().items():
        found = (tuple(sample.shape), str(sample.dtype))
        require(
            found == (shape, described.dtype),
            f"{what} is {found}, input announces {(shape, described.dtype)}",
        )
        require(np.isfinite(sample).all(), f"{what} holds NaN or infinity")
    return f"{described.kind} {'x'.join(map(str, shape))} of {store_kind(bench.path)}"


def check_input_is_json(bench: ModalityBench) -> None:
    """The input's description survives JSON, as checkpoints keep it."""
    import json

    described = bench.modality.input
    try:
        text = json.dumps(described.to_json())
    except TypeError as error:
        raise CheckFailed(f"input.extra holds what is no JSON value: {error}") from error
    again = InputSpec.from_json(json.loads(text))
    require(again.to_json() == json.loads(text), f"input reads back as {again}")


def check_store_kind_is_the_one_named(bench: ModalityBench) -> None:
    """It reads the kind of store that its record names."""
    found = store_kind(bench.path)
    require(found == bench.spec.store_kind, f"its example is a store of kind '{found}', the record names "
            f"'{bench.spec.store_kind}'")  # fmt: skip


def check_test_sample_never_changes(bench: ModalityBench) -> None:
    """The test sample of a clip is the same at every call, whatever was read in between."""
    first = {clip_id: bench.modality.sample(clip_id, None) for clip_id in bench.ids}
    for clip_id in reversed(bench.ids):
        same = np.array_equal(bench.modality.sample(clip_id, None), first[clip_id])
        require(same, f"the test sample of clip '{clip_id}' differs at the second call")


def check_draws_depend_on_the_generator_alone(bench: ModalityBench) -> None:
    """Two generators of one seed give one training sample, whatever the global generator does."""
    for clip_id in bench.ids[:2]:
        one = bench.modality.sample(clip_id, np.random.default_rng(5))
        np.random.random()  # noqa: NPY002  moves the global generator: nothing may depend on it
        two = bench.modality.sample(clip_id, np.random.default_rng(5))
        require(
            np.array_equal(one, two),
            f"training samples of clip '{clip_id}' differ for generators of one seed",
        )


def check_clips_differ(bench: ModalityBench) -> None:
    """Different clips give different samples."""
    first, *others = (bench.modality.sample(clip_id, None) for clip_id in bench.ids)
    require(
        not others or any(not np.array_equal(first, other) for other in others),
        f"all {len(bench.ids)} clips give one sample: is the row looked up by clip id?",
    )


def check_flip_is_an_involution(bench: ModalityBench) -> None:
    """Flipping twice gives the sample back, and flipping leaves its argument as it was."""
    for what, sample in bench.samples().items():
        before = sample.copy()
        flipped = bench.modality.flip(sample)
        require(np.array_equal(sample, before), f"flip changed {what} in place: work on a copy")
        require(
            (flipped.shape, flipped.dtype) == (sample.shape, sample.dtype),
            f"flip made {flipped.dtype} {flipped.shape} of {what}, {sample.dtype} {sample.shape}",
        )
        again = bench.modality.flip(flipped)
        require(np.array_equal(again, sample), f"flipping {what} twice does not give it back")


def check_can_be_pickled(bench: ModalityBench) -> None:
    """A pickled copy, as loader processes get, serves the same samples."""
    other = pickle.loads(pickle.dumps(bench.modality))
    for clip_id in bench.ids:
        same = np.array_equal(other.sample(clip_id, None), bench.modality.sample(clip_id, None))
        require(same, f"a pickled copy gives another test sample of clip '{clip_id}'")


def check_unknown_clip_is_named(bench: ModalityBench) -> None:
    """A clip that is not in the store raises one of the errors of mg_data.contract, and names the clip."""
    _raises_naming(
        "no-such-clip", lambda: bench.modality.sample("no-such-clip", None), "a clip that is not there"
    )


def check_unknown_option_is_refused(bench: ModalityBench) -> None:
    """An option that the record does not declare is refused by its name."""
    options = {**bench.spec.options, "no_such_option": 1}
    _raises_naming("no_such_option", lambda: resolve(bench.spec.factory)(bench.path, **options), "an option")


def _raises_naming(name: str, call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except (MgError, TypeError) as error:
        # A signature without the option says so itself, by a TypeError.
        require(
            isinstance(error, MgError) or name == "no_such_option", f"raised {type(error).__name__}: {error}"
        )
        require(name in str(error), f"the error for {what} does not name '{name}': {error}")
    except Exception as error:  # whatever a stranger's code raises
        raise CheckFailed(
            f"raised {type(error).__name__}: {error}; wanted DataError or StoreError that names '{name}'"
        ) from error
    else:
        raise CheckFailed(f"'{name}' was accepted")


API = (
    check_input_describes_samples,
    check_input_is_json,
    check_store_kind_is_the_one_named,
    check_test_sample_never_changes,
    check_draws_depend_on_the_generator_alone,
    check_clips_differ,
    check_flip_is_an_involution,
    check_can_be_pickled,
    check_unknown_clip_is_named,
    check_unknown_option_is_refused,
)
