"""Labels and subjects of recordings that hold one clip each, from a table of clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mg_data.contract import DataError, Dropped
from mg_data.datasets.clips.table import choose_file, read_class_names, read_clip_table


@dataclass(frozen=True)
class ClipFacts:
    """Label (-1 = unknown) and subject of one clip."""

    label: int = -1
    subject: str = ""


@dataclass(frozen=True)
class ClipFactsTable:
    """Labels and subjects of recordings that hold one clip each.

    Args:
        facts: clip id -> label and subject; None if no table was given.
        files: the files that were read.
    """

    class_names: tuple[str, ...]
    vocabulary: str
    facts: Mapping[str, ClipFacts]
    notes: tuple[Dropped, ...] = ()
    files: tuple[Path, ...] = ()

    def of(self, clip_id: str) -> ClipFacts:
        """Return the facts of a clip; nothing is known of one that the table does not list."""
        return self.facts.get(clip_id, ClipFacts())


def read_clip_facts(what: str, clips: object, classes: object, clip_ids: Sequence[str]) -> ClipFactsTable:
    """Read the table and the list of classes that an importer's options ``clips`` and ``classes`` name.

    Args:
        what: the data set, for messages.
        clip_ids: the clips that are there. Those the table does not list stay unlabelled; those that only the
            table lists are noted.

    Raises:
        UsageError: an option is no path.
        DataError: a file cannot be used, or the table lists none of the clips.
    """
    table_path, class_path = choose_file(what, "clips", clips), choose_file(what, "classes", classes)
    files = tuple(path for path in (table_path, class_path) if path is not None)
    if table_path is None:
        names = read_class_names(class_path) if class_path is not None else ("unknown",)
        return ClipFactsTable(names, f"{what}-{len(names)}", {}, files=files)
    table = read_clip_table(table_path, class_path)
    there = set(clip_ids)
    facts = {row.clip_id: ClipFacts(row.label, row.subject) for row in table.rows if row.clip_id in there}
    if not facts:
        raise DataError(
            f"{table_path}: lists none of the {len(there)} clips, such as '{clip_ids[0]}' (it lists: "
            f"{', '.join(row.clip_id for row in table.rows[:3])} ...)"
        )
    notes = []
    if len(facts) < len(table.rows):
        lost = next(row.clip_id for row in table.rows if row.clip_id not in there)
        notes.append(
            Dropped(
                what=f"{len(table.rows) - len(facts)} line(s) of {table_path}",
                why=f"there is no such clip, the first is '{lost}'",
            )
        )
    if len(facts) < len(there):
        lost = next(clip_id for clip_id in clip_ids if clip_id not in facts)
        notes.append(
            Dropped(
                what=f"labels of {len(there) - len(facts)} clip(s)",
                why=f"{table_path} does not list them, the first is '{lost}'",
            )
        )
    return ClipFactsTable(table.class_names, f"{what}-{len(table.class_names)}", facts, tuple(notes), files)


def name_files(source: Path, paths: Iterable[Path]) -> tuple[dict[str, Path], list[Dropped]]:
    """Return clip id -> file, the id being the path below ``source`` without its ending; and what has no id.

    Raises:
        DataError: no file has a name that can be an id.
    """
    files: dict[str, Path] = {}
    dropped: list[Dropped] = []
    for path in paths:
        clip_id = path.relative_to(source).with_suffix("").as_posix()
        if clip_id.isprintable():  # bytes that are not UTF-8 are not
            files[clip_id] = path
        else:
            dropped.append(Dropped(what=ascii(path.name), why="its name is no printable UTF-8"))
    if not files:
        raise DataError(f"{source}: holds no clip whose name is printable UTF-8")
    return files, dropped
