"""``mg predict``: a checkpoint's logits, and features if asked for, for one part of a split."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mg_adapt.batch_norm import adapt_batch_norm
from mg_adapt.blame import named
from mg_adapt.branch import build_model, choose_device, data_taint, open_modality, set_threads
from mg_adapt.checkpoint import Checkpoint, load_checkpoint
from mg_adapt.choice import Branch, resolve_branch
from mg_adapt.inference import Answers, predict_answers
from mg_adapt.ray_launcher import ray_map
from mg_adapt.training.data import mirror_permutation
from mg_adapt.training.engine import one_process
from mg_data.cli.console import TerminalConsole
from mg_data.contract import Console, DataError, Modality, StageResult, StoreError, UsageError
from mg_data.prepare.parallel import Shard
from mg_data.store import (
    Provenance,
    SplitStore,
    Taint,
    clip_keys,
    read_split,
    stored_digest,
    write_features,
    write_logits,
)

# The name of the one feature in the store of --features.
FEATURE = "feature"


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """What to predict and how: plain values that can be sent to another process. See :func:`predict`."""

    checkpoint: Path
    data: Path
    split: Path
    subset: str
    features: bool = False
    flip: bool | None = None
    clips: int = 0
    bn_adapt: bool = False
    bn_batch: int = 32
    batch_size: int = 32
    workers: int = 0
    threads: int = 0
    device: str = "auto"


class Prediction:
    """A job with its files opened: ``clip_ids``, ``labels``, ``present`` of the whole part of the split."""

    def __init__(self, job: PredictionJob) -> None:
        self.job = job
        set_threads(job.threads)
        self.device = choose_device(job.device)
        self.trained = trained = load_checkpoint(job.checkpoint)
        self.parts = read_split(job.split)
        # The checkpoint's options are complete: the preset they came from may have changed since.
        self.branch = resolve_branch(
            trained.model, trained.modality, "", trained.model_options, _modality_options(trained, job.clips)
        )
        self.modality = open_modality(self.branch, job.data, self.parts.dataset)
        check_fit(job.checkpoint, trained, self.parts, job.data, self.modality)
        self.clip_ids, self.labels = _select(self.parts, job.subset)
        self.present = np.isin(self.clip_ids, self.modality.clip_ids)
        if not self.present.any():
            raise DataError(f"{job.data}: holds none of the {len(self.clip_ids)} clips of '{job.subset}'")
        self.mirrored = bool(trained.recipe.get("flip", False)) if job.flip is None else job.flip

    def taint(self) -> Taint:
        """Return what the answers have seen: the checkpoint's, the data's, and of --bn-adapt these clips."""
        taint = self.trained.taint.union(data_taint(self.job.data))
        if self.job.bn_adapt:
            taint = taint.union(Taint.of((), clip_keys(self.parts.dataset, self.clip_ids[self.present])))
        return taint

    def tta(self) -> str:
        """Return how the answers were averaged, such as ``views10+flip``."""
        views = len(self.modality.views(str(self.clip_ids[self.present][0])))
        return "+".join([f"views{views}"] * (views > 1) + ["flip"] * self.mirrored) or "none"

    def answers(self, rows: NDArray[np.int64], console: Console) -> Answers:
        """Return the answers for some rows of ``clip_ids``, all of them present."""
        job, trained = self.job, self.trained
        model = load_model(job.checkpoint, trained, self.branch)
        if job.bn_adapt:  # on all clips, whichever are asked for: shards must not differ
            everyone = self.clip_ids[self.present]
            with console.progress(f"statistics {trained.key}", len(everyone)) as progress:
                adapt_batch_norm(
                    model,
                    self.modality,
                    everyone,
                    flip=self.mirrored,
                    batch_size=job.bn_batch,
                    device=self.device,
                    progress=progress,
                    who=named("models", trained.model),
                )
        classes = len(self.parts.class_names)
        with console.progress(f"predict {trained.key}", len(rows)) as progress:
            return predict_answers(
                model,
                self.modality,
                self.clip_ids[rows],
                num_classes=classes,
                mirror=mirror_permutation(trained.mirror_classes, classes) if self.mirrored else None,
                batch_size=job.batch_size,
                device=self.device,
                progress=progress,
                workers=job.workers,
                features=job.features,
                who=named("models", trained.model),
            )


def _modality_options(trained: Checkpoint, clips: int) -> dict[str, Any]:
    options = dict(trained.modality_options)
    if clips and "clips" not in options:
        raise UsageError(f"--clips: modality '{trained.modality}' has one view of each clip")
    return {**options, "clips": clips} if clips else options


def _select(parts: SplitStore, subset: str) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    names = set(parts.names.tolist())
    return parts.select(*(names if subset == "all" and "all" not in names else (subset,)))


def predict(
    *,
    console: Console,
    checkpoint: Path,
    data: Path,
    split: Path,
    subset: str,
    out: Path,
    features: Path | None = None,
    flip: bool | None = None,
    clips: int = 0,
    bn_adapt: bool = False,
    bn_batch: int = 32,
    batch_size: int = 32,
    shard: str = "",
    launcher: str = "",
    shards: int = 0,
    workers: int = 0,
    threads: int = 0,
    device: str = "auto",
) -> StageResult:
    """Write the logits of the clips of one part of the split, sorted by clip id.

    Clips that the data store does not hold are written as absent (``present`` = 0). Labels are copied from
    the split for labelled parts; target clips have none there. The taint is the checkpoint's, with that of a
    data store of features.

    Args:
        subset: a part of the split, or ``all`` of them.
        features: a second store to write, of kind ``features``: what the classifier reads, (N, d) under the
            name ``feature``, averaged over the views but not over mirrored ones, of clips with data.
        flip: average with mirrored views; None takes what the checkpoint was trained with.
        clips: average so many views of different times of each clip; 0 takes what the checkpoint was trained
            with. It has no part in training, so a checkpoint can be asked in either way.
        bn_adapt: first estimate BatchNorm statistics anew on these very clips, ``bn_batch`` at a time. The
            logits then say that the model was *selected on* them: it was fitted to them, and has learnt no
            label of theirs, true or given by a model, which is what *trained on* means here.
        shard: ``i/n`` answers only the clips of this part (by the hash of their id); ``mg store merge`` joins
            the stores of all parts to what one process writes, digest included.
        launcher: ``ray`` shares the clips out to ``shards`` tasks of a Ray cluster (0: as many as it runs at
            once) and writes what one process would. The files must be readable on all machines.
        workers: loader processes, without influence on the result.

    Raises:
        UsageError: a value out of range, or an extra that is not installed.
        StoreError: a damaged checkpoint, one for other classes or another input than the data's.
    """
    one_process("mg predict", ": share its clips out with --shard")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    if clips < 0:
        raise UsageError(f"--clips must be at least 0, found {clips}")
    if workers < 0:
        raise UsageError(f"--workers must be at least 0, found {workers}")
    if features is not None and features.resolve() == out.resolve():
        raise UsageError(f"--features and --out are both {out}: wanted two files")
    if launcher not in ("", "ray"):
        raise UsageError(f"--launcher '{launcher}' is unknown (known: ray)")
    if launcher and shard:
        raise UsageError("--launcher and --shard exclude each other: the launcher makes the shards itself")
    if shards < 0 or (shards and not launcher):
        raise UsageError(f"--shards is {shards}, wanted at least 1, beside --launcher ray")
    part = Shard.parse(shard)
    job = PredictionJob(
        checkpoint=checkpoint,
        data=data,
        split=split,
        subset=subset,
        features=features is not None,
        flip=flip,
        clips=clips,
        bn_adapt=bn_adapt,
        bn_batch=bn_batch,
        batch_size=batch_size,
        workers=workers,
        threads=threads,
        device=device,
    )
    opened = Prediction(job)
    count, held = len(opened.clip_ids), int(opened.present.sum())
    if held < count:
        console.warn(f"{count - held} of {count} clips are not in {data}: written as absent")
    mine = np.array([part.holds(str(clip_id)) for clip_id in opened.clip_ids])
    if not mine.any():
        text = f"shard {part} holds none of the {count} clips of '{subset}': nothing is written"
        return StageResult(data={"clips": 0, "shard": str(part)}, text=text)
    if launcher:
        answers = _ray_answers(opened, shards, console)
    else:
        answers = opened.answers(np.flatnonzero(mine & opened.present), console)
    return _publish(opened, answers, mine, out, features, part)


def _ray_answers(opened: Prediction, shards: int, console: Console) -> Answers:
    """Return the answers for all clips that are present, computed by Ray tasks, one a shard."""
    job = opened.job
    files = {name: getattr(job, name).resolve() for name in ("checkpoint", "data", "split")}
    absolute = replace(job, **files)
    found = ray_map(
        answers_of_shard,
        lambda room: [(absolute, index, shards or room) for index in range(1, (shards or room) + 1)],
        console,
        label=f"predict {opened.trained.key}",
        threads=job.threads,
        gpu=opened.device.type == "cuda" or job.device == "auto",
    )
    whole = len(opened.clip_ids)
    logits = np.zeros((whole, len(opened.parts.class_names)), np.float32)
    features: NDArray[np.float32] | None = None
    for rows, answers in found:
        logits[rows] = answers.logits
        if answers.features is not None and len(rows):
            if features is None:
                features = np.zeros((whole, answers.features.shape[1]), np.float32)
            features[rows] = answers.features
    return Answers(logits[opened.present], None if features is None else features[opened.present])


def answers_of_shard(job: PredictionJob, index: int, count: int) -> tuple[NDArray[np.int64], Answers]:
    """Return rows of the job's clips and the answers for them: one task of a bulk prediction."""
    opened = Prediction(job)
    part = Shard(index, count)
    mine = np.array([part.holds(str(clip_id)) for clip_id in opened.clip_ids])
    rows = np.flatnonzero(mine & opened.present)
    return rows, opened.answers(rows, TerminalConsole(quiet=True))


