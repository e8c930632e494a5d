"""Readers of what commands leave for others: scores, submissions, fitted parameters, recipes and weights."""

from __future__ import annotations

import hashlib
import json
import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_bytes import change_header, change_pickle, change_zip
from fuzz_mutations import change_json, change_text, flip
from fuzz_reader import CLASSES, CONSOLE, IDS, Reader, attempt
from fuzz_stores import ROOT

_LINES = (change_text,) * 3


def _make_scores(folder: Path) -> list[Path]:
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.savez(
        folder / "a.npz",
        logits=values,
        names=np.array(IDS),
        labels=np.arange(4) % 3,
        class_names=np.array(CLASSES),
    )
    np.savez_compressed(folder / "b.npz", scores=values)
    lines = [
        "name,label," + ",".join(CLASSES),
        *(f"{clip},1," + ",".join(f"{x:.4f}" for x in row) for clip, row in zip(IDS, values)),
    ]
    (folder / "c.csv").write_text("\n".join(lines), encoding="utf-8")
    return [folder / name for name in ("a.npz", "b.npz", "c.csv")]


def _read_scores(folder: Path) -> None:
    from mg_fusion.convert.read import read_score_file

    attempt(
        lambda: read_score_file(folder / "a.npz", "npz"),
        lambda: read_score_file(folder / "b.npz", "npz"),
        lambda: read_score_file(folder / "c.csv", "csv"),
    )


def _make_submission(folder: Path) -> list[Path]:
    from mg_fusion.submission import write_submission

    write_submission(folder / "a.zip", IDS, [0, 1, 2, 1], classes=3)
    (folder / "b.zip").write_text("Id,Target\n" + "".join(f"{clip},1\n" for clip in IDS), encoding="utf-8")
    return [folder / "a.zip", folder / "b.zip"]


def _read_submission(folder: Path) -> None:
    from mg_fusion.submission import check_submission, read_submission

    attempt(
        lambda: check_submission(read_submission(folder / "a.zip"), classes=3, ids=IDS),
        lambda: check_submission(read_submission(folder / "b.zip"), classes=3, ids=IDS),
    )


def _make_parameters(folder: Path) -> list[Path]:
    """Everything that is kept as JSON between commands."""
    from mg_adapt.watch.choosing import Chosen, write_chosen
    from mg_adapt.watch.segments import Thresholds
    from mg_fusion.calibrators import fit_calibrator
    from mg_fusion.fusers.fitting import fit_fuser
    from mg_fusion.vote import SoftVote

    rng = np.random.default_rng(0)
    scores, labels, models = rng.normal(size=(2, 30, 3)), rng.integers(0, 3, 30), ["joint", "stranger/rgb"]
    SoftVote(
        temperature=1.5,
        weights=dict.fromkeys(models, 0.5),
        class_names=CLASSES,
        fitted_on={"clip_keys": ["00000000000000ff"]},
        search={"calibrated_temperature": 1.1},
    ).save(folder / "fusion.json")
    fit_calibrator(scores[0], labels).save(folder / "calibration.json")
    fit_calibrator(scores[0], labels, "isotonic").save(folder / "isotonic.json")
    fit_fuser("log-linear", scores, labels, models=models, class_names=CLASSES, folds=0).save(
        folder / "fuser.json"
    )
    chosen = Chosen(
        thresholds=Thresholds(), window=2.0, step=0.5, videos=("v",), f1=0.5, iou=0.5, class_names=CLASSES
    )
    write_chosen(folder / "chosen.json", chosen, {})
    return sorted(folder.glob("*.json"))


def _read_parameters(folder: Path) -> None:
    from mg_adapt.target import read_vote_parameters
    from mg_adapt.watch.choosing import read_chosen
    from mg_fusion.calibrators import Calibrator
    from mg_fusion.fusers.fitting import FittedFuser, is_fitted_fuser
    from mg_fusion.stores import fit_keys
    from mg_fusion.vote import SoftVote

    scores = np.random.default_rng(1).normal(size=(5, 3))

    def calibrate(name: str) -> None:
        found = Calibrator.load(folder / name)
        found.predict_proba(scores)
        str(found.parameters)

    attempt(
        lambda: fit_keys(SoftVote.load(folder / "fusion.json")),
        lambda: SoftVote.load(folder / "fusion.json").to_json(),
        lambda: read_vote_parameters(folder / "fusion.json"),
        lambda: calibrate("calibration.json"),
        lambda: calibrate("isotonic.json"),
        lambda: is_fitted_fuser(folder / "fuser.json"),
        lambda: FittedFuser.load(folder / "fuser.json").to_json(),
        lambda: read_chosen(folder / "chosen.json"),
    )


