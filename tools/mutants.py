"""Mutation tests: ``python tools/mutants.py GROUP [MODULE ...]``; ``make mutants`` runs every group.

mutmut changes one thing at a time in a copy of the code (a sign, a comparison, an argument, a constant) and
runs the tests that reach it. A mutant that no test notices is a survivor: a gap in the tests, dead code, or a
change that makes no difference. All work is done in a temporary copy; this tree stays as it is. Written are
``runs/mutants/GROUP.json``, the counts by module, and ``GROUP.diff``, the survivors.

Not mutated: lines that raise or that talk to the console (tests know messages by a part of their text),
docstrings, annotations, decorated functions, and what stands outside functions. ``--keep FOLDER`` keeps the
copy for ``mutmut show``, ``mutmut run NAME`` and ``mutmut browse`` in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A mutant may take so many times as long as the tests it runs, with so many seconds on top for their start.
TIME_FACTOR, TIME_EXTRA = 4.0, 4.0
UNTOUCHED = (r"\braise \w+", r"\bconsole\.(say|warn)\(")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Modules of one package that are mutated together.

    Args:
        modules: names of modules or folders below the package's module.
        tests: files below the package's ``tests`` that must notice: quick ones, without subprocesses.
        without: tests of these files that are too slow, in the words of pytest's ``-k``.
    """

    package: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    without: str = ""

    @property
    def sources(self) -> Path:
        """Where the modules are, relative to the package's folder."""
        return Path("src") / self.package.replace("-", "_")

    def patterns(self, chosen: Sequence[str]) -> list[str]:
        """Return mutmut's patterns of the chosen modules; all if none is chosen."""
        folder = ROOT / "packages" / self.package / self.sources
        unknown = set(chosen) - set(self.modules)
        if unknown:
            raise SystemExit(f"no module '{min(unknown)}' in this group (known: {', '.join(self.modules)})")
        names = chosen or self.modules
        return [
            f"{self.sources.as_posix()}/{name}{'/*' if (folder / name).is_dir() else ''}.py" for name in names
        ]


GROUPS = {
    "contract": Group(package="mg-data", modules=("contract",), tests=("test_contract.py",)),
    "plugins": Group(
        package="mg-data",
        modules=("plugins/loading", "plugins/registry"),
        tests=("test_plugins_registry.py",),
    ),
    "losses": Group(
        package="mg-adapt",
        modules=("losses",),
        tests=("test_losses.py", "test_long_tail_losses.py", "test_shot.py"),
    ),
    "fusion": Group(
        package="mg-fusion",
        modules=("vote", "metrics", "calibration", "table", "checks", "folds", "tainted"),
        tests=(
            *("test_fusion_vote.py", "test_fusion_metrics.py", "test_fusion_by_hand.py"),
            *("test_fusion_errors.py", "test_fusion_parity.py", "test_fusion_fusers.py"),
            *("test_fusion_commands.py", "test_fusion_docs.py"),
        ),
    ),
    "optima": Group(
        package="mg-fusion",
        modules=("convex", "minimise", "calibrators", "intervals"),
        tests=(
            *("test_fusion_search_by_hand.py", "test_fusion_calibrators_by_hand.py"),
            *("test_fusion_minimise.py", "test_fusion_calibrators.py", "test_fusion_compare.py"),
            *("test_fusion_bounds.py", "test_fusion_docs.py"),
        ),
        without="compiled or numba",
    ),
    "search": Group(
        package="mg-fusion",
        modules=tuple(f"search/{name}" for name in ("found", "objective", "climb", "fit", "choosing")),
        tests=(
            *("test_fusion_search.py", "test_fusion_search_by_hand.py", "test_fusion_choices.py"),
            *("test_fusion_bounds.py", "test_fusion_docs.py"),
        ),
        without="compiled or numba",
    ),
}


