"""What every model here asks of its input, when it is built and when it is called.

Light: it imports no torch, so that it may be used anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mg_data.contract import InputSpec, LayoutSpec, UsageError
from mg_data.keypoints.layouts import find_layout


def keypoint_input(model: str, input: InputSpec) -> tuple[int, int, int]:
    """Return (C, T, V) of an input of kind ``keypoints``.

    Raises:
        UsageError: it is of another kind or shape.
    """
    if input.kind != "keypoints" or len(input.shape) != 3 or min(input.shape) < 1:
        raise UsageError(
            f"{model}: found an input of kind {input.kind!r} and shape {tuple(input.shape)}, want "
            "keypoints (C, T, V); choose the modality joint, limb, motion, joint-motion or limb-motion"
        )
    channels, frames, points = input.shape
    return channels, frames, points


def people_input(model: str, input: InputSpec) -> tuple[int, int, int, int]:
    """Return (P, T, V, 3) of an input of kind ``people``.

    Raises:
        UsageError: it is of another kind or shape.
    """
    if input.kind != "people" or len(input.shape) != 4 or input.shape[3] != 3 or min(input.shape) < 1:
        raise UsageError(
            f"{model}: found an input of kind {input.kind!r} and shape {tuple(input.shape)}, want people "
            "(P, T, V, 3); choose the modality heatmap"
        )
    persons, frames, points, columns = input.shape
    return persons, frames, points, columns


def layout_of(model: str, input: InputSpec) -> LayoutSpec:
    """Return the layout of an input of kind ``keypoints``; the model reads its graph.

    Raises:
        UsageError: the input names none, or one of another number of keypoints.
        PluginError: the layout is not registered.
    """
    points = keypoint_input(model, input)[2]
    if not input.layout:
        raise UsageError(
            f"{model}: found an input without a layout, want one; it says which keypoints connect"
        )
    layout = find_layout(input.layout)
    if len(layout.names) != points:
        raise UsageError(
            f"{model}: found {points} keypoints and the layout {layout.name}, want the {len(layout.names)} "
            "keypoints of that layout; correct the modality's option layout"
        )
    return layout


def equally_long(model: str, **options: Sequence[Any]) -> None:
    """Raise UsageError unless all options have the same length, which is not 0."""
    lengths = [len(values) for values in options.values()]
    if len(set(lengths)) != 1 or lengths[0] == 0:
        found = " and ".join(f"{length} {name}" for name, length in zip(options, lengths))
        raise UsageError(
            f"{model}: found {found}, want one of each for every block; correct the options "
            f"{' and '.join(options)}"
        )


def at_least(model: str, lowest: int, **options: int | Sequence[int]) -> None:
    """Raise UsageError if an option, or one of its values, is below ``lowest``."""
    for name, value in options.items():
        values = [value] if isinstance(value, int) else list(value)
        if not values or min(values) < lowest:
            raise UsageError(
                f"{model}: found {name} = {value}, want {lowest} or more; correct the option {name}"
            )


def divisible(model: str, by: int, why: str, **options: int | Sequence[int]) -> None:
    """Raise UsageError if an option, or one of its values, is no multiple of ``by``."""
    for name, value in options.items():
        values = [value] if isinstance(value, int) else list(value)
        if any(one % by for one in values):
            raise UsageError(
                f"{model}: found {name} = {value}, want multiples of {by} ({why}); correct the option {name}"
            )


def check_batch(model: str, x: Any, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless ``x`` is a batch of samples of ``shape``, in which None stands for any size."""
    if x.ndim == len(shape) + 1 and all(
        wanted is None or found == wanted for found, wanted in zip(x.shape[1:], shape)
    ):
        return
    wanted_shape = ", ".join("any" if size is None else str(size) for size in shape)
    raise ValueError(
        f"{model}: found a batch of shape {tuple(x.shape)}, want (batch, {wanted_shape}); the model was "
        "built for samples of that shape"
    )
