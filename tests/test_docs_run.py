"""Every command and program in the README and the guides runs, in order, in an empty folder.

A block of bash is run as it stands; ``<!-- file: NAME -->`` in front of a block writes it to a file;
``<!-- not run: REASON -->`` leaves one out. ``mg train`` is given one epoch and small models, so that what is
tested is that the words are right, not how well a network learns.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = [pytest.mark.extended, pytest.mark.slow]

PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")))
# Pages that are made from records and have no commands to follow.
GENERATED = {
    "docs/cli.md",
    "docs/plugin-hooks.md",
    "docs/results.md",
    "docs/model-zoo.md",
    "docs/benchmarks.md",
    "docs/scale.md",
}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<directive>file|not run): (?P<value>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
# A stand-in for `mg` that trains briefly.
_SHIM = """#!{python}
import os, sys
words = sys.argv[1:]
if words[:1] == ["train"]:
    words += ["--set", "recipe.epochs=1", "--threads", "1"]
os.execv({python!r}, [{python!r}, "-m", "mg_data", *words])
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: ``kind`` is ``run``, ``file`` or ``skip``."""

    kind: str
    name: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return what a page asks to do, in order."""
    found = []
    for match in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        if match["directive"] == "file":
            found.append(Block("file", match["value"], match["text"]))
        elif match["directive"] == "not run":
            found.append(Block("skip", match["value"], match["text"]))
        elif match["language"] in ("bash", "sh", "python"):
            found.append(Block("run", match["language"], match["text"]))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_the_page_runs(page: str, tmp_path: Path) -> None:
    todo = blocks(page)
    if not any(block.kind == "run" for block in todo):
        pytest.skip(f"{page} has nothing to run")
    tools, folder = tmp_path / "bin", tmp_path / "folder"
    tools.mkdir()
    folder.mkdir()
    shim = tools / "mg"
    shim.write_text(_SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    for block in todo:
        if block.kind == "file":
            (folder / block.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.name).write_text(block.text, encoding="utf-8")
        elif block.kind == "run":
            words = ["bash", "-euo", "pipefail", "-c"] if block.name != "python" else [sys.executable, "-c"]
            done = subprocess.run(
                [*words, block.text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            assert done.returncode == 0, (
                f"{page}:\n{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            )


def test_what_is_not_run_says_why() -> None:
    reasons = {block.name for page in PAGES for block in blocks(page) if block.kind == "skip"}
    assert all(len(reason) > 8 for reason in reasons)
