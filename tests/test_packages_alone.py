"""Each package's wheel, alone in a clean environment with what it declares, passes its own tests.

The tests run from a copy outside the tree, so what they import is the wheel. No extra is installed and no
sibling but the declared ones: what a test needs beyond that it must skip by name, and a dependency that is
used and not declared fails here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from helpers import ROOT
from wheels import build, find_wheel, make_environment, run, siblings_of

pytestmark = [pytest.mark.extended, pytest.mark.slow]

PACKAGES = ("mg-data", "mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion")
TEST_TOOLS = ("pytest", "hypothesis")
EPOCH = 1_600_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of the five packages."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        build(ROOT / "packages" / package, folder, EPOCH, "wheel")
    return folder


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the package's tests and README, and the tree's settings of pytest; no source."""
    package = request.node.callspec.params["package"]
    folder = tmp_path / "copy"
    target = folder / "packages" / package
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "packages" / package / "tests", target / "tests", ignore=ignored)
    for name in ("pyproject.toml", "conftest.py", f"packages/{package}/README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_alone_passes_the_tests_of_its_package(package: str, built: Path, copied: Path) -> None:
    (wheel,) = built.glob(f"{package.replace('-', '_')}-*.whl")
    siblings = [find_wheel(requirement, built) for requirement in siblings_of(wheel)]
    assert None not in siblings
    environment = copied.parent / "environment"
    try:
        python = make_environment(
            environment, [wheel, *siblings, *TEST_TOOLS], ROOT / "constraints.txt", "--link-mode", "hardlink"
        )
        others = [name for name in PACKAGES if name not in (package, "mg-data")]
        absent = f"import importlib.util as u; assert not any(map(u.find_spec, {others!r}))".replace("-", "_")
        run([python, "-I", "-c", absent], copied)
        suite = _run_tests(python, package, copied)
    finally:
        shutil.rmtree(environment, ignore_errors=True)
    tests, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    assert tests - skipped > 4 * skipped, f"{skipped} of {tests} were skipped"
    reasons = {str(item.get("message")) for item in suite.iter("skipped")}
    assert "" not in reasons
    assert "None" not in reasons


def _run_tests(python: Path, package: str, copied: Path) -> ElementTree.Element:
    """Run the tests that are not extended, require success, return the suite's report."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    data = Path(os.environ.get("MG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    report = copied / "report.xml"
    words = ("-q", "-p", "no:cacheprovider", "-m", "not extended", f"--junitxml={report}")
    done = subprocess.run(
        [str(python), "-m", "pytest", *words, f"packages/{package}/tests"],
        cwd=copied,
        env={**inherited, "MG_SHARED_DATA": str(data), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    return suite
