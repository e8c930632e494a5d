"""``mg data split``: clips and a protocol or a table -> who is train, val and target; the target's labels
stay behind.

A protocol is a table with ``[train]``, ``[val]`` and ``[target]``; each part claims clips by ``subjects``,
``videos``, ``clips``, ``subjects_file`` or ``videos_file`` (one id a line); ``rest = "target"`` gives all
clips that nobody claims to one part. A table is a csv of clips (:func:`mg_data.datasets.clips.table.
read_clip_table`) whose column ``split`` names each clip's part, or is empty for clips in no part.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.labels import read_label_table
from mg_data.store import ClipsStore, Provenance, open_clips, write_split

PARTS = ("train", "val", "target")
#: what the column ``split`` of a table may say -> part
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "target": "target",
    "test": "target",
    "testing": "target",
}
_KEYS = ("subjects", "videos", "clips", "subjects_file", "videos_file")


def _read_protocol(
    protocol: Path | None, protocol_json: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any], Path, str]:
    """Return the table, the folder its files are relative to, and how messages call it."""
    if protocol is None:
        if not isinstance(protocol_json, Mapping):
            raise UsageError(f"the protocol must be a table, found {type(protocol_json).__name__}")
        return protocol_json, Path(), "protocol"
    try:
        return tomllib.loads(protocol.read_text(encoding="utf-8-sig")), protocol.parent, str(protocol)
    except OSError as error:
        raise UsageError(f"{protocol}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{protocol}: is no TOML: {error}") from error


def _check_form(table: Mapping[str, Any], where: str) -> None:
    for name, value in table.items():
        if name == "rest":
            if value not in PARTS:
                raise UsageError(f"{where}: rest is '{value}', wanted one of: {', '.join(PARTS)}")
        elif name not in PARTS or not isinstance(value, Mapping):
            raise UsageError(f"{where}: knows [train], [val], [target] and rest, found '{name}'")
        else:
            for key, ids in value.items():
                if key not in _KEYS:
                    raise UsageError(f"{where}: [{name}] has '{key}', wanted one of: {', '.join(_KEYS)}")
                if not isinstance(ids, str if key.endswith("_file") else (list, tuple)):
                    kind = "a path" if key.endswith("_file") else "a list of ids"
                    raise UsageError(f"{where}: [{name}] {key} must be {kind}")


def _ids(part: Mapping[str, Any], key: str, folder: Path) -> list[str]:
    """Return the ids of ``subjects`` or ``videos``, from the list and the file."""
    ids = [str(value) for value in part.get(key, ())]
    if f"{key}_file" in part:
        path = folder / str(part[f"{key}_file"])
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error
        ids += [line.strip() for line in lines if line.strip()]
    return ids


def _claim(clips: ClipsStore, table: Mapping[str, Any], folder: Path, where: str) -> NDArray[np.str_]:
    """Return (N,) the part of each clip, "" where nobody claims it."""
    names = np.full(len(clips), "", dtype="<U6")
    for name in PARTS:
        part = table.get(name, {})
        claimed = np.zeros(len(clips), bool)
        for key, column in (
            ("subjects", clips.subject_ids),
            ("videos", clips.video_ids),
            ("clips", clips.clip_ids),
        ):
            wanted = _ids(part, key, folder)
            unknown = sorted(set(wanted) - set(column.tolist()))
            if unknown:
                some = ", ".join(sorted(set(column.tolist()) - {""})[:8])
                raise DataError(
                    f"{where}: [{name}] {key} has '{unknown[0]}', which {clips.path} does not hold "
                    f"(it has: {some} ...)"
                )
            claimed |= np.isin(column, wanted) if wanted else False
        twice = claimed & (names != "")
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise DataError(
                f"{where}: {int(twice.sum())} clip(s) are claimed twice, the first is "
                f"'{clips.clip_ids[row]}' by [{names[row]}] and [{name}]"
            )
        names[claimed] = name
    if "rest" in table:
        names[names == ""] = str(table["rest"])
    return names


def _claim_by_table(clips: ClipsStore, path: Path) -> NDArray[np.str_]:
    """Return (N,) the part of each clip by the column ``split``, "" where it is empty or there is no line."""
    from mg_data.datasets.clips.table import read_clip_table

    table = read_clip_table(path, labels=False)
    if "split" not in table.columns:
        raise DataError(f"{path}, line 1: lacks the column split")
    row_of = {clip_id: row for row, clip_id in enumerate(clips.clip_ids.tolist())}
    names = np.full(len(clips), "", dtype="<U6")
    for line in table.rows:
        if not line.split:
            continue
        part = SPLIT_WORDS.get(line.split.lower())
        if part is None:
            close = difflib.get_close_matches(line.split.lower(), SPLIT_WORDS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"wanted one of: {', '.join(SPLIT_WORDS)}"
            raise DataError(f"{path}, line {line.line}, column split: '{line.split}' is no part ({hint})")
        if line.clip_id not in row_of:
            some = ", ".join(clips.clip_ids[:3].tolist())
            raise DataError(
                f"{path}, line {line.line}: {clips.path} does not hold clip '{line.clip_id}' "
                f"(it has: {some} ...)"
            )
        names[row_of[line.clip_id]] = part
    return names


def _shared(column: NDArray[np.str_], names: NDArray[np.str_], one: Sequence[str], other: str) -> list[str]:
    """Return the ids that stand in part ``other`` and in one of ``one``; "" (unknown) is never shared."""
    here = set(column[np.isin(names, list(one))].tolist())
    return sorted((here & set(column[names == other].tolist())) - {""})


def split(
    *,
    clips: Path,
    labels: Path,
    out: Path,
    protocol: Path | None = None,
    protocol_json: Mapping[str, Any] | None = None,
    table: Path | None = None,
    console: Console,
) -> StageResult:
    """Write the split store: labels of train and val, -1 for every target clip.

    Args:
        clips: clips store. labels: labels.csv, the truth. out: the store to write.
        protocol, protocol_json, table: exactly one of them says which clip is in which part: a TOML file, its
            table, or a csv whose column ``split`` holds train, val or target (or a word of SPLIT_WORDS),
            joined by clip id. Clips that the csv lists and the store lacks are an error if they have a part.

    Raises:
        UsageError: a malformed protocol.
        DataError: an id that the clips store lacks; a clip claimed twice; a subject or video in the target
            and also in train or val; no train clip; a train or val clip without a label or with none of the
            store's classes; a class that labels and store name differently.
    """
    if sum(way is not None for way in (protocol, protocol_json, table)) != 1:
        raise UsageError("data split needs exactly one of --protocol, --protocol-json and --table")
    store = open_clips(clips)
    claims: dict[str, Any]
    if table is not None:
        where = str(table)
        names = _claim_by_table(store, table)
        claims = {"table": {name: store.clip_ids[names == name].tolist() for name in PARTS}}
    else:
        rules, folder, where = _read_protocol(protocol, protocol_json)
        _check_form(rules, where)
        names = _claim(store, rules, folder, where)
        claims = {"protocol": dict(rules)}
    for kind, column in (("subject", store.subject_ids), ("video", store.video_ids)):
        leaked = _shared(column, names, ("train", "val"), "target")
        if leaked:
            raise DataError(
                f"{where}: {kind}(s) {', '.join(leaked[:5])} are in the target and also in train or val; "
                "the target's people must be unseen"
            )
    warnings: list[str] = []
    both = _shared(store.subject_ids, names, ("train",), "val")
    if both:
        warnings.append(f"{len(both)} subject(s) are in train and val ({', '.join(both[:5])}): val flatters")
    unknown = int(np.sum((store.subject_ids == "") & (names != "")))
    if unknown:
        warnings.append(f"{unknown} clip(s) have no known subject: only their videos could be kept apart")
    if not np.any(names == "train"):
        raise DataError(f"{where}: no clip is in train")
    rows = np.flatnonzero(names != "")
    stated = read_label_table(labels)
    truth = stated.labels
    source_rows = rows[names[rows] != "target"]
    missing = [clip_id for clip_id in store.clip_ids[source_rows].tolist() if truth.get(clip_id, -1) < 0]
    if missing:
        raise DataError(
            f"{labels}: has no label for {len(missing)} train or val clip(s), the first is '{missing[0]}'"
        )
    stated.check_names(store.class_names, clips)
    for clip_id in store.clip_ids[source_rows].tolist():
        if truth[clip_id] >= len(store.class_names):
            raise DataError(
                f"{labels}: clip '{clip_id}' has label {truth[clip_id]}, {clips} has classes 0.."
                f"{len(store.class_names) - 1}"
            )
    given = np.full(len(store), -1, np.int32)
    given[source_rows] = [truth[clip_id] for clip_id in store.clip_ids[source_rows].tolist()]
    digest = write_split(
        out,
        dataset=store.dataset,
        clip_ids=store.clip_ids[rows],
        names=names[rows],
        labels=given[rows],
        subject_ids=store.subject_ids[rows],
        class_names=store.class_names,
        vocabulary=store.vocabulary,
        provenance=Provenance(command="mg data split", config=claims, inputs={"clips": store.digest}),
    )
    for warning in warnings:
        console.warn(warning)
    counts = {name: int(np.sum(names == name)) for name in PARTS}
    people = {name: len(set(store.subject_ids[names == name].tolist()) - {""}) for name in PARTS}
    left_out = int(np.sum(names == ""))
    parts = ", ".join(f"{name} {counts[name]} clips ({people[name]} subjects)" for name in PARTS)
    return StageResult(
        data={
            "clips": counts,
            "subjects": people,
            "left_out": left_out,
            "warnings": warnings,
            "digest": digest,
        },
        text=f"{out}: {parts}" + (f"; {left_out} clips in no part" if left_out else ""),
    )
