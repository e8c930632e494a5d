"""From a backbone to a branch: the options that every video model takes, and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from mg_data.contract import InputSpec, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch
from mg_rgb.weights import load_weights


class PlainOptions(TypedDict, total=False):
    """Options of :class:`VideoBranch`."""

    mean: Sequence[float] | None
    std: Sequence[float] | None
    feature_dim: int
    dropout: float
    channels_last: bool
    checkpointing: bool
    freeze: int


class BranchOptions(PlainOptions, total=False):
    """Options that every model takes; ``weights`` is "", a record's name or a path."""

    weights: str


def build_branch(
    backbone: Backbone,
    num_classes: int,
    input: InputSpec,
    known: Sequence[WeightsSpec] = (),
    *,
    weights: str = "",
    **options: Unpack[PlainOptions],
) -> VideoBranch:
    """Put normalisation, projection and classifier around a backbone and load its weights, if any.

    Args:
        known: the model's weights records. weights: "", the name of one, or a path.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    branch = VideoBranch(backbone, num_classes=num_classes, input=input, **options)
    if weights:
        load_weights(branch, backbone, weights, known=known)
    return branch
