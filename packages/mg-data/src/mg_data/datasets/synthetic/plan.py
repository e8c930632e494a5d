"""Who does what in which video: class counts, people, the challenge's division into train, val and test."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.motion import GESTURES

#: Training clips of the challenge by class: the long tail that the corpus follows.
TRAIN_COUNTS = (
    10, 393, 38, 199, 80, 23, 57, 824, 80, 3, 284, 137, 97, 41, 26, 24,
    304, 82, 1, 887, 157, 360, 656, 690, 11, 280, 84, 60, 1155, 6, 2079, 3765,
)  # fmt: skip
#: Validation clips of the challenge by class; several classes have none.
VAL_COUNTS = (
    0, 25, 1, 8, 0, 0, 7, 34, 7, 0, 18, 17, 0, 0, 2, 3,
    18, 1, 1, 55, 13, 13, 1, 10, 0, 7, 3, 0, 82, 0, 193, 258,
)  # fmt: skip
#: Clips of the challenge's test list; how they spread over classes is not public.
TEST_CLIPS = 4562
TRAIN_VIDEOS, VAL_VIDEOS, TEST_VIDEOS = 241, 10, 104
SOURCE_PEOPLE, TEST_PEOPLE = 37, 35
CORPUS_VERSION = 2

Part = Literal["train", "val", "test"]
Keypoints = Literal["both", "openpose", "light_hand"]
Scene = Literal["studio", "press"]
# Names of random streams: each is a child of the seed, so that one part never changes another.
PLAN_STREAM, STYLE_STREAM, VIDEO_STREAM, DRESS_STREAM, PRESS_STREAM = range(5)


@dataclass(frozen=True)
class CorpusPlan:
    """What to write; the corpus is a function of this record alone.

    Args:
        clips, subjects, videos_per_subject, classes: sizes, unless ``scale`` decides them.
        height, width: of the frames in pixels.
        scale: share of the challenge's clips; 0 goes by ``clips``. See :func:`scaled`.
        keypoints: which keypoint files are written. video: whether frames are.
        scene: ``studio`` is a wall of patches behind plain clothes; ``press`` a table before a wall of
            boards, with patterned clothes, people of more kinds, and cameras farther away.
        occlusion: share of clips in which something hides a hand, movers: share of videos with motion
            behind the person (both in the scene ``press`` only).
        pause: seconds, on average, that a person sits still between two clips, on top of a few frames.
    """

    clips: int
    subjects: int
    videos_per_subject: int
    classes: int
    height: int
    width: int
    fps: float
    seed: int
    scale: float = 0.0
    keypoints: Keypoints = "both"
    video: bool = True
    scene: Scene = "studio"
    occlusion: float = 0.0
    movers: float = 0.0
    pause: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what corpus.json keeps: the options of the first version always, later ones where used."""
        later = {name: field.default for name, field in self.__dataclass_fields__.items()}
        first = list(self.__dataclass_fields__)[:8]
        return {name: value for name, value in asdict(self).items() if name in first or value != later[name]}

    @property
    def version(self) -> int:
        """Version of the corpus: 1 as long as nothing is used that came later."""
        return CORPUS_VERSION if len(self.to_json()) > 8 else 1


@dataclass(frozen=True)
class Video:
    """One video before it is drawn: classes of its clips in their order, its part of the challenge."""

    video_id: str
    subject: int
    labels: tuple[int, ...]
    part: Part = "train"


def class_counts(num_clips: int, num_classes: int) -> NDArray[np.int64]:
    """Return (32,) clips of each class: the challenge's proportions, at least one of each while clips last.

    ``num_classes`` keeps the most frequent classes only.
    """
    weights = np.array(TRAIN_COUNTS, np.float64)
    used = np.argsort(-weights, kind="stable")[:num_classes]
    counts = np.zeros(len(weights), np.int64)
    counts[used[:num_clips]] = 1
    left = num_clips - int(counts.sum())
    share = np.zeros_like(weights)
    share[used] = left * weights[used] / weights[used].sum()
    counts += np.floor(share).astype(np.int64)
    rest = np.argsort(np.floor(share) - share, kind="stable")[: num_clips - int(counts.sum())]
    counts[rest] += 1
    return counts


