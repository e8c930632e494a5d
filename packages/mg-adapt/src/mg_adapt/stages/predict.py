"""``mg predict``: a checkpoint's logits for one part of a split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from torch import nn

from mg_adapt.batch_norm import adapt_batch_norm
from mg_adapt.branch import build_model, choose_device, open_modality, set_threads
from mg_adapt.checkpoint import Checkpoint, load_checkpoint
from mg_adapt.choice import Branch, resolve_branch
from mg_adapt.data import mirror_permutation
from mg_adapt.inference import predict_logits
from mg_data.contract import Console, DataError, Modality, StageResult, StoreError, UsageError
from mg_data.store import Provenance, SplitStore, Taint, clip_keys, read_split, stored_digest, write_logits


def predict(
    *,
    console: Console,
    checkpoint: Path,
    data: Path,
    split: Path,
    subset: str,
    out: Path,
    flip: bool | None = None,
    bn_adapt: bool = False,
    bn_batch: int = 32,
    batch_size: int = 32,
    threads: int = 0,
    device: str = "auto",
) -> StageResult:
    """Write the logits of the clips of one part of the split, sorted by clip id.

    Clips that the data store does not hold are written as absent (``present`` = 0). Labels are copied from
    the split for labelled parts; target clips have none there. The taint is the checkpoint's.

    Args:
        flip: average with mirrored views; None takes what the checkpoint was trained with.
        bn_adapt: first estimate BatchNorm statistics anew on these very clips, ``bn_batch`` at a time. The
            logits then say that the model was *selected on* them: it was fitted to them, and has learnt no
            label of theirs, true or given by a model, which is what *trained on* means here.

    Raises:
        StoreError: a damaged checkpoint, one for other classes or another input than the data's.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    set_threads(threads)
    target_device = choose_device(device)
    trained = load_checkpoint(checkpoint)
    parts = read_split(split)
    # The checkpoint's options are complete: the preset they came from may have changed since.
    branch = resolve_branch(
        trained.model, trained.modality, "", trained.model_options, trained.modality_options
    )
    modality = open_modality(branch, data, parts.dataset)
    check_fit(checkpoint, trained, parts, data, modality)
    ids, labels = parts.select(subset)
    present = np.isin(ids, modality.clip_ids)
    if not present.any():
        raise DataError(f"{data}: holds none of the {len(ids)} clips of '{subset}'")
    if not present.all():
        console.warn(f"{int((~present).sum())} of {len(ids)} clips are not in {data}: written as absent")

    num_classes = len(parts.class_names)
    mirrored = bool(trained.recipe.get("flip", False)) if flip is None else flip
    model = load_model(checkpoint, trained, branch)
    taint = trained.taint
    if bn_adapt:
        with console.progress(f"statistics {trained.key}", int(present.sum())) as progress:
            adapt_batch_norm(
                model,
                modality,
                ids[present],
                flip=mirrored,
                batch_size=bn_batch,
                device=target_device,
                progress=progress,
            )
        taint = taint.union(Taint.of((), clip_keys(parts.dataset, ids[present])))
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
        taint=taint,
        checkpoint_digest=trained.digest,
        provenance=Provenance(
            command="mg predict",
            config={"subset": subset, "flip": mirrored, "batch_size": batch_size}
            | ({"bn_adapt": True, "bn_batch": bn_batch} if bn_adapt else {}),
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
        "bn_adapt": bn_adapt,
    }
    adapted = ", BatchNorm statistics of these clips" if bn_adapt else ""
    return StageResult(
        data=result, text=f"{trained.key}: {len(ids)} clips of '{subset}', tta {tta}{adapted}\n{out}"
    )


def check_fit(path: Path, trained: Checkpoint, parts: SplitStore, data: Path, modality: Modality) -> None:
    """Raise StoreError for a checkpoint of other classes or of another input than these stores'."""
    if trained.class_names != parts.class_names:
        found, wanted = len(trained.class_names), len(parts.class_names)
        raise StoreError(
            path, f"its {found} classes are not the {wanted} of {parts.path}", "they must be equal, in order"
        )
    if _text(modality.input.to_json()) != _text(trained.input.to_json()):
        raise StoreError(
            data,
            f"gives samples of {modality.input.shape} ({modality.input.layout or modality.input.kind}), the "
            f"checkpoint was trained on {trained.input.shape} ({trained.input.layout or trained.input.kind})",
        )


def load_model(path: Path, trained: Checkpoint, branch: Branch) -> nn.Module:
    """Build the model of a checkpoint with its weights; StoreError if they do not fit."""
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
