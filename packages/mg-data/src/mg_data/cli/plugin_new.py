"""``mg plugins new``: a plugin to start from, which passes ``mg plugins check`` as it is."""

from __future__ import annotations

from pathlib import Path

from mg_data.contract.runtime import Console, StageResult


def new(*, name: str, kind: str, out: Path | None, console: Console) -> StageResult:
    """Write a plugin distribution.

    Args:
        name: of the distribution. kind: of the record it registers. out: folder, by default ``./NAME``.

    Raises:
        UsageError: an illegal name, or a folder that is in use.
    """
    from mg_data.plugins.scaffold import write_plugin

    folder = Path(name) if out is None else out
    files = write_plugin(name, kind, folder)
    listing = "\n".join(f"  {path.relative_to(folder)}" for path in files)
    text = f"{folder}: a plugin of kind {kind}\n{listing}\n"
    text += f"install it with 'pip install -e {folder}', then 'mg plugins check {name}'"
    return StageResult(
        data={"folder": str(folder), "kind": kind, "files": [str(path) for path in files]}, text=text
    )
