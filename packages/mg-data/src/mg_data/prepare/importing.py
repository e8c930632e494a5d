"""``mg data import``: any registered importer -> a clips store, and labels.csv where clips have labels.

``mg data merge-labels`` joins the labels of its shards.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_data.contract import (
    ClipSource,
    Console,
    DataError,
    DatasetImport,
    DatasetSpec,
    Dropped,
    RawClip,
    StageResult,
    UsageError,
)
from mg_data.labels import join_labels, write_labels
from mg_data.plugins import registry, resolve
from mg_data.prepare.extras import check_flags, check_option_names
from mg_data.prepare.parallel import Parts, Shard, Work, fingerprint, is_complete, report_dropped
from mg_data.store import ClipsWriter, Provenance, open_clips

_COMMAND = "mg data import"
UnitResult = tuple[list[RawClip], list[Dropped]]


def _open(spec: DatasetSpec, source: Path, options: Mapping[str, Any]) -> DatasetImport:
    """Call the importer with checked options."""
    check_option_names(f"data set '{spec.name}'", options, spec.options)
    check_flags(f"data set '{spec.name}'", options, spec.options)
    if not source.exists():
        raise DataError(f"{source}: does not exist (the raw tree of '{spec.name}')")
    result = resolve(spec.factory)(source, **{**spec.options, **options})
    assert isinstance(result, DatasetImport)
    return result


def _read(unit: ClipSource) -> UnitResult:
    return unit.read()


def _writer(path: Path, name: str, data: DatasetImport, provenance: Provenance) -> ClipsWriter:
    return ClipsWriter(
        path,
        dataset=name,
        class_names=data.class_names,
        vocabulary=data.vocabulary,
        layout=data.layout,
        columns=data.columns,
        image_size=data.image_size,
        camera=data.camera,
        signals=data.signals,
        provenance=provenance,
    )


def _add(writer: ClipsWriter, clip: RawClip) -> None:
    writer.add(
        clip_id=clip.clip_id,
        subject_id=clip.subject_id,
        video_id=clip.video_id,
        start=clip.start,
        stop=clip.stop,
        joints=clip.joints,
        signals=clip.signals,
    )


def _parts(out: Path, name: str, data: DatasetImport) -> Parts[UnitResult]:
    """Keep the units of a resumable run as small clips stores; their labels stand in the provenance."""

    def save(result: UnitResult, path: Path) -> None:
        clips, dropped = result
        if not clips:
            return
        config = {
            "labels": [clip.label for clip in clips],
            "dropped": [[item.what, item.why, item.note] for item in dropped],
        }
        with _writer(path, name, data, Provenance(command=_COMMAND, config=config)) as writer:
            for clip in clips:
                _add(writer, clip)

    def load(path: Path) -> UnitResult:
        store = open_clips(path)
        config = store.provenance.config
        clips = [
            RawClip(
                clip_id=str(store.clip_ids[row]),
                subject_id=str(store.subject_ids[row]),
                video_id=str(store.video_ids[row]),
                start=int(store.start[row]),
                stop=int(store.stop[row]),
                joints=store.joints(row) if store.layout else None,
                label=int(label),
                signals={signal: store.signal(signal, row) for signal in store.signal_names},
            )
            for row, label in enumerate(config["labels"])
        ]
        store.close()
        return clips, [Dropped(what=what, why=why, note=note) for what, why, note in config["dropped"]]

    return Parts.beside(out, save, load)


@dataclass
class _Tally:
    """What was written, for labels.csv and the report."""

    clip_ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    frames: int = 0

    def add(self, clip: RawClip) -> None:
        self.clip_ids.append(clip.clip_id)
        self.labels.append(clip.label)
        self.subjects.add(clip.subject_id)
        self.videos.add(clip.video_id)
        self.frames += clip.stop - clip.start


def _clips(
    data: DatasetImport, units: Sequence[ClipSource], work: Work[ClipSource, UnitResult]
) -> Iterator[tuple[RawClip | None, int]]:
    """Yield (clip, steps of the progress bar); None for steps that gave no clip.

    Raises:
        DataError: a clip that had to be left out, unless ``work.keep_going``.
    """

    def settle(dropped: list[Dropped]) -> None:
        lost = [item for item in dropped if not item.note]
        if lost and not work.keep_going:
            raise DataError(f"{lost[0].what}: {lost[0].why} (leave such clips out with --keep-going)")

    if units:
        for unit, (clips, dropped) in work(units):
            settle(dropped)
            work.dropped.extend(dropped)
            # A unit counts for as many clips as it was said to give, whatever it gives.
            for number, clip in enumerate(clips):
                yield clip, int(number < unit.clips)
            yield None, max(0, unit.clips - len(clips))
        return
    known = len(data.dropped)
    for clip in data.clips:
        settle(data.dropped[known:])
        yield clip, 1
    settle(data.dropped[known:])


def import_data(
    *,
    name: str,
    source: Path,
    out: Path,
    labels: Path | None = None,
    options: Mapping[str, Any] | None = None,
    collection: str = "",
    workers: int = 1,
    shard: str = "",
    keep_going: bool = False,
    resume: bool = False,
    console: Console,
) -> StageResult:
    """Write ``out`` (clips store) and ``labels`` (csv); either both appear or none does.

    Args:
        name: a registered data set. source: its raw tree. options: options of its importer.
        labels: None if no clip has a label.
        collection: which recordings these are, for importers that read anybody's: the store's data set is
            then ``NAME:COLLECTION``, so that clips of one id in two collections are different clips.
        workers: processes that read recordings; the store's digest does not depend on it.
        shard: ``i/n`` reads only the recordings of this part (by the hash of their name).
        keep_going: leave out what cannot be read, and report it, instead of stopping there.
        resume: keep each finished recording in ``<out>.parts`` until all are, and start from what is there.

    Raises:
        PluginError: no such data set. UsageError: an option it does not have, or a label and no ``labels``.
        DataError: the tree cannot be used, or a clip of it, or not one clip. StoreError: writing failed.
    """
    spec: DatasetSpec = registry().get("datasets", name)
    part = Shard.parse(shard)
    chosen = {**spec.options, **(options or {})}
    if not re.fullmatch(r"[^:\x00-\x1f\ud800-\udfff]*", collection):
        raise UsageError(
            f"--collection is '{collection}', wanted a name in UTF-8 without ':' and control characters"
        )
    dataset = f"{name}:{collection}" if collection else name
    data = _open(spec, source, dict(options or {}))
    units = [unit for unit in data.sources if part.holds(unit.name)]
    if part.count > 1 and not data.sources:
        raise UsageError(f"data set '{name}' is read in one piece: --shard is not for it")
    if data.sources and not units:
        text = f"shard {part} holds none of the {len(data.sources)} recordings: nothing is written"
        return StageResult(data={"clips": 0, "shard": str(part)}, text=text)
    config = {"name": dataset, "options": chosen, **part.facts(len(units), len(data.sources))}
    files = [path for unit in units for path in unit.files]
    # What decides about every clip beside the options: a list of classes read from a file, the first video.
    about = (data.class_names, data.vocabulary, data.layout, data.columns, data.image_size, data.camera)
    rates = {"fps": dict(data.frame_rates)} if data.frame_rates else {}
    provenance = Provenance(
        command=_COMMAND,
        config={**config, **rates},
        inputs={"files": fingerprint([config, about], files)} if files else {},
    )
    labelled = labels is None or labels.is_file()
    if resume and files and labelled and is_complete(out, provenance):
        _parts(out, dataset, data).remove_if_free()
        return StageResult(data={"complete": True}, text=f"{out}: is complete, nothing to do")
    work: Work[ClipSource, UnitResult] = Work(
        _read,
        lambda unit: unit.name,
        workers=workers,
        keep_going=keep_going,
        parts=_parts(out, dataset, data) if resume else None,
        key_of=lambda unit: fingerprint([config, about, unit.name], unit.files),
    )
    tally = _Tally()
    said = len(data.dropped)
    total = sum(unit.clips for unit in units) if data.sources else data.total
    # Both are whole before either gets its name, the labels first: to --resume the store says that all is
    # done.
    with (
        work.held(),
        _writer(out, dataset, data, provenance) as writer,
        console.progress(f"import {name}", total) as bar,
    ):
        labels_file = None if labels is None else writer.beside(labels)
        for clip, steps in _clips(data, units, work):
            if clip is not None:
                if labels is None and clip.label >= 0:
                    raise UsageError(f"clip '{clip.clip_id}' has a label: give --labels, a csv to write")
                _add(writer, clip)
                tally.add(clip)
            bar.advance(steps)
        dropped = [*data.dropped, *work.dropped]
        if not tally.clip_ids:
            # What the import met comes before what the importer said of the tree as a whole.
            met = [*work.dropped, *data.dropped[said:], *data.dropped[:said]]
            lost = [item for item in met if not item.note]
            why = f", the first reason: {lost[0].what}: {lost[0].why}" if lost else ""
            raise DataError(f"{source}: not one clip of '{name}' could be imported{why}")
        if labels_file is not None:
            write_labels(labels_file, tally.clip_ids, tally.labels, data.class_names)
    report_dropped(dropped, console)
    return _result(out, labels, tally, writer.digest, dropped, work.resumed)


def _result(
    out: Path, labels: Path | None, tally: _Tally, digest: str, dropped: list[Dropped], resumed: int
) -> StageResult:
    counts = Counter(tally.labels)
    subjects = len(tally.subjects - {""})
    text = (
        f"{out}: {len(tally.clip_ids)} clips of {subjects} known subjects in {len(tally.videos)} videos, "
        f"{tally.frames} frames"
    )
    if labels is not None:
        known = len(tally.labels) - counts.get(-1, 0)
        text += f"\n{labels}: {known} labels of {len(set(tally.labels) - {-1})} classes"
    return StageResult(
        data={
            "clips": len(tally.clip_ids),
            "subjects": subjects,
            "videos": len(tally.videos),
            "frames": tally.frames,
            "unlabelled": counts.get(-1, 0),
            "digest": digest,
            "dropped": [{"what": item.what, "why": item.why} for item in dropped if not item.note],
            "notes": [{"what": item.what, "why": item.why} for item in dropped if item.note],
            "resumed": resumed,
        },
        text=text,
    )


def merge_labels(*, paths: list[Path], out: Path, console: Console) -> StageResult:
    """Join the labels.csv files of shards.

    Raises:
        DataError: a file that is no labels.csv, or a clip in two of them.
    """
    count = join_labels(paths, out)
    return StageResult(data={"clips": count}, text=f"{out}: {count} clips of {len(paths)} files")
