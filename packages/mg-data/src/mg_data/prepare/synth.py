"""``mg data synth``: a synthetic corpus in the challenge's file layouts, for demonstrations and tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mg_data.contract import Console, StageResult, UsageError
from mg_data.prepare.extras import require

if TYPE_CHECKING:
    from mg_data.datasets.synthetic.plan import CorpusPlan

_KEYPOINTS = ("both", "openpose", "light_hand")
_SCENES = ("studio", "press")
_CHALLENGE_SIZE = (1280, 720)
#: The scene ``press`` unless it is told: share of clips with an occlusion, of videos with motion behind.
_OCCLUSION, _MOVERS = 0.15, 0.6


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", str(text))
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(height, width) < 64 or height % 2 or width % 2:
        raise UsageError(f"data synth: --size is '{text}', wanted HEIGHTxWIDTH, even numbers of at least 64")
    return height, width


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"data synth: --{name} is {value}, wanted {low} to {high}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"data synth: --{name} is '{value}', wanted one of: {', '.join(choices)}")


def synth(
    *,
    out: Path,
    scale: float | None = None,
    clips: int | None = None,
    subjects: int | None = None,
    videos_per_subject: int | None = None,
    classes: int | None = None,
    size: str = "1280x720",
    fps: float = 25.0,
    keypoints: str = "both",
    video: bool = True,
    scene: str | None = None,
    occlusion: float | None = None,
    movers: float | None = None,
    pause: float = 0.0,
    seed: int = 0,
    workers: int = 1,
    console: Console,
) -> StageResult:
    """Write the corpus to the folder ``out``, which appears when it is complete.

    Labels follow the convention ``raw`` (1..31 and 99). A folder written by an earlier call is replaced.
    Either ``scale`` decides the sizes (the challenge's classes, people, videos and lists) or ``clips`` and
    its companions do.

    Raises:
        UsageError: a value out of range, two options that exclude each other, or ``out`` exists and is no
            synthetic corpus.
        StoreError: the disk is too small, or the folder cannot be written.
    """
    height, width = _parse_size(size)
    _one_of("keypoints", keypoints, _KEYPOINTS)
    scene = scene or ("studio" if scale is None else "press")
    _one_of("scene", scene, _SCENES)
    press = scene == "press"
    sizes = {
        "clips": (clips, 400, 1_000_000),
        "subjects": (subjects, 8, 10_000),
        "videos-per-subject": (videos_per_subject, 2, 1000),
        "classes": (classes, 32, 32),
    }
    given = [name for name, (value, _, _) in sizes.items() if value is not None]
    if scale is not None and given:
        raise UsageError(f"data synth: --scale decides the sizes, so --{given[0]} cannot be given with it")
    if scale is not None:
        _within("scale", scale, 0.0001, 10.0)
    number: dict[str, int] = {}
    for name, (value, default, high) in sizes.items():
        number[name] = default if value is None else value
        _within(name, number[name], 1, high)
    shares = {"occlusion": (occlusion, _OCCLUSION), "movers": (movers, _MOVERS)}
    share: dict[str, float] = {}
    for name, (chosen, usual) in shares.items():
        if chosen and not press:
            raise UsageError(f"data synth: --{name} needs --scene press")
        share[name] = (usual if press else 0.0) if chosen is None else chosen
        _within(name, share[name], 0, 1)
    _within("fps", fps, 1, 240)
    _within("pause", pause, 0, 60)
    _within("workers", workers, 1, 1024)
    _within("seed", seed, 0, 2**63)
    if video:
        require("data synth", "cv2", "av")
    from mg_data.datasets.synthetic.plan import CorpusPlan

    plan = CorpusPlan(
        clips=number["clips"] if scale is None else 0,
        subjects=number["subjects"] if scale is None else 0,
        videos_per_subject=number["videos-per-subject"] if scale is None else 0,
        classes=number["classes"],
        height=height,
        width=width,
        fps=fps,
        seed=seed,
        scale=scale or 0.0,
        keypoints=keypoints,  # type: ignore[arg-type]  # checked above
        video=video,
        scene=scene,  # type: ignore[arg-type]  # checked above
        occlusion=share["occlusion"],
        movers=share["movers"],
        pause=pause,
    )
    if not video and (height, width) != _CHALLENGE_SIZE:
        console.warn(f"without videos an import takes the frames to be 1280x720, not {size}")
    return _write(out, plan, workers, console)


def _write(out: Path, plan: CorpusPlan, workers: int, console: Console) -> StageResult:
    from mg_data.datasets.synthetic.corpus import write_corpus
    from mg_data.datasets.synthetic.plan import plan_videos

    videos = plan_videos(plan)
    with console.progress("synth", sum(len(video.labels) for video in videos)) as bar:
        facts = write_corpus(out, plan, bar.advance, workers)
    people = len({video.subject for video in videos}) if plan.scale else plan.subjects
    text = f"{out}: {facts['clips']} clips of {people} subjects in {facts['videos']} videos, "
    text += f"{facts['frames']} frames of {plan.width}x{plan.height}"
    if plan.keypoints == "light_hand":
        text += f"\nimport it with: mg data import synthetic {out} --option keypoints=light_hand ..."
    return StageResult(data=facts, text=text)
