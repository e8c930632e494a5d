"""``mg report``: a run folder as one page."""

from __future__ import annotations

from pathlib import Path

from mg_data.contract import Console, StageResult
from mg_data.store import publish_text
from mg_fusion.files import file_digest
from mg_fusion.report.embed import Method
from mg_fusion.report.page import render


def report(
    *, console: Console, run: Path, out: Path | None = None, embedding: Method = "auto"
) -> StageResult:
    """Run ``mg report``; see its ``--help``.

    Returns:
        data: ``out`` and ``digest`` of the page.
    """
    page = render(Path(run), embedding)
    target = Path(run) / "report.html" if out is None else Path(out)
    publish_text(target, page)
    console.say(f"report: {len(page.encode()) / 1e6:.2f} MB, nothing is loaded from the network")
    return StageResult(data={"out": str(target), "digest": file_digest(target)}, text=str(target))
