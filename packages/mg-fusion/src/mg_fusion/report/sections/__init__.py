"""The parts of the report, in the order of the page: each reads what it needs, or says what is missing.

A section is one module with ``build(run) -> dict`` and one template of the same name. Figures that
metrics.json holds are taken from there; the rest is computed by the functions behind ``mg score`` and
``mg fuse``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mg_fusion.report.run import Run
from mg_fusion.report.sections import (
    branches,
    classes,
    confusion,
    embedding,
    headline,
    landscape,
    long_tail,
    provenance,
    pseudo,
    reliability,
    results,
    subjects,
    training,
    vetoes,
    vote,
)


@dataclass(frozen=True)
class Section:
    """One part of the page; ``key`` is its place in the page and the name of its template."""

    key: str
    title: str
    build: Callable[[Run], Mapping[str, Any]]


SECTIONS = (
    Section("headline", "Result", headline.build),
    Section("results", "Before and after pseudo-labels", results.build),
    Section("branches", "Branches", branches.build),
    Section("classes", "F1 by class, most frequent first", classes.build),
    Section("long_tail", "Long tail", long_tail.build),
    Section("confusion", "Confusion matrix", confusion.build),
    Section("subjects", "Accuracy by person", subjects.build),
    Section("reliability", "Reliability before and after temperature", reliability.build),
    Section("vote", "Vote", vote.build),
    Section("landscape", "Search landscape", landscape.build),
    Section("vetoes", "Veto effect", vetoes.build),
    Section("pseudo", "Pseudo-labels", pseudo.build),
    Section("training", "Training curves", training.build),
    Section("embedding", "Features and anchors", embedding.build),
    Section("provenance", "Provenance", provenance.build),
)