def _make_recipes(folder: Path) -> list[Path]:
    for path in (ROOT / "recipes").glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
    return sorted(folder.glob("*.toml"))


def _read_recipes(folder: Path) -> None:
    from mg_adapt.run.plan import plan
    from mg_adapt.run.settings import load
    from mg_data.plugins import registry

    attempt(
        *(
            lambda path=path: plan(load(path, {})[0], folder / "run", registry())
            for path in sorted(folder.glob("*.toml"))
        )
    )


def _make_checkpoints(folder: Path) -> list[Path]:
    import torch

    from mg_adapt.checkpoint import Checkpoint, save_checkpoint
    from mg_data.contract import InputSpec
    from mg_data.store import Taint
    from mg_skeleton.weights import write_weights

    torch.manual_seed(0)
    state = torch.nn.Linear(3, 2).state_dict()
    checkpoint = Checkpoint(
        model="toy",
        modality="joint",
        input=InputSpec(kind="keypoints", shape=(3, 4, 5)),
        class_names=CLASSES,
        model_state=state,
        taint=Taint.of([1, 2], [3]),
        mirror_classes=((0, 1),),
    )
    save_checkpoint(folder / "checkpoint.safetensors", checkpoint)
    write_weights(folder / "weights.safetensors", state, {"model": "toy"})
    return [folder / "checkpoint.safetensors", folder / "weights.safetensors"]


def _sign(path: Path) -> None:
    """Put the right checksum into a changed file: whoever changes it can do that as well."""
    import torch
    from safetensors.torch import load

    data = path.read_bytes()
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        own = json.loads(header["__metadata__"]["mg"])
        own.pop("sha256", None)
        digest = hashlib.sha256(json.dumps(own, ensure_ascii=False, sort_keys=True).encode())
        for name, tensor in sorted(load(data).items()):
            digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        own["sha256"] = digest.hexdigest()
        header["__metadata__"]["mg"] = json.dumps(own, ensure_ascii=False, sort_keys=True)
        text = json.dumps(header).encode()
    except Exception:  # what cannot be signed is read as it is
        return
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def _read_checkpoints(folder: Path) -> None:
    import torch

    from mg_adapt.checkpoint import load_checkpoint
    from mg_adapt.tensor_file import read_tensors
    from mg_rgb.weights import read_state
    from mg_skeleton.weights import load_weights, read_weights

    def fill(path: Path) -> None:
        load_weights(torch.nn.Linear(3, 2), path, model_name="toy")

    readers = (load_checkpoint, read_tensors, read_weights, read_state, fill)
    paths = sorted(folder.glob("*.safetensors"))
    attempt(
        *(partial(read, path) for path in paths for read in readers),
        *(partial(step, path) for path in paths for step in (_sign, *readers)),
    )