def _publish(
    opened: Prediction,
    answers: Answers,
    mine: NDArray[np.bool_],
    out: Path,
    features: Path | None,
    part: Shard,
) -> StageResult:
    """Write the stores of the clips that are ``mine`` (all, or those of a shard), and report."""
    job, trained, parts = opened.job, opened.trained, opened.parts
    present = opened.present[mine]
    values = np.zeros((len(present), len(parts.class_names)), np.float32)
    values[present] = answers.logits
    # Whether there are labels is a fact of the part, not of the shard: shards must be alike.
    labels = opened.labels[mine] if (opened.labels >= 0).any() else None
    taint, tta = opened.taint(), opened.tta()
    adapted: dict[str, Any] = {"bn_adapt": True, "bn_batch": job.bn_batch} if job.bn_adapt else {}
    adapted |= {"clips": job.clips} if job.clips else {}
    inputs = {
        "checkpoint": trained.digest,
        "data": stored_digest(job.data),
        "split": parts.digest,
    }
    config: dict[str, Any] = {"subset": job.subset, "flip": opened.mirrored, "batch_size": job.batch_size}
    config |= adapted | part.facts(len(present), len(opened.present))
    digest = write_logits(
        out,
        clip_ids=opened.clip_ids[mine],
        values=values,
        present=present,
        class_names=parts.class_names,
        vocabulary=parts.vocabulary,
        dataset=parts.dataset,
        labels=labels,
        model=trained.model,
        modality=trained.modality,
        branch=trained.branch,
        tta=tta,
        seed=trained.seed,
        taint=taint,
        checkpoint_digest=trained.digest,
        provenance=Provenance(command="mg predict", config=config, inputs=inputs),
    )
    result = {
        "logits": str(out),
        "digest": digest,
        "branch": trained.key,
        "subset": job.subset,
        "clips": len(present),
        "present": int(present.sum()),
        "tta": tta,
        "bn_adapt": job.bn_adapt,
    }
    note = ", BatchNorm statistics of these clips" if job.bn_adapt else ""
    text = f"{trained.key}: {len(present)} clips of '{job.subset}', tta {tta}{note}\n{out}"
    if features is not None and present.any():
        assert answers.features is not None
        about: dict[str, Any] = {"subset": job.subset, "batch_size": job.batch_size, **adapted}
        about |= {"model": trained.model, "modality": trained.modality, "branch": trained.branch}
        about |= part.facts(int(present.sum()), int(opened.present.sum()))
        result["features"] = str(features)
        result["features_digest"] = write_features(
            features,
            clip_ids=opened.clip_ids[mine][present],
            features={FEATURE: answers.features},
            dataset=parts.dataset,
            labels=None if labels is None else labels[present],
            class_names=parts.class_names,
            vocabulary=parts.vocabulary,
            taint=taint,
            provenance=Provenance(command="mg predict --features", config=about, inputs=inputs),
        )
        text += f"\n{features}: {answers.features.shape[1]} numbers a clip"
    return StageResult(data=result, text=text)


def check_fit(path: Path, trained: Checkpoint, parts: SplitStore, data: Path, modality: Modality) -> None:
    """Raise StoreError for a checkpoint of other classes or of another input than these stores'."""
    if trained.class_names != parts.class_names:
        found, wanted = len(trained.class_names), len(parts.class_names)
        raise StoreError(
            path, f"its {found} classes are not the {wanted} of {parts.path}", "they must be equal, in order"
        )
    check_input(trained, data, modality)


def check_input(trained: Checkpoint, data: Path, modality: Modality) -> None:
    """Raise StoreError for data whose samples are not what the checkpoint was trained on."""
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
