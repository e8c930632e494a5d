"""Timelines as files: JSON with everything, csv, ELAN (.eaf) and Praat (.TextGrid)."""

from __future__ import annotations

import csv
import io
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

from mg_adapt.watch.segments import Segment
from mg_adapt.watch.truth import COLUMNS
from mg_data.contract import UsageError
from mg_data.store import publish, publish_json, publish_text

FORMAT, VERSION = "mg-timeline", 1
# Annotation programs want one file for each recording, these two take all.
_ENDINGS = (".json", ".csv", ".eaf", ".TextGrid")
_TIER, _SURENESS = "micro-gesture", "confidence"


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What was recognised in one video.

    Args:
        start, stop: the frames that were watched, half-open. segments: in their order, none overlaps another.
        media: the video's file, or None.
    """

    video_id: str
    fps: float
    start: int
    stop: int
    segments: tuple[Segment, ...]
    media: Path | None = None


def check_ending(path: Path) -> str:
    """Return the ending of a file that a timeline can be written to, as :data:`_ENDINGS` spells it."""
    for ending in _ENDINGS:
        if path.suffix.lower() == ending.lower():
            return ending
    raise UsageError(f"-o {path}: ends in none of {', '.join(_ENDINGS)}; name a file that does")


def timeline_files(path: Path, video_ids: Sequence[str]) -> list[Path]:
    """Return the files that the timelines of videos go to: one, or one for each video where a file holds one.

    Raises:
        UsageError: another ending, or two videos whose files would be one.
    """
    if check_ending(path) in (".json", ".csv") or len(video_ids) == 1:
        return [path]
    files: list[Path] = []
    for video_id in video_ids:
        name = re.sub(r"[^\w.-]+", "_", video_id)
        file = path.with_name(f"{path.stem}-{name}{path.suffix}")
        if file in files:
            raise UsageError(f"-o {path}: two videos would be written to {file.name}; choose one by --only")
        files.append(file)
    return files


def write_timelines(
    path: Path, timelines: Sequence[Timeline], class_names: Sequence[str], facts: Mapping[str, Any]
) -> list[Path]:
    """Write timelines in the format that the file's ending names, and return the files.

    ELAN and Praat keep one recording a file: of several videos each gets its own, ``NAME-VIDEO.eaf``.

    Args:
        facts: what the JSON says besides: checkpoints, settings, evaluation.
    """
    ending = check_ending(path)
    if ending == ".json":
        publish_json(path, as_json(timelines, class_names, facts))
        return [path]
    if ending == ".csv":
        publish_text(path, as_csv(timelines, class_names))
        return [path]
    write: Callable[[Path, Timeline, Sequence[str]], None] = _write_eaf if ending == ".eaf" else _write_grid
    files = timeline_files(path, [timeline.video_id for timeline in timelines])
    for file, timeline in zip(files, timelines):
        write(file, timeline, class_names)
    return files


def as_json(
    timelines: Sequence[Timeline], class_names: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON value of a timeline file."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "class_names": list(class_names),
        "videos": [
            {
                "video_id": timeline.video_id,
                "fps": timeline.fps,
                "start_frame": timeline.start,
                "stop_frame": timeline.stop,
                "seconds": round((timeline.stop - timeline.start) / timeline.fps, 3),
                "segments": [
                    {
                        "start": round(segment.start / timeline.fps, 3),
                        "stop": round(segment.stop / timeline.fps, 3),
                        "start_frame": segment.start,
                        "stop_frame": segment.stop,
                        "label": segment.label,
                        "class_name": class_names[segment.label],
                        "confidence": round(segment.confidence, 4),
                    }
                    for segment in timeline.segments
                ],
            }
            for timeline in timelines
        ],
    }


def as_csv(timelines: Sequence[Timeline], class_names: Sequence[str]) -> str:
    """Return a table whose first columns are those of ``--truth``; a video without a segment is a row too."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "confidence", "start_seconds", "stop_seconds"))
    for timeline in timelines:
        if not timeline.segments:
            writer.writerow((timeline.video_id, *[""] * 6))
        for segment in timeline.segments:
            name, sure = class_names[segment.label], f"{segment.confidence:.4f}"
            seconds = [f"{frame / timeline.fps:.3f}" for frame in (segment.start, segment.stop)]
            writer.writerow((timeline.video_id, segment.start, segment.stop, name, sure, *seconds))
    return text.getvalue()


