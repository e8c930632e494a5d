"""tools/release.py: what it refuses, what it writes, and that a failure leaves nothing behind."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import release
import wheels
from packaging.version import Version
from promises import Release, check_api, check_contract
from versions import ROOT, version_today
from wheels import ReleaseError

TODAY = datetime.date(2030, 1, 2)


def git(tree: Path, *words: object) -> str:
    return subprocess.run(
        ["git", "-C", tree, *map(str, words)], check=True, capture_output=True, text=True
    ).stdout


def a_release(tree: Path, before: str, version: str, name: str = "mg-data") -> Release:
    return Release(tree, name, Version(before), Version(version))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A tree with one package that has a changelog."""
    folder = tmp_path / "packages" / "mg-data"
    (folder / "changes").mkdir(parents=True)
    shutil.copy2(ROOT / "towncrier.toml", tmp_path)
    (folder / "CHANGELOG.md").write_text(
        "# Changelog of mg-data\n\n## 0.1.0 (unreleased)\n\n- First thing.\n- Second thing\n  of two lines.\n"
    )
    return folder


def test_the_first_release_folds_what_was_written_before_fragments(package: Path) -> None:
    (package / "changes" / "+sound.added.md").write_text("Sound.\n")
    notes = release.write_changelog(a_release(package.parents[1], "0.1.0", "1.0.0"), TODAY)
    first = (
        "## 1.0.0 (2030-01-02)\n\n- First thing.\n- Second thing\n  of two lines.\n\n### Added\n\n- Sound."
    )
    assert notes == first
    text = (package / "CHANGELOG.md").read_text()
    assert text == f"# Changelog of mg-data\n\n{release.MARKER}\n{first}\n"
    assert release.fragments(package) == []

    (package / "changes" / "+smell.added.md").write_text("Smell.\n")
    (package / "changes" / "+noise.fixed.md").write_text("No noise.\n")
    notes = release.write_changelog(a_release(package.parents[1], "1.0.0", "1.1.0"), TODAY)
    second = "## 1.1.0 (2030-01-02)\n\n### Added\n\n- Smell.\n\n### Fixed\n\n- No noise."
    assert notes == second
    text = (package / "CHANGELOG.md").read_text()
    assert text == f"# Changelog of mg-data\n\n{release.MARKER}\n{second}\n\n{first}\n"


def test_the_first_release_needs_no_fragment_and_a_later_one_does(package: Path) -> None:
    first = a_release(package.parents[1], "0.1.0", "1.0.0")
    release.require_changes(first)
    assert release.write_changelog(first, TODAY).startswith("## 1.0.0 (2030-01-02)\n\n- First thing.")
    with pytest.raises(ReleaseError, match=r"packages/mg-data/changes holds no fragment: say what changed"):
        release.require_changes(a_release(package.parents[1], "1.0.0", "1.1.0"))


