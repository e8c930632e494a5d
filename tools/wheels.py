"""Wheels and source archives of the packages: built, and looked at as a stranger would."""

from __future__ import annotations

import email
import email.message
import email.policy
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

# Field of a distribution's metadata -> what a package without it leaves a user wondering.
WANTED = {
    "Name": "what it is called",
    "Version": "which one it is",
    "Summary": "what it is for",
    "License-Expression": "whether it may be used",
    "License-File": "the terms themselves",
    "Author": "who made it",
    "Requires-Python": "where it runs",
    "Keywords": "how to find it",
    "Classifier": "whom it is for",
    "Description-Content-Type": "how its page is written",
}


class ReleaseError(Exception):
    """Why a package cannot be released, in one line."""


def run(words: Iterable[object], folder: Path, **variables: str) -> str:
    """Run a command in a folder and return what it printed; ReleaseError with its last lines if it fails."""
    command = [str(word) for word in words]
    # Nothing of this environment's own paths and settings: what is tested is the artefact.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MG_"))}
    done = subprocess.run(
        command, cwd=folder, env={**inherited, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ReleaseError(f"'{' '.join(command)}' failed in {folder}:\n{told}")
    return done.stdout


def build(folder: Path, out: Path, epoch: int, *kinds: str) -> list[Path]:
    """Build ``kinds`` (``wheel``, ``sdist``) of the package in ``folder`` with the tools of this environment.

    Args:
        epoch: seconds since 1970 that all files in them are dated with: equal input gives equal bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = set(out.iterdir())
    words = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        *(f"--{kind}" for kind in kinds),
        "-o",
        out,
        ".",
    ]
    run(words, folder, SOURCE_DATE_EPOCH=str(epoch))
    return sorted(set(out.iterdir()) - before)


def read_metadata(wheel: Path) -> email.message.EmailMessage:
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name), policy=email.policy.compat32)  # type: ignore[return-value]


def check_metadata(wheel: Path) -> None:
    """Raise ReleaseError unless the metadata is valid and complete."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        Metadata.from_email(archive.read(name))  # raises for what an index would refuse
    found = read_metadata(wheel)
    for field, question in WANTED.items():
        if not found.get_all(field):
            raise ReleaseError(f"{wheel.name}: metadata has no {field} ({question})")
    if len(str(found.get_payload())) < 200:
        raise ReleaseError(f"{wheel.name}: metadata holds no description; pyproject.toml names the README")
    from trove_classifiers import classifiers

    for classifier in found.get_all("Classifier") or ():
        if classifier not in classifiers:
            raise ReleaseError(f"{wheel.name}: '{classifier}' is no classifier")


def check_complete(tracked: Iterable[str], module: str, wheel: Path, sdist: Path) -> None:
    """Raise ReleaseError if a file of the tree is missing in the archives, or the wheel holds another one.

    Args:
        tracked: paths of all files of the package's folder that git knows, relative to it.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        entries = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    with tarfile.open(sdist) as tar:
        sources = {name.partition("/")[2] for name in tar.getnames()}
    files = set(tracked)
    own = {path.removeprefix("src/") for path in files if path.startswith(f"src/{module}/")}
    for what, missing in (
        (f"{wheel.name} lacks", own - packed),
        (f"{sdist.name} lacks", files - sources),
        (f"{wheel.name} holds, unknown to git,", packed - own),
    ):
        if missing:
            raise ReleaseError(f"{what} {len(missing)} file(s), the first is {min(missing)}")
    if f"{module}/py.typed" not in packed or not entries:
        raise ReleaseError(f"{wheel.name} lacks py.typed or LICENSE")


def check_rebuild(sdist: Path, wheel: Path, epoch: int) -> None:
    """Raise ReleaseError unless the source archive gives the same wheel, byte by byte."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(sdist) as tar:
            tar.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        (again,) = build(source, folder / "again", epoch, "wheel")
        digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in (wheel, again)]
        if digests[0] != digests[1]:
            raise ReleaseError(
                f"{sdist.name} gives another wheel: sha256 {digests[1]}..., wanted {digests[0]}..."
            )


def find_wheel(requirement: Requirement, folder: Path, *, oldest: bool = False) -> Path | None:
    """Return the newest (or oldest) wheel in ``folder`` that fits a requirement, or None."""
    fitting: list[tuple[Version, Path]] = []
    for path in folder.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(path.name)
        if name == canonicalize_name(requirement.name) and version in requirement.specifier:
            fitting.append((version, path))
    if not fitting:
        return None
    return (min if oldest else max)(fitting)[1]


def siblings_of(wheel: Path) -> list[Requirement]:
    """Return the requirements of a wheel, those of its extras left out, whose name begins with ``mg-``."""
    found = [Requirement(text) for text in read_metadata(wheel).get_all("Requires-Dist") or ()]
    return [item for item in found if item.name.startswith("mg-") and "extra" not in str(item.marker)]


def make_environment(folder: Path, packages: Iterable[object], constraints: Path, *more: object) -> Path:
    """Make an environment of this Python with some packages and nothing else; return its interpreter."""
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--python", sys.executable, folder], folder.parent)
    python = folder / "bin" / "python"
    words = [*uv, "pip", "install", "--quiet", "--python", python, "-c", constraints, *more, *packages]
    run(words, folder.parent)
    return python


def check_install(wheel: Path, released: Path, constraints: Path) -> None:
    """Raise ReleaseError unless the wheel, alone with what it declares, is imported and found as a plugin.

    Args:
        released: folder with the wheels of the siblings that it needs.
        constraints: versions of everything else.
    """
    packages: list[Path] = [wheel]
    for requirement in siblings_of(wheel):
        sibling = find_wheel(requirement, released)
        if sibling is None:
            raise ReleaseError(
                f"{wheel.name} needs '{requirement}', of which there is no wheel in {released.name}: "
                f"release {requirement.name} first"
            )
        packages.append(sibling)
    name, version, _, _ = parse_wheel_filename(wheel.name)
    module = name.replace("-", "_")
    code = (
        f"import {module}, importlib.metadata as metadata\n"
        f"assert {module}.__version__ == metadata.version('{name}') == '{version}', {module}.__version__\n"
        f"for entry in metadata.distribution('{name}').entry_points: entry.load()\n"
        "from mg_data.plugins import registry\n"
        f"(info,) = [info for info in registry().plugins if info.distribution == '{name}']\n"
        "assert info.status == 'loaded', info\n"
        "assert not registry().conflicts, registry().conflicts\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder) / "env", packages, constraints)
        run([python, "-I", "-c", code], Path(folder))
        help_text = run([python.parent / "mg", "--help"], Path(folder), MG_STRICT_PLUGINS="1")
        if "Commands" not in help_text:
            raise ReleaseError(f"{wheel.name}: 'mg --help' lists no commands")


def version_in(text: str, pattern: str, where: object) -> str:
    """Return the only group of the only match of a pattern; ReleaseError if there is none or several."""
    found = re.findall(pattern, text, re.MULTILINE)
    if len(found) != 1:
        raise ReleaseError(f"{where}: {len(found)} places match {pattern}, wanted 1")
    return str(found[0])


def replace_in(path: Path, pattern: str, value: str) -> None:
    """Replace the only group of the only match of a pattern in a file."""
    text = path.read_text(encoding="utf-8")
    version_in(text, pattern, path)
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None
    path.write_text(text[: match.start(1)] + value + text[match.end(1) :], encoding="utf-8")


def digests(paths: Iterable[Path]) -> Mapping[str, str]:
    """Return name -> SHA-256 of files."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
