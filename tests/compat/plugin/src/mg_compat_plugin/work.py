"""What the records name: imported when it is used."""

import json
from functools import partial

import numpy as np

from mg_data.contract import (
    ClipSource,
    DataError,
    DatasetImport,
    Dropped,
    InputSpec,
    ModelOutput,
    PseudoLabels,
    RawClip,
    StageResult,
    UsageError,
)
from mg_data.store import open_clips, open_store, publish_json


def _read(number, count):
    """Clips of one video; the third video has a damaged one."""
    clips = []
    for clip in range(count):
        frames = 3 + clip
        joints = np.zeros((frames, 1, 3, 3), np.float32)
        joints[..., 0] = number + 1 + np.arange(frames).reshape(-1, 1, 1)
        joints[..., 2] = 1
        clips.append(
            RawClip(
                clip_id=f"v{number}_{clip}",
                subject_id=f"s{number}",
                video_id=f"v{number}",
                start=10 * clip,
                stop=10 * clip + frames,
                joints=joints,
                label=clip % 2,
                signals={"pulse": np.full((2 * frames, 1), number, np.float32)},
            )
        )
    dropped = [Dropped(what="v2_9", why="is a note", note=True)] if number == 2 else []
    return clips, dropped


def import_toy(source, *, clips=6):
    if clips < 1:
        raise UsageError(f"compat-toy: clips is {clips}, wanted at least 1")
    if not source.is_dir():
        raise DataError(f"{source}: is no folder")
    return DatasetImport(
        class_names=("wave", "nod"),
        vocabulary="compat-2",
        layout="compat-three",
        columns=("x", "y", "confidence"),
        image_size=(64, 48),
        sources=[
            ClipSource(name=f"v{number}", read=partial(_read, number, clips // 3), clips=clips // 3, files=())
            for number in range(3)
        ],
        camera=None,
        signals={"pulse": {"rate_hz": 50.0, "units": "bpm"}},
        dropped=[],
    )


class ToyFrames:
    def __init__(self, root, stream):
        self.root, self.stream = root, stream

    def frames(self, video_id, start, stop):
        for number in range(start, stop):
            yield np.full((48, 64, 3), number % 256, np.uint8)


class MiddlePose:
    def __init__(self, *, confidence=1.0):
        self.confidence = confidence

    def estimate(self, frames, fps):
        for frame in frames:
            height, width = frame.shape[:2]
            yield np.array([[[width / 2, height / 2, self.confidence]] * 3], np.float32)


class MeanPose:
    def __init__(self, path, *, scale=1.0):
        self.store, self.scale = open_clips(path), scale
        self.clip_ids = self.store.clip_ids
        self.input = InputSpec(kind="keypoints", shape=(3, 1, 3), layout=self.store.layout)

    def sample(self, clip_id, rng):
        (row,) = self.store.rows([clip_id])
        joints = self.store.joints(int(row))[:, 0]
        frames = joints if rng is None else joints[rng.integers(0, len(joints), 1)]
        return (self.scale * frames.mean(axis=0, keepdims=True)).transpose(2, 0, 1).astype(np.float32)

    def views(self, clip_id):
        return [self.sample(clip_id, None)]

    def flip(self, sample):
        flipped = sample[:, :, [0, 2, 1]].copy()
        flipped[0] = -flipped[0]
        return flipped


def build_linear(num_classes, *, input, bias=True):
    import torch

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(int(np.prod(input.shape)), num_classes, bias=bias)

        def forward(self, batch):
            feature = batch.flatten(1)
            return ModelOutput(logits=self.head(feature), feature=feature)

    return Linear()


def build_loss(*, class_counts):
    import torch

    class Loss(torch.nn.Module):
        def forward(self, output, target):
            return torch.nn.functional.cross_entropy(output.logits, target)

    return Loss()


def top(scores, *, count=2):
    confidence = scores.probs.max(axis=1)
    rows = np.sort(np.argsort(-confidence, kind="stable")[:count])
    return PseudoLabels(
        rows=rows.astype(np.int64),
        labels=scores.probs[rows].argmax(axis=1).astype(np.int32),
        confidence=confidence[rows].astype(np.float32),
    )


def _probs(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def median(logits, present):
    middle = np.nanmedian(np.where(present[..., None], _probs(logits), np.nan), axis=0)
    return middle / middle.sum(axis=-1, keepdims=True)


def fit_best(logits, labels, present):
    right = (logits.argmax(axis=-1) == labels) & present
    return {"model": int(right.sum(axis=1).argmax())}


def best(logits, present, *, fitted):
    return _probs(logits[fitted["model"]])


class Nowhere:
    def __init__(self, folder):
        self.folder = folder

    def scalars(self, epoch, values):
        json.dumps([epoch, dict(values)])

    def close(self):
        pass


def count(*, console, store, out):
    found = open_store(store)
    found.close()
    publish_json(out, {"clips": len(found)})
    console.say(f"counted {store}")
    return StageResult(data={"clips": len(found)}, text=f"{len(found)} clips")


def hello(*, console, names=(), times=1, loud=False, tone="kind", more=None, weight=0.5):
    console.warn("this is a greeting")
    with console.progress("greeting", times) as progress:
        for _ in range(times):
            progress.advance(1)
    text = ", ".join(["hello", *names] * times)
    return StageResult(
        data={"tone": tone, "more": more, "weight": weight}, text=text.upper() if loud else text
    )