def write_promises(
    tree: Path, *, contract: str, store_format: str = "1.0", golden: str = "1.0", present: str, kept: str = ""
) -> None:
    base = tree / "packages/mg-data/src/mg_data"
    for path, text in (
        (base / "contract/version.py", f'CONTRACT_VERSION = "{contract}"\n'),
        (base / "store/schema.py", f'FORMAT_VERSION: Final = "{store_format}"\n'),
        (tree / "tests/compat/api/mg_data.txt", present),
        (tree / "tests/compat/golden" / golden / "a.h5", ""),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if kept:
        (tree / "tests/compat/api/mg-data-1.2.txt").write_text(
            f"# mg-data 1.2.0: contract 1.2, format 1.0\n{kept}"
        )


NAMES = (
    "[mg_data.contract]\nclass Spec()\n    name: str (required)\n"
    "[mg_data.store]\nread(path: 'str') -> 'int'\n"
)
MORE = NAMES.replace("(required)\n", "(required)\n    unit: str = ...\n")


def test_a_major_of_mg_data_moves_the_contract(tmp_path: Path) -> None:
    write_promises(tmp_path, contract="0.1", present=NAMES)
    check_contract(a_release(tmp_path, "0.1.0", "1.0.0"))
    moved = (tmp_path / "packages/mg-data/src/mg_data/contract/version.py").read_text()
    assert moved == 'CONTRACT_VERSION = "1.0"\n'


@pytest.mark.parametrize(
    ("version", "facts", "message"),
    [
        ("1.3.0", {"contract": "2.0"}, "CONTRACT_VERSION is 2.0, mg-data would be 1.3.0: the majors are one"),
        (
            "1.3.0",
            {"contract": "1.2", "present": MORE},
            "the contract changed since mg-data 1.2 and is still 1.2: raise CONTRACT_VERSION",
        ),
        (
            "1.3.0",
            {"contract": "1.2", "store_format": "1.1"},
            "store format 1.1 has no golden files: tests/compat/golden/make.py makes them",
        ),
        (
            "1.2.1",
            {"contract": "1.2", "store_format": "1.1", "golden": "1.1"},
            "a patch has no new store format, found 1.1 after 1.0",
        ),
        (
            "1.3.0",
            {"contract": "1.2", "store_format": "2.0", "golden": "2.0"},
            "store format 2.0 after 1.0 needs a major version of mg-data",
        ),
    ],
)
def test_contract_and_format_have_versions(
    tmp_path: Path, version: str, facts: dict[str, str], message: str
) -> None:
    write_promises(tmp_path, **{"present": NAMES, "kept": NAMES, **facts})  # type: ignore[arg-type]
    with pytest.raises(ReleaseError) as caught:
        check_contract(a_release(tmp_path, "1.2.0", version))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("version", "present", "message"),
    [
        ("1.2.1", MORE, "a patch adds no public name, 'mg_data.contract/Spec/unit' is new; release a minor"),
        ("1.3.0", NAMES.replace("read", "load"), "mg-data 1.2 promised what 1.3.0 breaks; release a major"),
        ("1.3.0", MORE, ""),
        ("2.0.0", NAMES.replace("read", "load"), ""),
    ],
)
def test_public_names_only_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, present: str, message: str
) -> None:
    write_promises(tmp_path, contract="1.3", present=present, kept=NAMES)
    # The text itself is held against the code by tests/compat/test_api.py.
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "api.py").write_text("")
    if message:
        with pytest.raises(ReleaseError) as caught:
            check_api(a_release(tmp_path, "1.2.0", version))
        assert str(caught.value).startswith(message)
    else:
        check_api(a_release(tmp_path, "1.2.0", version))


def test_only_ranges_that_leave_out_the_new_version_move(tmp_path: Path) -> None:
    for name, declared in (
        ("mg-data", ""),
        ("mg-old", '"mg-data[prep]>=0.1,<0.2"'),
        ("mg-new", '"mg-data>=1.0,<2"'),
    ):
        (tmp_path / "packages" / name / "changes").mkdir(parents=True)
        (tmp_path / "packages" / name / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "0.1.0"\ndependencies = [{declared}]\n'
            'keywords = ["mg-data"]\n[project.entry-points."mg.plugins"]\nmg-data-too = "mg_data.plugin"\n'
        )
    assert release.move_ranges(a_release(tmp_path, "0.1.0", "1.0.0")) == ["mg-old"]
    text = (tmp_path / "packages/mg-old/pyproject.toml").read_text()
    assert 'dependencies = ["mg-data[prep]>=1.0,<2"]' in text
    assert 'keywords = ["mg-data"]' in text
    assert 'mg-data-too = "mg_data.plugin"' in text
    fragment = tmp_path / "packages/mg-old/changes/+mg-data-1.0.changed.md"
    assert fragment.read_text() == "Needs `mg-data>=1.0,<2`.\n"
    assert not list((tmp_path / "packages/mg-new/changes").iterdir())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as a repository of its own, everything committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("the tree is no git repository: its files are not known")
    tree = tmp_path_factory.mktemp("repository") / "tree"
    listing = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    git(tree, "init", "--quiet", "--initial-branch", "main")
    git(tree, "config", "user.name", "Tester")
    git(tree, "config", "user.email", "tester@example.org")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "-m", "All of it")
    return tree


def state(tree: Path) -> tuple[str, ...]:
    words = (("rev-parse", "HEAD"), ("status", "--porcelain"), ("tag",), ("worktree", "list"), ("branch",))
    return tuple(git(tree, *command) for command in words)


def commit(tree: Path, message: str) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "-m", message)


