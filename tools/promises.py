"""What a version may change: nothing that an earlier one of its major promised.

Within a major version the public names only grow (tools/api.py), and a patch adds none. mg-data's major is
that of the contract: a major release moves ``CONTRACT_VERSION`` to it. A contract that grew has a higher
minor of its own. A new version of the store format has golden files; a new major of it needs one of mg-data.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import api
import wheels
from packaging.version import Version
from wheels import ReleaseError

API = "tests/compat/api"
# The text of a package's public names.
PRESENT_API = {"mg-data": f"{API}/mg_data.txt", "mg-fusion": "packages/mg-fusion/tests/api_snapshot.txt"}
CONTRACT = "packages/mg-data/src/mg_data/contract/version.py"
FORMAT = "packages/mg-data/src/mg_data/store/schema.py"
_CONTRACT_LINE = r'^CONTRACT_VERSION = "([\d.]+)"$'
_FORMAT_LINE = r'^FORMAT_VERSION: Final = "([\d.]+)"$'


@dataclass(frozen=True)
class Release:
    """One release: the work tree it is made in, the package, its old and its new version."""

    tree: Path
    name: str
    before: Version
    version: Version

    @property
    def folder(self) -> Path:
        return self.tree / "packages" / self.name

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def tag(self) -> str:
        return f"{self.name}-v{self.version}"


def kept_api(release: Release) -> tuple[Version, str] | None:
    """Return version and public names of the newest release of the new version's major, or None."""
    found = [
        (Version(path.stem.removeprefix(f"{release.name}-")), path)
        for path in (release.tree / API).glob(f"{release.name}-*.txt")
    ]
    same = [entry for entry in found if entry[0].major == release.version.major]
    if not same:
        return None
    version, path = max(same)
    return version, path.read_text(encoding="utf-8")


def contract_and_format(tree: Path) -> tuple[Version, Version]:
    """Return the versions of contract and store format in a tree."""
    pair = []
    for name, pattern in ((CONTRACT, _CONTRACT_LINE), (FORMAT, _FORMAT_LINE)):
        pair.append(Version(wheels.version_in((tree / name).read_text(encoding="utf-8"), pattern, name)))
    return pair[0], pair[1]


def check_api(release: Release) -> None:
    """Raise ReleaseError if the text of the public names is out of date, or if promises are broken."""
    if release.name not in PRESENT_API:
        return
    sources = ":".join(str(path) for path in sorted(release.tree.glob("packages/*/src")))
    if release.name == "mg-data":
        words = ["tools/api.py"]
    else:
        words = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"packages/{release.name}/tests/test_api_snapshot.py",
        ]
    wheels.run([sys.executable, *words], release.tree, PYTHONPATH=sources)
    kept = kept_api(release)
    if kept is None:
        return
    present = (release.tree / PRESENT_API[release.name]).read_text(encoding="utf-8")
    broken = api.broken_promises(kept[1], present)
    if broken:
        raise ReleaseError(
            f"{release.name} {kept[0]} promised what {release.version} breaks; release a major version:\n"
            + "\n".join(broken)
        )
    added = sorted(set(api.entries(present)) - set(api.entries(kept[1])))
    if added and release.version.micro:
        raise ReleaseError(f"a patch adds no public name, '{added[0]}' is new; release a minor version")


def check_contract(release: Release) -> None:
    """Move the contract's version with mg-data's major; ReleaseError if contract or format do not fit it."""
    if release.name != "mg-data":
        return
    if release.version.major != release.before.major:
        wheels.replace_in(release.tree / CONTRACT, _CONTRACT_LINE, f"{release.version.major}.0")
    contract, store_format = contract_and_format(release.tree)
    if contract.major != release.version.major:
        raise ReleaseError(
            f"CONTRACT_VERSION is {contract}, mg-data would be {release.version}: the majors are one"
        )
    golden = release.tree / "tests" / "compat" / "golden" / str(store_format)
    if not list(golden.glob("*.h5")):
        raise ReleaseError(
            f"store format {store_format} has no golden files: tests/compat/golden/make.py makes them"
        )
    kept = kept_api(release)
    if kept is None:
        return
    head = re.match(r"# .*: contract ([\d.]+), format ([\d.]+)\n", kept[1])
    if head is None:
        raise ReleaseError(f"{API}/mg-data-{kept[0]}.txt does not say its contract and format")
    old_contract, old_format = Version(head[1]), Version(head[2])
    texts = ((release.tree / PRESENT_API["mg-data"]).read_text(encoding="utf-8"), kept[1])
    new, old = (
        {name: line for name, line in api.entries(text).items() if name.startswith("mg_data.contract")}
        for text in texts
    )
    if new != old and contract <= old_contract:
        raise ReleaseError(
            f"the contract changed since mg-data {kept[0]} and is still {contract}: raise CONTRACT_VERSION"
        )
    if store_format != old_format and release.version.micro:
        raise ReleaseError(f"a patch has no new store format, found {store_format} after {old_format}")
    if store_format.major != old_format.major:
        raise ReleaseError(f"store format {store_format} after {old_format} needs a major version of mg-data")


def keep_api(release: Release) -> None:
    """Keep the text of the public names of a new minor version beside the present one."""
    if release.name not in PRESENT_API:
        return
    text = (release.tree / PRESENT_API[release.name]).read_text(encoding="utf-8")
    contract, store_format = contract_and_format(release.tree)
    head = f"# {release.name} {release.version}: contract {contract}, format {store_format}\n"
    path = release.tree / API / f"{release.name}-{release.version.major}.{release.version.minor}.txt"
    if not path.exists():
        path.write_text(head + text, encoding="utf-8")