class _Pwned:
    """Runs a command when it is unpickled by a reader that executes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def _make_torch(folder: Path) -> list[Path]:
    import torch

    torch.manual_seed(0)
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    torch.save({"state_dict": state, "meta": {"epoch": 3}}, folder / "a.pth")
    torch.save({"state_dict": state}, folder / "b.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "history": _Pwned()}, folder / "c.pth")
    return [folder / f"{name}.pth" for name in "abc"]


def _read_torch(folder: Path) -> None:
    from mg_rgb.weights import read_state
    from mg_skeleton.foreign import read_checkpoint

    paths = sorted(folder.glob("*.pth"))
    attempt(*(partial(read, path) for path in paths for read in (read_state, read_checkpoint)))


def _make_networks(folder: Path) -> list[Path]:
    """Checkpoints with the names of pyskl and of CTR-GCN, as small as they get."""
    import torch

    def norm(name: str, width: int) -> dict[str, Any]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{part}": torch.ones(width) for part in parts}

    graph, layer = "backbone.gcn.0", "backbone.layer1.0"
    states = {
        "stgcn": {
            **norm("backbone.data_bn", 51), **norm(f"{graph}.gcn.bn", 8), **norm(f"{graph}.tcn.bn", 8),
            f"{graph}.gcn.A": torch.zeros(3, 17, 17), f"{graph}.gcn.PA": torch.ones(3, 17, 17),
            f"{graph}.gcn.conv.weight": torch.ones(24, 3, 1, 1), f"{graph}.gcn.conv.bias": torch.ones(24),
            f"{graph}.tcn.conv.weight": torch.ones(8, 8, 9, 1), f"{graph}.tcn.conv.bias": torch.ones(8),
            "cls_head.fc.weight": torch.ones(4, 8), "cls_head.fc.bias": torch.ones(4),
        },
        "posec3d": {
            "backbone.conv1.conv.weight": torch.ones(8, 17, 1, 7, 7), **norm("backbone.conv1.bn", 8),
            f"{layer}.conv1.conv.weight": torch.ones(8, 8, 1, 1, 1), **norm(f"{layer}.conv1.bn", 8),
            f"{layer}.conv2.conv.weight": torch.ones(8, 8, 1, 3, 3), **norm(f"{layer}.conv2.bn", 8),
            f"{layer}.conv3.conv.weight": torch.ones(32, 8, 1, 1, 1), **norm(f"{layer}.conv3.bn", 32),
            f"{layer}.downsample.conv.weight": torch.ones(32, 8, 1, 1, 1),
            **norm(f"{layer}.downsample.bn", 32),
            "cls_head.fc_cls.weight": torch.ones(4, 32), "cls_head.fc_cls.bias": torch.ones(4),
        },
        "ctrgcn": {
            **norm("data_bn", 150), "fc.weight": torch.ones(4, 256), "fc.bias": torch.ones(4),
            "l1.gcn1.PA": torch.ones(3, 25, 25),
        },
    }  # fmt: skip
    for name, state in states.items():
        torch.save({"state_dict": state}, folder / f"{name}.pth")
    return [folder / f"{name}.pth" for name in states]


def _change_state(data: bytes, rng: random.Random) -> bytes:
    """Change names, shapes and types of a checkpoint's tensors."""
    import io

    import torch

    try:
        state = torch.load(io.BytesIO(data), weights_only=True)["state_dict"]
    except Exception:  # an earlier change has broken it
        return flip(data, rng)
    for _ in range(rng.randint(1, 3)):
        if not state:
            break
        name = rng.choice(list(state))
        value = state[name]
        if not isinstance(value, torch.Tensor):
            continue
        how = rng.randrange(9)
        if how == 0:
            del state[name]
        elif how == 1:
            others = (f"{name}x", name.replace("0", "9"), name.replace("0", "1000000000"), "", *state)
            state[rng.choice(others)] = state.pop(name)
        elif how == 2:
            state[name] = value[None]
        elif how == 3:
            state[name] = value[..., :0]
        elif how == 4:
            kinds = (torch.int8, torch.bool, torch.complex64, torch.float16, torch.float8_e4m3fn, torch.int64)
            state[name] = value.to(rng.choice(kinds))
        elif how == 5:
            # A few bytes that claim to be many: no stride.
            state[name] = torch.ones(1).expand(rng.choice(((10**9,), (2**20, 2**20), (60_000, 3, 1, 1))))
        elif how == 6:
            state[name] = rng.choice((1, "x", None, [value], {"a": value}, torch.ones(3, 3).to_sparse()))
        elif how == 7:
            state[name] = torch.full(value.shape, float("nan"))
        else:
            state[name] = value.reshape(-1)
    out = io.BytesIO()
    torch.save({"state_dict": state}, out)
    return out.getvalue()


def _read_networks(folder: Path) -> None:
    from mg_skeleton.convert import convert

    out = folder / "out.safetensors"
    attempt(
        *(
            partial(convert, checkpoint=path, source=source, out=out, console=CONSOLE)
            for path in sorted(folder.glob("*.pth"))
            for source in ("pyskl", "ctr-gcn")
        )
    )


RESULTS = (
    Reader("score-files", "mg store from-scores", _make_scores, _read_scores,
           (change_zip, *_LINES)),
    Reader("submission", "mg submit check", _make_submission, _read_submission, (change_zip,) * 4 + _LINES),
    Reader("parameters", "mg fuse, calibrate, adapt, watch", _make_parameters, _read_parameters,
           (change_json,) * 12),
    Reader("recipes", "mg run", _make_recipes, _read_recipes, _LINES * 2),
    Reader("checkpoints", "mg predict, mg train", _make_checkpoints, _read_checkpoints, (change_header,) * 12,
           whole=False),
    Reader("torch-files", "mg models convert, mg train", _make_torch, _read_torch,
           (change_pickle, change_zip), whole=False),
    Reader("networks", "mg models convert", _make_networks, _read_networks, (_change_state,) * 12,
           whole=False),
)  # fmt: skip
