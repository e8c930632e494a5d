"""``mg models convert --from ctr-gcn``: tensors under the names of CTR-GCN's own repository.

The network below has that repository's names and, written anew from equations 3 to 6 of the publication and
the branches in time it describes, its computation: per subset, per branch, with every bias in place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import DataError, InputSpec, UsageError
from mg_skeleton.convert import convert
from mg_skeleton.models.ctrgcn import build
from mg_skeleton.weights import read_weights

POINTS, CLASSES = 25, 60
INPUT = InputSpec(kind="keypoints", shape=(3, 12, POINTS), layout="ntu-25")


class _Relation(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        inner = 8 if channels == 3 else channels // 8
        self.conv1, self.conv2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.conv3, self.conv4 = nn.Conv2d(channels, out, 1), nn.Conv2d(inner, out, 1)

    def forward(self, x: Tensor, graph: Tensor, alpha: Tensor) -> Tensor:
        u, v = self.conv1(x).mean(2)[..., :, None], self.conv2(x).mean(2)[..., None, :]
        refined = graph + alpha * self.conv4(torch.tanh(u - v))  # (N, C, V, V)
        return torch.einsum("ncuv,nctv->nctu", refined, self.conv3(x))


class _Graph(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Relation(channels, out) for _ in range(3))
        self.PA, self.alpha = nn.Parameter(torch.rand(3, POINTS, POINTS)), nn.Parameter(torch.rand(1))
        self.bn = nn.BatchNorm2d(out)
        self.down = nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))
        if channels == out:
            self.down = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        gathered = sum(conv(x, graph, self.alpha) for conv, graph in zip(self.convs, self.PA))
        return torch.relu(self.bn(gathered) + self.down(x))


class _InTime(nn.Module):
    """A (kernel x 1) convolution and its normalisation, named conv and bn."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        pad = (dilation * (kernel - 1) // 2, 0)
        self.conv = nn.Conv2d(channels, out, (kernel, 1), (stride, 1), pad, (dilation, 1))
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class _Branches(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // 4

        def enter() -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()]

        self.branches = nn.ModuleList(
            nn.Sequential(*enter(), _InTime(width, width, 5, stride, dilation)) for dilation in (1, 2)
        )
        self.branches.append(
            nn.Sequential(*enter(), nn.MaxPool2d((3, 1), (stride, 1), (1, 0)), nn.BatchNorm2d(width))
        )
        plain = nn.Conv2d(channels, width, 1, (stride, 1))
        self.branches.append(nn.Sequential(plain, nn.BatchNorm2d(width)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class _Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.gcn1, self.tcn1, self.first = _Graph(channels, out), _Branches(out, stride), channels == 3
        if not self.first and (channels != out or stride != 1):
            self.residual = _InTime(channels, out, 1, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn1(self.gcn1(x))
        if self.first:
            return torch.relu(y)
        return torch.relu(y + (self.residual(x) if hasattr(self, "residual") else x))


class _Public(nn.Module):
    """(N, 3, T, V) of the first of ``persons``, whose other keypoints are all 0."""

    def __init__(self, persons: int) -> None:
        super().__init__()
        self.persons = persons
        self.data_bn = nn.BatchNorm1d(persons * POINTS * 3)
        widths, strides = (64,) * 4 + (128,) * 3 + (256,) * 3, (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
        for number, (channels, out, stride) in enumerate(zip((3, *widths), widths, strides), 1):
            setattr(self, f"l{number}", _Block(channels, out, stride))
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        people = torch.zeros(n, self.persons, v, c, t)
        people[:, 0] = x.permute(0, 3, 1, 2)
        people = self.data_bn(people.reshape(n, -1, t)).reshape(n, self.persons, v, c, t)
        x = people[:, 0].permute(0, 2, 3, 1)
        for number in range(1, 11):
            x = getattr(self, f"l{number}")(x)
        out: Tensor = self.fc(x.mean(dim=(2, 3)))
        return out


class _Console:
    quiet = True

    def say(self, text: str) -> None:
        pass

    warn = say

    def progress(self, label: str, total: int | None) -> Any:
        raise NotImplementedError


def _public(persons: int = 2) -> _Public:
    torch.manual_seed(0)
    network = _Public(persons).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.uniform_(tensor, -0.5, 0.5)
        elif isinstance(module, nn.Conv2d):
            assert module.bias is not None
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, _Graph):
            nn.init.uniform_(module.PA, 0, 2 / POINTS)
    return network


def _convert(state: dict[str, Tensor], folder: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    checkpoint, out = folder / "runs-65.pt", folder / "weights.safetensors"
    torch.save(state, checkpoint)
    result = convert(console=_Console(), checkpoint=checkpoint, source="ctr-gcn", out=out, **options)
    return out, dict(result.data)


@torch.no_grad()
@pytest.mark.parametrize("persons", [1, 2])
def test_a_converted_network_gives_the_logits_of_the_public_one(persons: int, tmp_path: Path) -> None:
    network = _public(persons)
    out, facts = _convert(network.state_dict(), tmp_path, layout="ntu-25")
    assert (facts["model"], facts["num_classes"], facts["in_channels"]) == ("ctr-gcn", CLASSES, 3)
    model = build(CLASSES, input=INPUT, **facts["model_options"], weights=str(out)).eval()
    assert facts["model_options"]["strides"] == [1, 1, 1, 1, 2, 1, 1, 2, 1, 1]
    x = torch.rand(2, *INPUT.shape, generator=torch.Generator().manual_seed(1))
    wanted = network(x)
    assert wanted.std() > 1e-2
    assert (model(x).logits - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_preset_full_takes_them_and_other_classes_start_afresh(tmp_path: Path) -> None:
    out, _ = _convert(_public().state_dict(), tmp_path)
    torch.manual_seed(1)
    fresh = build(32, input=INPUT)
    torch.manual_seed(1)
    begun = build(32, input=INPUT, weights=str(out))
    assert torch.equal(begun.head.classifier.weight, fresh.head.classifier.weight)
    kept = read_weights(out)[1]
    name = "blocks.9.temporal.norm.running_mean"
    assert torch.equal(begun.state_dict()[name], kept[name])


def test_the_header_tells_for_every_public_tensor_where_it_went(tmp_path: Path) -> None:
    network = _public()
    out, _ = _convert(network.state_dict(), tmp_path)
    mapping = read_weights(out)[0]["mapping"]
    assert set(mapping) == {name for name in network.state_dict() if not name.endswith("tracked")}
    assert mapping["l2.gcn1.convs.1.conv4.bias"] == "blocks.1.graph.xi_bias"
    assert mapping["l5.residual.conv.bias"] == "blocks.4.shortcut.1.running_mean"


def test_networks_that_are_not_whole_or_of_another_kind_are_named(tmp_path: Path) -> None:
    state = _public().state_dict()
    with pytest.raises(UsageError, match="graphs have 25 keypoints, layout 'coco-17' has not"):
        _convert(state, tmp_path, layout="coco-17")
    with pytest.raises(DataError, match=r"1 of \d+ tensors have no place in ctr-gcn, such as 'l3.gcn1.off"):
        _convert({**state, "l3.gcn1.offset": torch.zeros(1)}, tmp_path)
    lost = {name: value for name, value in state.items() if name != "l4.gcn1.convs.2.conv1.weight"}
    with pytest.raises(DataError, match=r"want a tensor of 4 axes for 'l4.gcn1.convs.2.conv1.weight', found"):
        _convert(lost, tmp_path)
    narrow = {**state, "l7.gcn1.convs.1.conv3.weight": torch.zeros(128, 64, 1, 1)}
    with pytest.raises(DataError, match=r"'l7.gcn1.convs.0.conv3.weight' and its like have different sha"):
        _convert(narrow, tmp_path)
    with pytest.raises(UsageError, match="'st-gcn' cannot be converted from ctr-gcn; choose one of ctr-gcn"):
        _convert(state, tmp_path, model="st-gcn")
