"""Release a package: ``python tools/release.py mg-fusion minor [--dry-run]``.

Everything is done and checked in a work tree of its own. Only then does the branch get the commit, and the
commit its tag; if anything fails, or with ``--dry-run``, the tree is as it was. In the order of work:

1. The tree is clean, dependencies are declared (tools/check_deps.py), and there is something to tell:
   fragments in ``packages/NAME/changes`` or, at first, the changelog's "(unreleased)" section.
2. Promises are kept (tools/promises.py): public names, contract and store format.
3. Version, changelog, and siblings' ranges that leave out the new version are written, with a fragment for
   each of those.
4. Wheel and source archive are built and checked (tools/wheels.py). The wheel is kept in tests/compat/wheels,
   the text of the public names in tests/compat/api.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import check_deps
import wheels
from packaging.requirements import Requirement
from packaging.version import Version
from promises import Release, check_api, check_contract, keep_api
from wheels import ReleaseError

ROOT = Path(__file__).resolve().parent.parent
WHEELS = "tests/compat/wheels"
MARKER = "<!-- towncrier release notes start -->\n"
_UNRELEASED = re.compile(r"^## [\d.]+ \(unreleased\)\n+(.*?)\s*(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def next_version(version: Version, part: str) -> Version:
    """Return the version after ``version``.

    >>> [str(next_version(Version("1.4.2"), part)) for part in ("major", "minor", "patch")]
    ['2.0.0', '1.5.0', '1.4.3']
    """
    major, minor, patch = (*version.release, 0, 0)[:3]
    return Version(
        {
            "major": f"{major + 1}.0.0",
            "minor": f"{major}.{minor + 1}.0",
            "patch": f"{major}.{minor}.{patch + 1}",
        }[part]
    )


def git(tree: Path, *words: object) -> str:
    """Run git in a tree and return what it printed."""
    return wheels.run(["git", *words], tree)


def require_clean(root: Path) -> None:
    """Raise ReleaseError for a tree with changes, or one that is on no branch."""
    changes = git(root, "status", "--porcelain").splitlines()
    if changes:
        raise ReleaseError(
            f"the tree has {len(changes)} change(s), the first is '{changes[0].strip()}': commit them first"
        )
    if not git(root, "branch", "--show-current").strip():
        raise ReleaseError("the tree is on no branch: check one out first")


@contextlib.contextmanager
def work_tree(root: Path) -> Iterator[Path]:
    """Check the present commit out into a folder of its own, which is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="mg-release-") as name:
        tree = Path(name) / "tree"
        git(root, "worktree", "add", "--quiet", "--detach", tree, "HEAD")
        try:
            yield tree
        finally:
            git(root, "worktree", "remove", "--force", tree)


def check_declared(tree: Path) -> None:
    """Raise ReleaseError with what tools/check_deps.py finds."""
    problems = check_deps.check(tree)
    if problems:
        raise ReleaseError("declared dependencies are wrong:\n" + "\n".join(problems))


def fragments(folder: Path) -> list[Path]:
    """Return the changelog fragments of a package."""
    return sorted(path for path in folder.glob("changes/*.md") if path.name.lower() != "readme.md")


def require_changes(release: Release) -> None:
    """Raise ReleaseError unless there is something to tell."""
    text = (release.folder / "CHANGELOG.md").read_text(encoding="utf-8")
    if not fragments(release.folder) and not _UNRELEASED.search(text):
        raise ReleaseError(
            f"packages/{release.name}/changes holds no fragment: say what changed (+WORDS.added.md ...)"
        )


def write_changelog(release: Release, today: datetime.date) -> str:
    """Write the new version's section and return it.

    Before the first release changes were written into CHANGELOG.md itself, below "(unreleased)"; they become
    the beginning of the new section.
    """
    path = release.folder / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    unreleased = _UNRELEASED.search(text)
    if unreleased:
        text = text[: unreleased.start()] + text[unreleased.end() :]
    if MARKER not in text:
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n{MARKER}\n{rest.strip()}".rstrip() + "\n"
    path.write_text(text, encoding="utf-8")
    heading = f"## {release.version} ({today.isoformat()})\n"
    if fragments(release.folder):
        words = ["build", "--yes", "--config", "towncrier.toml", "--dir", release.folder]
        words += ["--version", str(release.version), "--date", today.isoformat()]
        wheels.run([sys.executable, "-m", "towncrier", *words], release.tree)
        text = path.read_text(encoding="utf-8")
    else:
        text = text.replace(MARKER, f"{MARKER}\n{heading}", 1)
    if heading not in text:
        raise ReleaseError(f"{path.name}: towncrier wrote no '{heading.strip()}'")
    if unreleased:
        text = text.replace(heading, f"{heading}\n{unreleased[1]}\n", 1)
    text = re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
    path.write_text(text, encoding="utf-8")
    return heading + re.split(r"^## ", text.partition(heading)[2], maxsplit=1, flags=re.MULTILINE)[0].rstrip()


def write_version(release: Release) -> None:
    """Write the new version into pyproject.toml and ``__version__``."""
    wheels.replace_in(release.folder / "pyproject.toml", r'^version = "([^"]+)"$', str(release.version))
    module = release.folder / "src" / release.module / "__init__.py"
    wheels.replace_in(module, r'^__version__ = "([^"]+)"$', str(release.version))


