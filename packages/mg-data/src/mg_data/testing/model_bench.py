"""A model under check: which of its presets, over which input, built when it is first needed.

A model at the size of its paper is too slow to be checked on a processor. Of several presets the one with the
least work is taken, parameters times the numbers of a sample; a sample larger than ``LARGE_SAMPLE`` is made
smaller by the modality's own options ``frames`` and ``size``, if the model can be built for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import InputSpec, MgError, Modality, ModalitySpec, ModelSpec
from mg_data.plugins import registry, resolve
from mg_data.testing.checks import CheckFailed, require
from mg_data.testing.inputs import Workplace
from mg_data.testing.torch_tools import seeded, the_torch

# Numbers in a sample above which it is made smaller, and what it is made: about 8 frames of 64 x 64 pixels.
LARGE_SAMPLE = 150_000
SMALL_VIDEO = {"frames": 8, "size": 64}
BATCH = 3


@dataclass(frozen=True, kw_only=True)
class Size:
    """A preset over a sample. ``options`` are the model's, ``modality_options`` those that differ."""

    preset: str
    options: Mapping[str, Any]
    modality_options: Mapping[str, Any]

    def describe(self, modality: str, shape: tuple[int, ...]) -> str:
        """Return what was checked, for the report."""
        preset = f"preset {self.preset}" if self.preset else "default options"
        return f"{preset}, {modality} {'x'.join(map(str, shape))}"


@dataclass(kw_only=True)
class ModelBench:
    """A model with two classes and a batch for it.

    Args:
        size: the preset checked. input: what one sample looks like. batch: (N, ...) of different clips.
        build: ``build(num_classes, seed)`` makes a model anew.
    """

    spec: ModelSpec
    place: Workplace
    size: Size
    input: InputSpec
    batch: NDArray[Any]
    note: str
    models: dict[int, Any] = field(default_factory=dict)

    def build(self, num_classes: int, *, seed: int = 0, input: InputSpec | None = None) -> Any:
        """Build the model with weights drawn from ``seed``; CheckFailed if it is no torch module."""
        with seeded(seed) as torch:
            model = resolve(self.spec.factory)(num_classes, input=input or self.input, **self.size.options)
        require(
            isinstance(model, torch.nn.Module),
            f"{self.spec.factory} returned {type(model).__name__}, wanted a torch.nn.Module",
        )
        return model

    def model(self, num_classes: int) -> Any:
        """Return the model of so many classes, built once, in evaluation mode."""
        if num_classes not in self.models:
            self.models[num_classes] = self.build(num_classes)
        return self.models[num_classes].eval()

    def tensor(self) -> Any:
        """Return the batch as a tensor of its own."""
        return the_torch().from_numpy(self.batch.copy())


def open_bench(spec: ModelSpec, place: Workplace) -> ModelBench:
    """Choose what to check and prepare its input.

    Raises:
        PluginError: its modality is not installed. CheckFailed: no preset can be built.
    """
    the_torch()
    reads: ModalitySpec = registry().get("modalities", spec.modalities[0])
    size = _choose(spec, reads, place)
    candidates = [size]
    modality = place.open(reads, size.modality_options)
    smaller = _smaller(size, reads, modality)
    if smaller is not None:
        candidates.insert(0, smaller)
    why: Exception | None = None
    for candidate in candidates:
        modality = place.open(reads, candidate.modality_options)
        bench = ModelBench(
            spec=spec,
            place=place,
            size=candidate,
            input=modality.input,
            batch=samples(modality),
            note=candidate.describe(reads.name, modality.input.shape),
        )
        try:
            _forward_one(bench)
        except CheckFailed:
            raise
        except Exception as error:  # whatever a stranger's model raises
            why = error
        else:
            return bench
    assert why is not None
    raise CheckFailed(
        f"{spec.factory} ({size.describe(reads.name, modality.input.shape)}) failed: "
        f"{type(why).__name__}: {why}"
    ) from why


def samples(modality: Modality) -> NDArray[Any]:
    """Return (N, ...) test samples of a modality, of different clips."""
    ids = [str(clip_id) for clip_id in modality.clip_ids[:BATCH]]
    return np.stack([modality.sample(clip_id, None) for clip_id in ids])


def _forward_one(bench: ModelBench) -> None:
    with the_torch().no_grad():
        bench.model(2)(bench.tensor()[:1])


def _presets(spec: ModelSpec) -> list[Size]:
    names = list(spec.presets) or [""]
    return [
        Size(
            preset=name,
            options=_without_weights({**spec.options, **spec.presets.get(name, {})}, spec.options),
            modality_options=spec.modality_options.get(name, {}),
        )
        for name in names
    ]


def _without_weights(options: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the option ``weights`` at its default: a check must not look for files of a machine."""
    return {**options, "weights": defaults["weights"]} if "weights" in defaults else options


def _choose(spec: ModelSpec, reads: ModalitySpec, place: Workplace) -> Size:
    sizes = _presets(spec)
    if len(sizes) == 1:
        return sizes[0]
    return min(sizes, key=lambda size: _work(spec, size, place.open(reads, size.modality_options)))


def _work(spec: ModelSpec, size: Size, modality: Modality) -> float:
    """Return parameters times the numbers of a sample; infinity for a preset that cannot be built."""
    torch = the_torch()
    build: Callable[[], Any] = lambda: resolve(spec.factory)(2, input=modality.input, **size.options)  # noqa: E731
    try:
        with seeded(0), torch.device("meta"):  # shapes without numbers: quick for any size
            model = build()
    except Exception:  # not every model can be built without numbers
        try:
            with seeded(0):
                model = build()
        except Exception:  # reported when it is the one that is chosen
            return float("inf")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return float(parameters) * float(np.prod(modality.input.shape))


def _smaller(size: Size, reads: ModalitySpec, modality: Modality) -> Size | None:
    """Return the same preset over a smaller sample, or None if it is small or the modality cannot."""
    if np.prod(modality.input.shape) <= LARGE_SAMPLE:
        return None
    now = {**reads.options, **size.modality_options}
    fewer = {
        name: limit
        for name, limit in SMALL_VIDEO.items()
        if isinstance(now.get(name), int) and now[name] > limit
    }
    if not fewer:
        return None
    return Size(preset=size.preset, options=size.options, modality_options={**size.modality_options, **fewer})


def other_inputs(bench: ModelBench) -> dict[str, Modality]:
    """Return the further modalities the model accepts, one for each shape and type of sample.

    Raises:
        CheckFailed: one of them cannot be opened.
    """
    seen = {_look(bench.input)}
    found: dict[str, Modality] = {}
    for name in bench.spec.modalities[1:]:
        if name not in registry().modalities:
            continue  # of a plugin that is not installed
        reads: ModalitySpec = registry().get("modalities", name)
        options = {key: value for key, value in bench.size.modality_options.items() if key in reads.options}
        try:
            modality = bench.place.open(reads, options)
        except MgError as error:
            raise CheckFailed(f"its modality '{name}' cannot be opened: {error}") from error
        if _look(modality.input) not in seen:
            seen.add(_look(modality.input))
            found[name] = modality
    return found


def _look(input: InputSpec) -> tuple[str, tuple[int, ...], str]:
    return input.kind, tuple(input.shape), input.dtype
