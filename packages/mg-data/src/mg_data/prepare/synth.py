"""``mg data synth``: a synthetic corpus in the challenge's file layouts, for demonstrations and tests."""

from __future__ import annotations

import re
from pathlib import Path

from mg_data.contract import Console, StageResult, UsageError
from mg_data.prepare.extras import require


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", str(text))
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(height, width) < 64 or height % 2 or width % 2:
        raise UsageError(f"data synth: --size is '{text}', wanted HEIGHTxWIDTH, even numbers of at least 64")
    return height, width


def synth(
    *,
    out: Path,
    clips: int = 400,
    subjects: int = 8,
    videos_per_subject: int = 2,
    classes: int = 32,
    size: str = "1280x720",
    fps: float = 25.0,
    seed: int = 0,
    workers: int = 1,
    console: Console,
) -> StageResult:
    """Write the corpus to the folder ``out``, which appears when it is complete.

    Labels follow the convention ``raw`` (1..31 and 99). A folder written by an earlier call is replaced.

    Raises:
        UsageError: a value out of range, or ``out`` exists and is no synthetic corpus.
    """
    require("data synth", "cv2", "av")
    from mg_data.datasets.synthetic.corpus import CorpusPlan, write_corpus

    height, width = _parse_size(size)
    for name, value, low, high in (
        ("clips", clips, 1, 1_000_000),
        ("subjects", subjects, 1, 10_000),
        ("videos-per-subject", videos_per_subject, 1, 1000),
        ("classes", classes, 1, 32),
        ("fps", fps, 1, 240),
    ):
        if not low <= value <= high:
            raise UsageError(f"data synth: --{name} is {value}, wanted {low} to {high}")
    plan = CorpusPlan(
        clips=clips,
        subjects=subjects,
        videos_per_subject=videos_per_subject,
        classes=classes,
        height=height,
        width=width,
        fps=fps,
        seed=seed,
    )
    with console.progress("synth", clips) as bar:
        facts = write_corpus(out, plan, bar.advance, workers)
    text = (
        f"{out}: {facts['clips']} clips of {subjects} subjects in {facts['videos']} videos, "
        f"{facts['frames']} frames of {width}x{height}"
    )
    return StageResult(data=facts, text=text)
