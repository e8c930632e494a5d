"""What a viewer says of clips: another label, a flag, a note; kept in ``corrections.csv`` of the run."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mg_data.contract import DataError
from mg_data.store import publish_text

FILE = "corrections.csv"
HEADER = ("clip_id", "label", "class_name", "flag", "note")
_LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Correction:
    """class_name: the right class, "" for as it is. flag: look at it again. note: free text."""

    class_name: str = ""
    flag: bool = False
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.class_name or self.flag or self.note)


class Corrections:
    """The corrections of a run, written to its folder with each change.

    Raises:
        DataError: the file is there and is none of ours, or names another class.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.path = folder / FILE
        self._classes = {name: number for number, name in enumerate(class_names)}
        self._lock = threading.Lock()
        self._of: dict[str, Correction] = self._read() if self.path.exists() else {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, clip_id: str) -> Correction:
        """Return what was said of a clip."""
        return self._of.get(clip_id, Correction())

    def put(self, clip_id: str, given: Mapping[str, object]) -> Correction:
        """Keep what is said of a clip; nothing said takes it back.

        Raises:
            DataError: an unknown class, a value of another type, a note that is too long.
        """
        found = self._checked(given)
        with self._lock:
            changed = {**self._of, clip_id: found}
            if found.is_empty:
                del changed[clip_id]
            publish_text(self.path, self._text(changed))
            self._of = changed
        return found

    def text(self) -> str:
        """Return the csv: clip_id, label, class_name, flag, note."""
        return self._text(self._of)

    def _checked(self, given: Mapping[str, object]) -> Correction:
        name, flag, note = given.get("class_name", ""), given.get("flag", False), given.get("note", "")
        if not isinstance(name, str) or not isinstance(flag, bool) or not isinstance(note, str):
            raise DataError("a correction has a text class_name, a flag true or false, and a text note")
        if name and name not in self._classes:
            raise DataError(f"'{name[:60]}' is none of the {len(self._classes)} classes")
        if len(note) > _LONGEST_NOTE:
            raise DataError(f"a note of {len(note)} characters is too long, at most {_LONGEST_NOTE}")
        return Correction(name, flag, " ".join(note.split()))

    def _text(self, of: Mapping[str, Correction]) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADER)
        for clip_id, item in sorted(of.items()):
            label = self._classes[item.class_name] if item.class_name else ""
            writer.writerow([clip_id, label, item.class_name, int(item.flag), item.note])
        return out.getvalue()

    def _read(self) -> dict[str, Correction]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as handle:
                rows = list(csv.reader(handle))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from error
        if not rows or tuple(rows[0]) != HEADER:
            raise DataError(f"{self.path}: wanted the header {','.join(HEADER)}; move the file away")
        found: dict[str, Correction] = {}
        for line, row in enumerate(rows[1:], start=2):
            if len(row) != len(HEADER) or row[3] not in ("0", "1") or row[0] in found:
                raise DataError(f"{self.path}, line {line}: is no correction, or a clip's second one")
            try:
                found[row[0]] = self._checked({"class_name": row[2], "flag": row[3] == "1", "note": row[4]})
            except DataError as error:
                raise DataError(f"{self.path}, line {line}: {error}") from error
        return found


def as_json(correction: Correction) -> dict[str, object]:
    """Return the fields of a correction."""
    return asdict(correction)
