"""Checkpoints of CTR-GCN's own repository (Uason-Chen/CTR-GCN) as weights of ``ctr-gcn``.

The network is the same; the tensors are cut otherwise. There each of the three graphs of a block has its own
convolutions, and each branch in time its own normalisation: here they are one, so theirs are joined. Their
convolutions in front of a normalisation have a bias, which only shifts what the normalisation subtracts:
it is taken off the running mean. Each person has a normalisation there, and features are averaged over
persons; here is one person, whose normalisation is the first's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mg_data.contract import DataError, UsageError
from mg_data.keypoints.layouts import find_layout
from mg_skeleton.foreign import Converted, Tensors, tensor_of
from mg_skeleton.models.ctrgcn import CTRGCN

_ENTRIES = ("weight", "bias", "running_mean", "running_var")
# Branches in time, by their place there: two convolve, one takes the maximum, the last is plain.
_DILATED, _MAXIMUM, _PLAIN = (0, 1), 2, 3


class _Taker:
    """Hands out tensors by their public names and remembers which were taken, and for what."""

    def __init__(self, path: Path, tensors: Tensors) -> None:
        self.path, self.tensors = path, tensors
        self.state: Tensors = {}
        self.mapping: dict[str, str] = {}

    def take(self, ours: str, *public: str, ndim: int) -> Tensor:
        """Return the public tensors of those names, joined along their first axis."""
        self.mapping |= dict.fromkeys(public, ours)
        parts = [tensor_of(self.path, self.tensors, name, ndim) for name in public]
        if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise DataError(f"{self.path}: {public[0]!r} and its like have different shapes")
        return torch.cat(parts)

    def keep(self, ours: str, *public: str, ndim: int) -> None:
        """Keep the public tensors, joined, under our name."""
        self.state[ours] = self.take(ours, *public, ndim=ndim)

    def keep_norm(self, ours: str, *public: str, biases: tuple[str, ...] = ()) -> None:
        """Keep normalisations, joined; ``biases`` of the convolutions in front of them."""
        for entry in _ENTRIES:
            self.keep(f"{ours}.{entry}", *(f"{name}.{entry}" for name in public), ndim=1)
        if biases:
            mean = f"{ours}.running_mean"
            bias = self.take(mean, *biases, ndim=1)
            if bias.shape != self.state[mean].shape:
                raise DataError(f"{self.path}: {biases[0]!r} does not fit the normalisation behind it")
            self.state[mean] = self.state[mean] - bias

    def keep_shortcut(self, ours: str, convolution: str, norm: str) -> bool:
        """Keep a shortcut if it has weights; return whether it has."""
        if f"{convolution}.weight" not in self.tensors:
            return False
        self.keep(f"{ours}.0.weight", f"{convolution}.weight", ndim=4)
        self.keep_norm(f"{ours}.1", norm, biases=(f"{convolution}.bias",))
        return True


def convert_ctrgcn(path: Path, tensors: Tensors, layout: str) -> Converted:
    """Read the network's options off the shapes and fill it.

    Raises:
        DataError: another network. UsageError: ``layout`` has another number of keypoints.
    """
    taker = _Taker(path, tensors)
    graphs = tensor_of(path, tensors, "l1.gcn1.PA", 3)
    subsets, points = graphs.shape[:2]
    in_channels = tensor_of(path, tensors, "l1.gcn1.convs.0.conv1.weight", 4).shape[1]
    depth = len({found[1] for name in tensors if (found := re.match(r"l(\d+)\.", name))})
    if depth > 64 or graphs.shape != (3, points, points):
        raise DataError(f"{path}: {depth} blocks with graphs of shape {tuple(graphs.shape)} make no CTR-GCN")
    widths, strides = [], []
    for block in range(depth):
        halved = _block(taker, f"blocks.{block}", f"l{block + 1}", subsets)
        widths.append(len(taker.state[f"blocks.{block}.temporal.norm.weight"]))
        # Strides leave no trace in the weights. The reference halves time where it widens, and only there
        # does a shortcut have weights; for a network of another plan give the option strides when training.
        strides.append(2 if halved else 1)
    for entry in _ENTRIES:
        taker.keep(f"normalise.norm.{entry}", f"data_bn.{entry}", ndim=1)
        values = taker.state[f"normalise.norm.{entry}"]
        if len(values) % (points * in_channels):
            raise DataError(
                f"{path}: 'data_bn.{entry}' has {len(values)} entries, want persons x {points} keypoints x "
                f"{in_channels} channels"
            )
        # (persons, V, C) there, (C, V) of one person here
        taker.state[f"normalise.norm.{entry}"] = values.view(-1, points, in_channels)[0].t().reshape(-1)
    taker.keep("head.classifier.weight", "fc.weight", ndim=2)
    taker.keep("head.classifier.bias", "fc.bias", ndim=1)
    lost = [name for name in tensors if name not in taker.mapping and not name.endswith("tracked")]
    if lost:
        raise DataError(
            f"{path}: {len(lost)} of {len(tensors)} tensors have no place in ctr-gcn, such as {lost[0]!r}; "
            "want a checkpoint of CTR-GCN's own repository"
        )
    if layout and len(find_layout(layout).names) != points:
        raise UsageError(f"{path}: its graphs have {points} keypoints, layout {layout!r} has not")
    classes = len(taker.state["head.classifier.weight"])
    options: dict[str, Any] = {"widths": widths, "strides": strides}
    with torch.device("meta"):  # shapes alone, until they are known to fit
        network = CTRGCN(classes, in_channels, torch.empty(graphs.shape), **options)
    facts = {
        "model_options": options,
        "num_classes": classes,
        "in_channels": in_channels,
        # Its graphs are learned: they do not tell of which layout they once were.
        "layout": layout,
        "mapping": taker.mapping,
    }
    return Converted(network, taker.state, facts)


def _block(taker: _Taker, ours: str, public: str, subsets: int) -> bool:
    """Keep the tensors of one block; return whether its shortcut has weights."""
    graph, convs = f"{ours}.graph", [f"{public}.gcn1.convs.{subset}" for subset in range(subsets)]
    taker.keep(f"{graph}.graphs", f"{public}.gcn1.PA", ndim=3)
    taker.keep(f"{graph}.alpha", f"{public}.gcn1.alpha", ndim=1)
    taker.state[f"{graph}.alpha"] = taker.state[f"{graph}.alpha"].reshape(())
    for name, number in (("phi", 1), ("psi", 2)):  # over keypoints alone here: they follow a mean over time
        taker.keep(f"{graph}.{name}.weight", *(f"{conv}.conv{number}.weight" for conv in convs), ndim=4)
        taker.state[f"{graph}.{name}.weight"] = taker.state[f"{graph}.{name}.weight"].flatten(2)
        taker.keep(f"{graph}.{name}.bias", *(f"{conv}.conv{number}.bias" for conv in convs), ndim=1)
    taker.keep(f"{graph}.values.weight", *(f"{conv}.conv3.weight" for conv in convs), ndim=4)
    taker.keep(f"{graph}.values.bias", *(f"{conv}.conv3.bias" for conv in convs), ndim=1)
    taker.keep(f"{graph}.xi.weight", *(f"{conv}.conv4.weight" for conv in convs), ndim=4)
    taker.keep(f"{graph}.xi_bias", *(f"{conv}.conv4.bias" for conv in convs), ndim=1)
    taker.keep_norm(f"{graph}.norm", f"{public}.gcn1.bn")
    taker.keep_shortcut(f"{graph}.shortcut", f"{public}.gcn1.down.0", f"{public}.gcn1.down.1")

    time, branch = f"{ours}.temporal", f"{public}.tcn1.branches"
    entering = [f"{branch}.{number}" for number in (*_DILATED, _MAXIMUM)]
    taker.keep(f"{time}.enter.0.weight", *(f"{name}.0.weight" for name in entering), ndim=4)
    taker.keep_norm(
        f"{time}.enter.1",
        *(f"{name}.1" for name in entering),
        biases=tuple(f"{name}.0.bias" for name in entering),
    )
    for place, number in enumerate(_DILATED):
        taker.keep(f"{time}.dilated.{place}.weight", f"{branch}.{number}.3.conv.weight", ndim=4)
    taker.keep(f"{time}.plain.weight", f"{branch}.{_PLAIN}.0.weight", ndim=4)
    taker.keep_norm(
        f"{time}.norm",
        *(f"{branch}.{number}.3.bn" for number in _DILATED),
        f"{branch}.{_MAXIMUM}.4",
        f"{branch}.{_PLAIN}.1",
    )
    mean, width = f"{time}.norm.running_mean", len(taker.state[f"{time}.plain.weight"])
    biases = [taker.take(mean, f"{branch}.{number}.3.conv.bias", ndim=1) for number in _DILATED]
    biases += [torch.zeros(width), taker.take(mean, f"{branch}.{_PLAIN}.0.bias", ndim=1)]
    shift = torch.cat(biases)
    if shift.shape != taker.state[mean].shape:
        raise DataError(f"{taker.path}: the branches of {public}.tcn1 do not fit the normalisations behind")
    taker.state[mean] = taker.state[mean] - shift
    return taker.keep_shortcut(f"{ours}.shortcut", f"{public}.residual.conv", f"{public}.residual.bn")