def move_ranges(release: Release) -> list[str]:
    """Move ranges that leave out the new version, tell it in those packages' changes, return their names."""
    moved = []
    wanted = check_deps.sibling_range(release.version)
    for package in check_deps.find_packages(release.tree):
        path = package.folder / "pyproject.toml"
        before = text = path.read_text(encoding="utf-8")
        for declared in package.declared:
            need = Requirement(declared)
            if need.name == release.name != package.name and release.version not in need.specifier:
                extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
                text = text.replace(f'"{declared}"', f'"{need.name}{extras}{wanted}"')
        if text == before:
            continue
        path.write_text(text, encoding="utf-8")
        moved.append(package.name)
        if (package.folder / "changes").is_dir():
            version = f"{release.version.major}.{release.version.minor}"
            fragment = package.folder / "changes" / f"+{release.name}-{version}.changed.md"
            fragment.write_text(f"Needs `{release.name}{wanted}`.\n", encoding="utf-8")
    return moved


def make_artefacts(release: Release, out: Path) -> list[Path]:
    """Build and check wheel and source archive; keep the wheel among the released ones."""
    # The date of the commit before this release's: known before its own, and to everybody who has the tag.
    epoch = int(git(release.tree, "log", "-1", "--format=%ct"))
    tracked = git(release.folder, "ls-files").splitlines()
    sdist, wheel = sorted(
        wheels.build(release.folder, out, epoch, "sdist", "wheel"), key=lambda path: path.suffix
    )
    wheels.check_metadata(wheel)
    wheels.check_complete(tracked, release.module, wheel, sdist)
    wheels.check_rebuild(sdist, wheel, epoch)
    wheels.check_install(wheel, release.tree / WHEELS, release.tree / "constraints.txt")
    (release.tree / WHEELS).mkdir(exist_ok=True)
    shutil.copy2(wheel, release.tree / WHEELS)
    return [sdist, wheel]


def publish(root: Path, release: Release, notes: str) -> None:
    """Give the branch the commit and the commit its tag, or neither."""
    commit = git(release.tree, "rev-parse", "HEAD").strip()
    git(
        root,
        "tag",
        "--annotate",
        release.tag,
        commit,
        "--cleanup=verbatim",
        "-m",
        f"{release.name} {release.version}\n\n{notes}",
    )
    try:
        git(root, "merge", "--quiet", "--ff-only", commit)
    except ReleaseError:
        git(root, "tag", "--delete", release.tag)
        raise


def make_release(root: Path, name: str, part: str, *, dry_run: bool = False) -> str:
    """Release a package and return what was done, in words.

    Raises:
        ReleaseError: why it cannot be; the tree is as it was.
    """
    if not (root / "packages" / name / "pyproject.toml").exists():
        known = ", ".join(sorted(path.parent.name for path in root.glob("packages/*/pyproject.toml")))
        raise ReleaseError(f"there is no package '{name}' (there are: {known})")
    require_clean(root)
    with work_tree(root) as tree, tempfile.TemporaryDirectory() as scratch:
        packages = {package.name: package for package in check_deps.find_packages(tree)}
        before = Version(packages[name].project["version"])
        release = Release(tree, name, before, next_version(before, part))
        if git(root, "tag", "--list", release.tag).strip():
            raise ReleaseError(f"tag {release.tag} exists")
        check_declared(tree)
        require_changes(release)
        check_contract(release)
        check_api(release)
        write_version(release)
        moved = move_ranges(release)
        notes = write_changelog(release, datetime.datetime.now(datetime.UTC).date())
        keep_api(release)
        check_declared(tree)
        git(tree, "add", "--all")
        made = make_artefacts(release, Path(scratch))
        git(tree, "add", "--all", "--force", WHEELS)
        git(tree, "commit", "--quiet", "--all", "-m", f"Release {name} {release.version}")
        facts = [f"{path}  sha256:{digest}" for path, digest in wheels.digests(made).items()]
        if moved:
            facts.append(f"ranges moved in {', '.join(moved)}")
        if dry_run:
            changed = git(tree, "show", "--stat=110", "--format=")
            return "\n".join([f"{name} {release.version} can be released:", *facts, changed, notes])
        publish(root, release, notes)
        (root / "dist").mkdir(exist_ok=True)
        for path in made:
            shutil.copy2(path, root / "dist")
    return "\n".join([f"{name} {release.version} is released, tag {release.tag}; in dist/:", *facts])


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", help="such as mg-fusion")
    parser.add_argument("part", choices=("minor", "patch", "major"), help="part of the version to raise")
    parser.add_argument("--dry-run", action="store_true", help="do and check everything, keep nothing")
    given = parser.parse_args(arguments)
    try:
        done = make_release(ROOT, given.package, given.part, dry_run=given.dry_run)
    except (ReleaseError, subprocess.SubprocessError, OSError) as error:
        print(f"release: error: {error}", file=sys.stderr)
        print("nothing was changed", file=sys.stderr)
        return 1
    print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