def prepare(group: Group, folder: Path, chosen: Sequence[str]) -> None:
    """Lay the package's code and tests into a folder, with the settings of mutmut."""
    package = ROOT / "packages" / group.package
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "tests"):
        shutil.copytree(package / name, folder / name, ignore=ignore, dirs_exist_ok=True)
    for path in (ROOT / "conftest.py", package / "README.md"):
        shutil.copy(path, folder)
    # hypothesis: the same examples for every mutant, and no deadline that a busy machine would miss.
    options = ["--hypothesis-profile=ci", "-p", "no:cacheprovider", "-p", "no:xdist"]
    if group.without:
        options += ["-k", f"not ({group.without})"]
    settings = {
        "source_paths": ["src"],
        "only_mutate": group.patterns(chosen),
        "do_not_mutate_patterns": UNTOUCHED,
        "also_copy": ["conftest.py", "README.md"],
        "pytest_add_cli_args": options,
        "pytest_add_cli_args_test_selection": [f"tests/{name}" for name in group.tests],
        "timeout_multiplier": TIME_FACTOR,
        "timeout_constant": TIME_EXTRA,
        "use_git_change_detection": False,
    }
    # What JSON writes of texts, numbers and lists is TOML too.
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    pytest = [
        'addopts = "--import-mode=importlib"',
        'markers = ["slow: slow", "extended: slow", "data: data"]',
    ]
    text = "\n".join(["[tool.mutmut]", *lines, "", "[tool.pytest.ini_options]", *pytest, ""])
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def read_results(folder: Path) -> dict[str, dict[str, str]]:
    """Return module -> mutant -> its status, as mutmut left them."""
    from mutmut.stats import status_by_exit_code

    results = {}
    for path in sorted((folder / "mutants" / "src").rglob("*.py.meta")):
        codes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            module = path.relative_to(folder / "mutants" / "src").as_posix().removesuffix(".meta")
            results[module] = {name: status_by_exit_code[code] for name, code in codes.items()}
    return results


def summarise(results: dict[str, dict[str, str]]) -> dict[str, dict[str, int]]:
    """Return module -> number of mutants, and of those killed, survived, timed out, and left by the tests."""
    rows = {}
    for module, statuses in results.items():
        count = Counter(statuses.values())
        rows[module] = {
            "mutants": len(statuses),
            "killed": count["killed"] + count["segfault"],
            "timed_out": count["timeout"],
            "survived": count["survived"],
            "no_test": count["no tests"],
        }
        rows[module]["other"] = 2 * len(statuses) - sum(rows[module].values())
    return rows


def survivors(folder: Path, results: dict[str, dict[str, str]]) -> str:
    """Return the changes that no test noticed, one diff each."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    texts = []
    with contextlib.chdir(folder):
        for module, statuses in results.items():
            for name, status in statuses.items():
                if status not in ("killed", "segfault", "timeout"):
                    texts.append(
                        f"# {name}: {status}\n{get_diff_for_mutant(name, path=Path('src') / module)}"
                    )
    return "\n".join(texts)


def run(name: str, chosen: Sequence[str], folder: Path, jobs: int) -> dict[str, dict[str, int]]:
    """Test a group's mutants in ``folder``, write what came of it and return the counts."""
    prepare(GROUPS[name], folder, chosen)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(jobs)]
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode}")
    results = read_results(folder)
    rows = summarise(results)
    out = ROOT / "runs" / "mutants"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (out / f"{name}.diff").write_text(survivors(folder, results) + "\n", encoding="utf-8")
    return rows


def table(rows: dict[str, dict[str, int]]) -> str:
    """Return the counts as a table for docs."""
    columns = ("mutants", "killed", "timed_out", "survived", "no_test", "other")
    lines = ["| module | " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    total = {name: sum(row[name] for row in rows.values()) for name in columns}
    for module, row in {**rows, "all": total}.items():
        lines.append(f"| {module} | " + " | ".join(str(row[name]) for name in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation tests of a group of modules.")
    parser.add_argument("group", choices=[*GROUPS, "all"])
    parser.add_argument("modules", nargs="*", help="of the group; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    args = parser.parse_args()
    rows: dict[str, dict[str, int]] = {}
    for name in GROUPS if args.group == "all" else [args.group]:
        with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
            folder = args.keep / name if args.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            rows.update(run(name, args.modules, folder, args.jobs))
    print(table(rows))


if __name__ == "__main__":
    main()
