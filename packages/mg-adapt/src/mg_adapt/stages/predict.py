"""``mg predict``: a checkpoint's logits for one part of a split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from torch import nn

from mg_adapt.branch import build_model, choose_device, open_modality, set_threads
from mg_adapt.checkpoint import Checkpoint, load_checkpoint
from mg_adapt.choice import Branch, resolve_branch
from mg_adapt.data import mirror_permutation
from mg_adapt.inference import predict_logits
from mg_data.contract import Console, DataError, StageResult, StoreError, UsageError
from mg_data.store import Provenance, read_split, stored_digest, write_logits


def predict(
    *,
    console: Console,
    checkpoint: Path,
    data: Path,
    split: Path,
    subset: str,
    out: Path,
    flip: bool | None = None,
    batch_size: int = 32,
    threads: int = 0,
    device: str = "auto",
) -> StageResult:
    """Write the logits of the clips of one part of the split, sorted by clip id.

    Clips that the data store does not hold are written as absent (``present`` = 0). Labels are copied from
    the split for labelled parts; target clips have none there. The taint is the checkpoint's.

    Args:
        flip: average with mirrored views; None takes what the checkpoint was trained with.

    Raises:
        StoreError: a damaged checkpoint, one for other classes or another input than the data's.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    set_threads(threads)
    target_device = choose_device(device)
    trained = load_checkpoint(checkpoint)
    parts = read_split(split)
    if trained.class_names != parts.class_names:
        found, wanted = len(trained.class_names), len(parts.class_names)
        raise StoreError(
            checkpoint, f"its {found} classes are not the {wanted} of {split}", "they must be equal, in order"
        )
    # The checkpoint's options are complete: the preset they came from may have changed since.
    branch = resolve_branch(
        trained.model, trained.modality, "", trained.model_options, trained.modality_options
    )
    modality = open_modality(branch, data, parts.dataset)
    if _text(modality.input.to_json()) != _text(trained.input.to_json()):
        raise StoreError(
            data,
            f"gives samples of {modality.input.shape} ({modality.input.layout or modality.input.kind}), the "
            f"checkpoint was trained on {trained.input.shape} ({trained.input.layout or trained.input.kind})",
        )
    ids, labels = parts.select(subset)
    present = np.isin(ids, modality.clip_ids)
    if not present.any():
        raise DataError(f"{data}: holds none of the {len(ids)} clips of '{subset}'")
    if not present.all():
        console.warn(f"{int((~present).sum())} of {len(ids)} clips are not in {data}: written as absent")

    num_classes = len(parts.class_names)
    mirrored = bool(trained.recipe.get("flip", False)) if flip is None else flip
    model = _model(checkpoint, trained, branch)
    values = np.zeros((len(ids), num_classes), np.float32)
    with console.progress(f"predict {trained.key}", int(present.sum())) as progress:
        values[present] = predict_logits(
            model,
            modality,
            ids[present],
            num_classes=num_classes,
            mirror=mirror_permutation(trained.mirror_classes, num_classes) if mirrored else None,
            batch_size=batch_size,
            device=target_device,
            progress=progress,
        )
    views = len(modality.views(str(ids[present][0])))
    tta = "+".join([f"views{views}"] * (views > 1) + ["flip"] * mirrored) or "none"
    digest = write_logits(
        out,
        clip_ids=ids,
        values=values,
        present=present,
        class_names=parts.class_names,
        vocabulary=parts.vocabulary,
        dataset=parts.dataset,
        labels=labels if (labels >= 0).any() else None,
        model=trained.model,
        modality=trained.modality,
        branch=trained.branch,
        tta=tta,
        seed=trained.seed,
        taint=trained.taint,
        checkpoint_digest=trained.digest,
        provenance=Provenance(
            command="mg predict",
            config={"subset": subset, "flip": mirrored, "batch_size": batch_size},
            inputs={"checkpoint": trained.digest, "data": stored_digest(data), "split": parts.digest},
        ),
    )
    result = {
        "logits": str(out),
        "digest": digest,
        "branch": trained.key,
        "subset": subset,
        "clips": len(ids),
        "present": int(present.sum()),
        "tta": tta,
    }
    return StageResult(data=result, text=f"{trained.key}: {len(ids)} clips of '{subset}', tta {tta}\n{out}")


def _model(path: Path, trained: Checkpoint, branch: Branch) -> nn.Module:
    model = build_model(branch, len(trained.class_names), trained.input, pretrained=False)
    try:
        model.load_state_dict(dict(trained.model_state))
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise StoreError(
            path, f"does not fit model '{trained.model}' as installed: {first}", "train it again"
        ) from error
    return model


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=list)