@pytest.mark.slow
@pytest.mark.extended
def test_a_failed_release_leaves_the_tree_as_it_was(repository: Path) -> None:
    fragment = repository / "packages/mg-data/changes/+new.added.md"
    fragment.write_text("New.\n")
    before = state(repository)
    with pytest.raises(
        ReleaseError, match=r"the tree has 1 change\(s\), the first is '\?\? packages/mg-data/"
    ):
        release.make_release(repository, "mg-data", "major")
    assert state(repository) == before
    commit(repository, "A fragment")
    with pytest.raises(ReleaseError, match="there is no package 'mg-date'"):
        release.make_release(repository, "mg-date", "major")

    pyproject = repository / "packages/mg-data/pyproject.toml"
    sound = pyproject.read_text()
    for wrong, message in (
        (
            sound.replace('"click>=8.1"', '"click"'),
            "declared dependencies are wrong:\npackages/mg-data/pyproject",
        ),
        (
            sound.replace('readme = "README.md"\n', ""),
            r"metadata has no Description-Content-Type \(how its page",
        ),
        (
            sound.replace(
                "[tool.hatch.build.targets.wheel]\n",
                '[tool.hatch.build.targets.wheel]\nexclude = ["*.typed"]\n',
            ),
            r"\.whl lacks \d file\(s\), the first is mg_data/.*py.typed",
        ),
    ):
        assert wrong != sound
        pyproject.write_text(wrong)
        commit(repository, "Something wrong")
        before = state(repository)
        try:
            with pytest.raises(ReleaseError, match=message):
                release.make_release(repository, "mg-data", "major")
            assert state(repository) == before
        finally:
            pyproject.write_text(sound)
            commit(repository, "All well")


@pytest.mark.slow
@pytest.mark.extended
def test_releases_one_after_another(repository: Path) -> None:
    fusion_before = version_today("mg-fusion")
    (repository / "packages/mg-data/changes/+newer.added.md").write_text("Newer.\n")
    (repository / "packages/mg-fusion/changes/+newer.added.md").write_text("Newer.\n")
    commit(repository, "Fragments")
    before = state(repository)
    told = release.make_release(repository, "mg-data", "major", dry_run=True)
    version = release.next_version(version_today("mg-data"), "major")
    assert told.startswith(f"mg-data {version} can be released:")
    assert state(repository) == before

    release.make_release(repository, "mg-data", "major")
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag").split()[-1] == f"mg-data-v{version}"
    wheel = repository / f"tests/compat/wheels/mg_data-{version}-py3-none-any.whl"
    assert wheels.read_metadata(wheel)["Version"] == str(version)
    kept = (repository / f"tests/compat/api/mg-data-{version.major}.0.txt").read_text()
    assert kept.startswith(f"# mg-data {version}: contract {version.major}.0, format ")
    assert release.check_deps.check(repository) == []

    # Whoever has the tag can build the same wheel.
    epoch = int(git(repository, "log", "-1", "--format=%ct", f"mg-data-v{version}^"))
    (again,) = wheels.build(repository / "packages/mg-data", repository.parent / "again", epoch, "wheel")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    with zipfile.ZipFile(wheel) as archive:
        assert f"mg_data-{version}.dist-info/licenses/LICENSE" in archive.namelist()
    with tarfile.open(repository / "dist" / f"mg_data-{version}.tar.gz") as sources:
        assert f"mg_data-{version}/CHANGELOG.md" in sources.getnames()

    release.make_release(repository, "mg-fusion", "major")
    fusion = release.next_version(fusion_before, "major")
    needs = wheels.siblings_of(repository / f"tests/compat/wheels/mg_fusion-{fusion}-py3-none-any.whl")
    assert [str(need) for need in needs] == [f"mg-data<{version.major + 1},>={version.major}.0"]
    with pytest.raises(ReleaseError, match="packages/mg-fusion/changes holds no fragment"):
        release.make_release(repository, "mg-fusion", "patch")

    # What was released is held against what is there now, in the tree that has it.
    sources = os.pathsep.join(str(path) for path in sorted(repository.glob("packages/*/src")))
    names = ("test_pins.py", "test_api.py", "test_plugin_of_contract_1_0.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *(f"tests/compat/{name}" for name in names),
        ],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": sources},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds no wheel" not in done.stdout, done.stdout