def _clean(text: str) -> str:
    """Return text without characters that XML cannot hold and Praat cannot show."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", " ", text)


def _write_eaf(path: Path, timeline: Timeline, class_names: Sequence[str]) -> None:
    """Write an annotation document of ELAN: a tier of class names and one of confidences."""
    seconds = int(environ.get("SOURCE_DATE_EPOCH", time.time()))
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "mg watch",
            "DATE": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds)),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ElementTree.SubElement(document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if timeline.media is not None:
        # Both forms: ELAN looks beside the document if the file is no longer where it was.
        media = {"MEDIA_URL": timeline.media.resolve().as_uri(), "MIME_TYPE": "video/mp4"}
        media["RELATIVE_MEDIA_URL"] = f"./{timeline.media.name}"
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = ElementTree.SubElement(document, "TIME_ORDER")
    for number, segment in enumerate(timeline.segments):
        for half, frame in enumerate((segment.start, segment.stop)):
            slot = {
                "TIME_SLOT_ID": f"ts{2 * number + half + 1}",
                "TIME_VALUE": str(round(1000 * frame / timeline.fps)),
            }
            ElementTree.SubElement(order, "TIME_SLOT", slot)
    count = len(timeline.segments)
    for place, tier in enumerate((_TIER, _SURENESS)):
        parent = ElementTree.SubElement(
            document, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": tier}
        )
        for number, segment in enumerate(timeline.segments):
            outer = ElementTree.SubElement(parent, "ANNOTATION")
            inner = ElementTree.SubElement(
                outer,
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{place * count + number + 1}",
                    "TIME_SLOT_REF1": f"ts{2 * number + 1}",
                    "TIME_SLOT_REF2": f"ts{2 * number + 2}",
                },
            )
            text = class_names[segment.label] if tier == _TIER else f"{segment.confidence:.2f}"
            ElementTree.SubElement(inner, "ANNOTATION_VALUE").text = _clean(text)
    ElementTree.SubElement(
        document,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true"},
    )
    ElementTree.indent(document)
    with publish(path) as temporary:
        ElementTree.ElementTree(document).write(temporary, encoding="UTF-8", xml_declaration=True)


def _write_grid(path: Path, timeline: Timeline, class_names: Sequence[str]) -> None:
    """Write a TextGrid of Praat: two interval tiers, which have to cover the time without a gap."""
    first, last = timeline.start / timeline.fps, timeline.stop / timeline.fps
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"xmin = {first:.6f}",
        f"xmax = {last:.6f}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    for place, tier in enumerate((_TIER, _SURENESS), start=1):
        intervals: list[tuple[int, int, str]] = []
        at = timeline.start
        for segment in timeline.segments:
            if segment.start > at:
                intervals.append((at, segment.start, ""))
            text = class_names[segment.label] if tier == _TIER else f"{segment.confidence:.2f}"
            intervals.append((segment.start, segment.stop, text))
            at = segment.stop
        if at < timeline.stop:
            intervals.append((at, timeline.stop, ""))
        lines += [
            f"    item [{place}]:",
            '        class = "IntervalTier"',
            f'        name = "{tier}"',
            f"        xmin = {first:.6f}",
            f"        xmax = {last:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for number, (start, stop, text) in enumerate(intervals, start=1):
            quoted = _clean(text).replace('"', '""')
            lines += [
                f"        intervals [{number}]:",
                f"            xmin = {start / timeline.fps:.6f}",
                f"            xmax = {stop / timeline.fps:.6f}",
                f'            text = "{quoted}"',
            ]
    publish_text(path, "\n".join(lines) + "\n")
