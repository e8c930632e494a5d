"""``mg data check``: what would spoil training or a score, found before either, listed in one report.

Errors make the command end with exit code 5, after the report was printed; warnings do not. One pass over
the keypoints, clip by clip, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.labels import read_label_table
from mg_data.prepare.check_motion import check_motion
from mg_data.store import ClipsStore, SplitStore, open_clips, open_streams, read_split
from mg_data.store.columns import read_text
from mg_data.store.reading import guarded, open_file

_SHOWN = 5
_SOURCE = ("train", "val")


class CheckError(DataError):
    """The data has errors; ``result`` is the report, which the command prints first."""


@dataclass
class Report:
    """Findings in the order in which they were made."""

    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, severity: str, check: str, what: str, items: Iterable[Any]) -> None:
        """Add a finding unless ``items`` (ids, subjects, classes ...) is empty; ``{n}`` is their number."""
        names = [str(item) for item in items]
        if names:
            text = what.replace("{n}", str(len(names)))
            self.findings.append(
                {"severity": severity, "check": check, "count": len(names), "what": text, "items": names}
            )

    def error(self, check: str, what: str, items: Iterable[Any]) -> None:
        """Add a finding that makes results wrong."""
        self.add("error", check, what, items)

    def warning(self, check: str, what: str, items: Iterable[Any]) -> None:
        """Add a finding that one should know of."""
        self.add("warning", check, what, items)

    def count(self, severity: str) -> int:
        """Return the number of findings of a severity."""
        return sum(finding["severity"] == severity for finding in self.findings)


def _duplicates(path: Path) -> list[str]:
    """Return the clip ids that a store holds more than once; such a store cannot be opened by rows."""
    with open_file(path) as file:
        ids = guarded(path, lambda: read_text(file, "index/clip_id"))
    unique, counts = np.unique(ids, return_counts=True)
    return [str(clip_id) for clip_id in unique[counts > 1]]


def _check_index(report: Report, clips: ClipsStore) -> None:
    """Spans that repeat, clips of one frame, unknown subjects."""
    spans: dict[tuple[str, str, int, int], list[str]] = {}
    columns = (clips.video_ids, clips.subject_ids, clips.start, clips.stop, clips.clip_ids)
    for video, subject, start, stop, clip_id in zip(*(column.tolist() for column in columns)):
        spans.setdefault((video, subject, start, stop), []).append(clip_id)
    repeated = [" = ".join(ids) for ids in spans.values() if len(ids) > 1]
    report.error("same-span", "{n} span(s) of a video stand under two or more clip ids", repeated)
    single = clips.clip_ids[clips.stop - clips.start == 1]
    report.warning("one-frame", "{n} clip(s) have one frame only", single)
    unknown = clips.clip_ids[clips.subject_ids == ""]
    report.warning(
        "unknown-subject", "{n} clip(s) have no known subject: only their videos can be kept apart", unknown
    )


def _check_labels(
    report: Report, clips: ClipsStore, table: dict[str, int], split: SplitStore | None
) -> NDArray[np.int64]:
    """Labels against the clips; return (N,) the label of each clip, -1 where there is none."""
    count = len(clips.class_names)
    wrong = [f"{clip_id} ({label})" for clip_id, label in table.items() if not -1 <= label < count]
    report.error("label-range", f"{{n}} label(s) are outside 0..{count - 1}", wrong)
    known = set(clips.clip_ids.tolist())
    strangers = [clip_id for clip_id in table if clip_id not in known]
    report.warning("label-of-unknown-clip", "{n} label(s) are of clips that the store lacks", strangers)
    truth = np.array([table.get(clip_id, -1) for clip_id in clips.clip_ids.tolist()], np.int64)
    bare = clips.clip_ids[truth == -1]
    truth[(truth < 0) | (truth >= count)] = -1
    if split is not None:  # the target may go without labels
        target = set(split.clip_ids[split.names == "target"].tolist())
        bare = np.array([clip_id for clip_id in bare.tolist() if clip_id not in target], np.str_)
    report.warning("no-label", "{n} clip(s) have no label", bare)
    return truth


def _check_overlaps(report: Report, clips: ClipsStore, truth: NDArray[np.int64]) -> None:
    """Clips of one person in one video that share frames and bear different labels."""
    order = np.lexsort((clips.start, clips.subject_ids, clips.video_ids))
    found: list[str] = []
    active: list[int] = []
    for row in order.tolist():
        active = [
            other
            for other in active
            if clips.stop[other] > clips.start[row]
            and clips.video_ids[other] == clips.video_ids[row]
            and clips.subject_ids[other] == clips.subject_ids[row]
        ][-50:]
        if truth[row] >= 0:
            found += [
                f"{clips.clip_ids[other]} ({truth[other]}) and {clips.clip_ids[row]} ({truth[row]})"
                for other in active
                if truth[other] not in (-1, truth[row])
            ]
        active.append(row)
    report.warning("overlap", "{n} pair(s) of clips of one video overlap and have different labels", found)


def _check_split(report: Report, clips: ClipsStore, split: SplitStore) -> NDArray[np.str_]:
    """People and videos on both sides; return (N,) the part of each clip, "" where it is in none."""
    known = set(clips.clip_ids.tolist())
    lacking = [clip_id for clip_id in split.clip_ids.tolist() if clip_id not in known]
    report.error("split-of-unknown-clip", "{n} clip(s) of the split are not in the clips store", lacking)
    named = dict(zip(split.clip_ids.tolist(), split.names.tolist()))
    parts = np.array([named.get(clip_id, "") for clip_id in clips.clip_ids.tolist()], np.str_)
    report.warning("in-no-part", "{n} clip(s) are in no part of the split", clips.clip_ids[parts == ""])
    for kind, column in (("subject", clips.subject_ids), ("video", clips.video_ids)):
        source = set(column[np.isin(parts, _SOURCE)].tolist()) - {""}
        target = set(column[parts == "target"].tolist())
        report.error(
            f"{kind}-in-target-and-source",
            f"{{n}} {kind}(s) are in the target and also in train or val: the target must be unseen",
            sorted(source & target),
        )
        both = set(column[parts == "train"].tolist()) & set(column[parts == "val"].tolist()) - {""}
        report.warning(
            f"{kind}-in-train-and-val", f"{{n}} {kind}(s) are in train and val: val flatters", sorted(both)
        )
    return parts


def _check_classes(
    report: Report,
    clips: ClipsStore,
    truth: NDArray[np.int64] | None,
    parts: NDArray[np.str_] | None,
    split: SplitStore | None,
) -> None:
    """Classes without a sample, by part; labels of the split that are not those of labels.csv."""
    given = np.full(len(clips), -1, np.int64) if truth is None else truth.copy()
    if split is not None:
        table = dict(zip(split.clip_ids.tolist(), split.labels.tolist()))
        stated = np.array([table.get(clip_id, -1) for clip_id in clips.clip_ids.tolist()], np.int64)
        if truth is not None:
            other = (stated >= 0) & (truth >= 0) & (stated != truth)
            report.error(
                "split-label", "{n} clip(s) have another label in the split than in labels.csv",
                clips.clip_ids[other],
            )  # fmt: skip
        given[given < 0] = stated[given < 0]
        if tuple(split.class_names) != tuple(clips.class_names):
            report.error("split-classes", "the split lists other classes than the clips store", [split.path])
    count = len(clips.class_names)
    every = np.bincount(given[given >= 0], minlength=count)[:count]
    for part in ("all",) if parts is None else (*_SOURCE, "target"):
        mask = (given >= 0) & (np.ones(len(clips), bool) if parts is None else parts == part)
        if not mask.any():
            continue  # nothing is known of this part
        counts = np.bincount(given[mask], minlength=count)[:count]
        where = "" if part == "all" else f" in {part}"
        absent = [clips.class_names[index] for index in np.flatnonzero(counts == 0)]
        unlearnt = [clips.class_names[index] for index in np.flatnonzero((counts == 0) & (every > 0))]
        if part == "train" and unlearnt:
            text = "{n} class(es) have no clip in train but some in val or target: they cannot be learnt"
            report.error("class-not-in-train", text, unlearnt)
            absent = [name for name in absent if name not in unlearnt]
        report.warning("empty-class", f"{{n}} class(es) have no clip{where}", absent)


def _check_crops(report: Report, clips: ClipsStore, path: Path) -> None:
    """A crop store against the clips: the same clips, frame for frame."""
    crops = open_streams(path)
    mine, theirs = set(clips.clip_ids.tolist()), crops.clip_ids.tolist()
    report.error("crops-lack-clips", f"{path} lacks {{n}} clip(s)", sorted(mine - set(theirs)))
    report.warning(
        "crops-of-unknown-clip", f"{path} has {{n}} clip(s) that the clips store lacks",
        [clip_id for clip_id in theirs if clip_id not in mine],
    )  # fmt: skip
    if crops.dataset != clips.dataset:
        text = f"{path} is of data set '{crops.dataset}', the clips of '{clips.dataset}'"
        report.error("crops-dataset", text, [path])
    made_from = crops.provenance.inputs.get("clips", clips.digest)
    if made_from != clips.digest:
        report.warning("crops-outdated", f"{path} was made from another clips store", [path])
    limit = int(crops.provenance.config.get("max_frames", 0) or 0)
    lengths = dict(zip(clips.clip_ids.tolist(), (clips.stop - clips.start).tolist()))
    differ = []
    for clip_id, found in zip(theirs, crops.num_frames.tolist()):
        wanted = lengths.get(clip_id, found)
        wanted = min(wanted, limit) if limit else wanted
        if found != wanted:
            differ.append(f"{clip_id} ({found}, not {wanted})")
    report.error("crops-frames", f"{path} has another number of frames for {{n}} clip(s)", differ)
    crops.close()


def _result(clips: Path, number: int, report: Report, checked: Sequence[str]) -> StageResult:
    errors, warnings = report.count("error"), report.count("warning")
    lines = [f"{clips}: {number} clips, {errors} kind(s) of error, {warnings} of warning"]
    for finding in sorted(report.findings, key=lambda item: str(item["severity"])):
        items = finding["items"]
        more = f" ... {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
        lines.append(f"{finding['severity']:7} [{finding['check']}] {finding['what']}")
        lines.append(f"        {', '.join(items[:_SHOWN])}{more}")
    lines.append(f"checked: {', '.join(checked)}")
    return StageResult(
        data={
            "clips": number,
            "errors": errors,
            "warnings": warnings,
            "checked": list(checked),
            "findings": report.findings,
        },
        text="\n".join(lines),
    )


def _finish(clips: Path, result: StageResult, report: Report) -> StageResult:
    """Return the result, or raise it as a CheckError if there are errors."""
    if not report.count("error"):
        return result
    first = next(finding for finding in report.findings if finding["severity"] == "error")
    error = CheckError(
        f"{clips}: the data has {report.count('error')} kind(s) of error, the first: {first['what']} "
        "(see the report)"
    )
    error.result = result
    raise error


def check(
    *,
    clips: Path,
    labels: Path | None = None,
    split: Path | None = None,
    crops: list[Path] | None = None,
    max_missing: float = 0.5,
    max_outside: float = 0.05,
    console: Console,
) -> StageResult:
    """Check a clips store, and with it labels, a split and crop stores.

    Args:
        max_missing: a clip is reported if more than this share of its keypoints was not found.
        max_outside: ... or if more than this share of those found lies outside the image.

    Raises:
        CheckError: there are errors; ``error.result`` is the report, which the command line prints first.
        UsageError: a share outside 0..1. StoreError, DataError: a file that cannot be read at all.
    """
    for name, share in (("max-missing", max_missing), ("max-outside", max_outside)):
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"data check: --{name} is {share}, wanted 0 to 1")
    report = Report()
    repeated = _duplicates(clips)
    if repeated:
        text = "{n} clip id(s) stand twice or more: nothing can be joined, so nothing else was checked"
        report.error("duplicate-id", text, repeated)
        return _finish(clips, _result(clips, 0, report, ["ids"]), report)
    store = open_clips(clips)
    checked = ["ids", "spans"]
    known = read_split(split) if split is not None else None
    parts = truth = None
    _check_index(report, store)
    if known is not None:
        checked.append("split")
        parts = _check_split(report, store, known)
    if labels is not None:
        checked.append("labels")
        table = read_label_table(labels)
        truth = _check_labels(report, store, table.labels, known)
        report.error(
            "label-names", "{n} class(es) have another name in labels.csv than in the clips store",
            table.other_names(store.class_names),
        )  # fmt: skip
        _check_overlaps(report, store, truth)
    if known is not None or labels is not None:
        _check_classes(report, store, truth, parts, known)
    for path in crops or ():
        checked.append(f"crops {path.name}")
        _check_crops(report, store, path)
    if store.layout:
        checked.append("keypoints")
        check_motion(report, store, max_missing, max_outside, console)
    store.close()
    return _finish(clips, _result(clips, len(store), report, checked), report)
