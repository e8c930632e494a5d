"""``mg data import``: any registered importer -> a clips store, and labels.csv beside it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mg_data.contract import Console, DataError, DatasetImport, DatasetSpec, StageResult, UsageError
from mg_data.labels import write_labels
from mg_data.plugins import registry, resolve
from mg_data.store import ClipsWriter, Provenance, publish

_SHOWN = 20


def _open(spec: DatasetSpec, source: Path, options: Mapping[str, Any]) -> DatasetImport:
    """Call the importer with checked options."""
    for name in options:
        if name not in spec.options:
            close = difflib.get_close_matches(name, spec.options, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(spec.options) or 'none'}"
            raise UsageError(f"data set '{spec.name}' has no option '{name}' ({hint})")
    if not source.exists():
        raise DataError(f"{source}: does not exist (the raw tree of '{spec.name}')")
    result = resolve(spec.factory)(source, **{**spec.options, **options})
    assert isinstance(result, DatasetImport)
    return result


def import_data(
    *,
    name: str,
    source: Path,
    out: Path,
    labels: Path,
    options: Mapping[str, Any] | None = None,
    console: Console,
) -> StageResult:
    """Write ``out`` (clips store) and ``labels`` (csv); either both appear or none does.

    Args:
        name: a registered data set. source: its raw tree. options: options of its importer.

    Raises:
        PluginError: no such data set. UsageError: an option it does not have.
        DataError: the tree cannot be used, or not one clip of it. StoreError: writing failed.
    """
    spec: DatasetSpec = registry().get("datasets", name)
    chosen = dict(options or {})
    data = _open(spec, source, chosen)
    clip_ids: list[str] = []
    truth: list[int] = []
    subjects: set[str] = set()
    videos: set[str] = set()
    frames = 0
    # The labels' temporary file is written while the store is still unpublished, so that an error in either
    # leaves neither behind; what remains after both are complete is two renames.
    with publish(labels) as labels_file:
        writer = ClipsWriter(
            out,
            dataset=name,
            class_names=data.class_names,
            vocabulary=data.vocabulary,
            layout=data.layout,
            columns=data.columns,
            image_size=data.image_size,
            camera=data.camera,
            signals=data.signals,
            provenance=Provenance(
                "mg data import", {"name": name, "options": {**spec.options, **chosen}}, {}
            ),
        )
        with writer, console.progress(f"import {name}", data.total) as bar:
            for clip in data.clips:
                writer.add(
                    clip_id=clip.clip_id,
                    subject_id=clip.subject_id,
                    video_id=clip.video_id,
                    start=clip.start,
                    stop=clip.stop,
                    joints=clip.joints,
                    signals=clip.signals,
                )
                clip_ids.append(clip.clip_id)
                truth.append(clip.label)
                subjects.add(clip.subject_id)
                videos.add(clip.video_id)
                frames += clip.stop - clip.start
                bar.advance()
            if not clip_ids:
                why = (
                    f", the first reason: {data.dropped[0].what}: {data.dropped[0].why}"
                    if data.dropped
                    else ""
                )
                raise DataError(f"{source}: not one clip of '{name}' could be imported{why}")
            write_labels(labels_file, clip_ids, truth, data.class_names)
    for item in data.dropped[:_SHOWN]:
        console.warn(f"left out {item.what}: {item.why}")
    if len(data.dropped) > _SHOWN:
        console.warn(f"left out {len(data.dropped) - _SHOWN} more (all are listed with --json)")
    counts = Counter(truth)
    known_subjects = len(subjects - {""})
    text = (
        f"{out}: {len(clip_ids)} clips of {known_subjects} known subjects in {len(videos)} videos, "
        f"{frames} frames\n"
        f"{labels}: {len(truth) - counts.get(-1, 0)} labels of {len(set(truth) - {-1})} classes"
    )
    return StageResult(
        data={
            "clips": len(clip_ids),
            "subjects": known_subjects,
            "videos": len(videos),
            "frames": frames,
            "unlabelled": counts.get(-1, 0),
            "digest": writer.digest,
            "dropped": [{"what": item.what, "why": item.why} for item in data.dropped],
        },
        text=text,
    )