def scaled_counts(reference: tuple[int, ...], total: int) -> NDArray[np.int64]:
    """Share ``total`` clips out in the proportions of ``reference``, (32,).

    Largest remainders: each class gets the whole part of its quota, and what is left goes to the largest
    fractions. Then each class that the reference has but the result lacks, the most frequent first, takes
    one clip from the class that has most, as long as that one has two. ``total = sum(reference)`` gives
    the reference itself.
    """
    weights = np.array(reference, np.int64)
    # Whole numbers throughout, so that equal totals give equal counts on every machine.
    counts, remainder = np.divmod(weights * total, weights.sum())
    counts[np.argsort(-remainder, kind="stable")[: total - int(counts.sum())]] += 1
    for label in np.argsort(-weights, kind="stable"):
        fullest = int(np.argmax(counts))
        if weights[label] and not counts[label] and counts[fullest] > 1:
            counts[fullest] -= 1
            counts[label] += 1
    return counts


@dataclass(frozen=True)
class _Share:
    """One part of a scaled corpus; its people are numbered from ``first``."""

    part: Part
    counts: NDArray[np.int64]
    videos: int
    first: int
    people: int


def _round(value: float) -> int:
    """Round half up, at least 1."""
    return max(1, math.floor(value + 0.5))


def scaled(scale: float) -> Iterator[_Share]:
    """Yield train, val and test of the challenge, smaller or larger.

    Clips and videos are rounded half up and are at least 1. All 37 people of train and 35 of test stay as
    long as each has a clip, so there are at least as many videos as people. Validation keeps the classes it
    has in the challenge and is made of other videos of people of train, as it is there; test follows train's
    proportions, since those of the challenge are not public.
    """
    train, val = _round(scale * sum(TRAIN_COUNTS)), _round(scale * sum(VAL_COUNTS))
    test = _round(scale * TEST_CLIPS)
    train_videos = min(train, max(_round(scale * TRAIN_VIDEOS), SOURCE_PEOPLE))
    test_videos = min(test, max(_round(scale * TEST_VIDEOS), TEST_PEOPLE))
    people = min(SOURCE_PEOPLE, train_videos)
    yield _Share("train", scaled_counts(TRAIN_COUNTS, train), train_videos, 0, people)
    val_videos = min(val, _round(scale * VAL_VIDEOS))
    yield _Share("val", scaled_counts(VAL_COUNTS, val), val_videos, 0, people)
    people = min(TEST_PEOPLE, test_videos)
    yield _Share("test", scaled_counts(TRAIN_COUNTS, test), test_videos, SOURCE_PEOPLE, people)


def plan_videos(plan: CorpusPlan) -> list[Video]:
    """Deal the clips to people and videos; videos without a clip are left out."""
    rng = np.random.default_rng([plan.seed, PLAN_STREAM])
    if plan.scale:
        shares = list(scaled(plan.scale))
    else:
        counts = class_counts(plan.clips, plan.classes)
        num_videos = plan.subjects * plan.videos_per_subject
        shares = [_Share("train", counts, num_videos, 0, plan.subjects)]
    videos: list[Video] = []
    for share in shares:
        labels = rng.permutation(np.repeat(np.arange(len(GESTURES)), share.counts))
        # Subjects take turns, so that fewer clips than videos still reach every subject.
        for index in range(min(share.videos, len(labels))):
            subject = share.first + index % share.people
            classes = tuple(labels[index :: share.videos].tolist())
            videos.append(Video(f"{len(videos) + 1:04d}", subject, classes, share.part))
    return videos


def subject_id(subject: int) -> str:
    """Return the id of the subject with this number, counted from 0."""
    return f"s{subject + 1:02d}"


def side_files(videos: list[Video], scaled: bool) -> dict[str, str]:
    """Return name -> text of the lists beside the videos' folders.

    ``subjects.csv`` always; a scaled corpus also has the challenge's lists, one id a line, and a protocol for
    ``mg data split`` made of them.
    """
    rows = "".join(f"{video.video_id},{subject_id(video.subject)}\n" for video in videos)
    files = {"subjects.csv": "video_id,subject_id\n" + rows}
    if not scaled:
        return files
    protocol = "# The challenge's division: val is made of people of train, the people of test are unseen.\n"
    parts: tuple[tuple[str, Part], ...] = (("train", "train"), ("val", "val"), ("target", "test"))
    for name, part in parts:
        chosen = [video.video_id for video in videos if video.part == part]
        files[f"{part}_videos.txt"] = "".join(f"{video_id}\n" for video_id in chosen)
        protocol += f'\n[{name}]\nvideos_file = "{part}_videos.txt"\n'
    files["protocol.toml"] = protocol
    files["test_ids.txt"] = "".join(
        f"{video.video_id}_{row}\n"
        for video in videos
        if video.part == "test"
        for row in range(len(video.labels))
    )
    return files
