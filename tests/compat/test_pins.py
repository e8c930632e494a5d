"""Whoever pins a released version is never broken: old wheels run beside new ones.

The wheels of released versions lie in ``wheels`` (tools/release.py keeps them there) and are never changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from versions import ROOT, WHEELS, require_released, version_today
from wheels import find_wheel, make_environment, siblings_of

HERE = Path(__file__).parent
GOLDEN, SMOKE = HERE / "golden", HERE / "smoke_fusion.py"
CONSTRAINTS = ROOT / "constraints.txt"


def smoke(python: object, folder: Path, **variables: str) -> None:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MG_"))}
    done = subprocess.run(
        [str(python), str(SMOKE), str(GOLDEN), str(folder)],
        cwd=folder,
        env={**inherited, **variables, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "fine\n"


def fitting_fusions() -> list[Path]:
    """Return the released mg-fusion wheels whose range has today's mg-data in it."""
    today = version_today("mg-data")
    found = [
        path
        for path in require_released("mg-fusion")
        if all(today in need.specifier for need in siblings_of(path) if need.name == "mg-data")
    ]
    assert found, f"no released mg-fusion allows mg-data {today}: release one that does"
    return found


def test_the_smoke_test_passes_today(tmp_path: Path) -> None:
    smoke(sys.executable, tmp_path)


def test_every_wheel_is_kept_with_its_public_names() -> None:
    for path in WHEELS.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(path.name)
        if name in ("mg-data", "mg-fusion"):
            kept = HERE / "api" / f"{name}-{version.major}.{version.minor}.txt"
            assert kept.exists(), f"{path.name} was released without {kept.name}: use tools/release.py"


def test_released_fusions_run_with_todays_data(tmp_path: Path) -> None:
    for wheel in fitting_fusions():
        # The wheel in front of this environment's own mg-fusion; everything else is today's.
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / wheel.stem)
        version = parse_wheel_filename(wheel.name)[1]
        code = (
            "import importlib.metadata as m, mg_fusion; print(m.version('mg-fusion'), mg_fusion.__version__)"
        )
        path = str(tmp_path / wheel.stem)
        words = [sys.executable, "-c", code]
        found = subprocess.run(
            words, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True
        )
        assert found.stdout.split() == [str(version), str(version)]
        folder = tmp_path / f"work-{version}"
        folder.mkdir()
        smoke(sys.executable, folder, PYTHONPATH=path)


@pytest.mark.slow
@pytest.mark.extended
def test_released_fusions_are_installed_with_todays_data(
    todays_wheels: dict[str, Path], tmp_path: Path
) -> None:
    for wheel in fitting_fusions():
        folder = tmp_path / wheel.stem
        folder.mkdir()
        smoke(make_environment(folder / "env", [wheel, todays_wheels["mg-data"]], CONSTRAINTS), folder)


@pytest.mark.slow
@pytest.mark.extended
def test_todays_fusion_runs_with_the_oldest_data_that_it_allows(
    todays_wheels: dict[str, Path], tmp_path: Path
) -> None:
    require_released("mg-data")
    table = tomllib.loads((ROOT / "packages/mg-fusion/pyproject.toml").read_text(encoding="utf-8"))
    (need,) = [
        requirement
        for requirement in map(Requirement, table["project"]["dependencies"])
        if requirement.name == "mg-data"
    ]
    oldest = find_wheel(need, WHEELS, oldest=True)
    assert oldest is not None, f"no released mg-data fits mg-fusion's '{need}': release it first"
    lowest = Version(next(item.version for item in need.specifier if item.operator == ">="))
    found = parse_wheel_filename(oldest.name)[1]
    assert found.release[:2] == lowest.release[:2], f"'{need}' allows mg-data {lowest}, kept is {found}"
    python = make_environment(tmp_path / "env", [todays_wheels["mg-fusion"], oldest], CONSTRAINTS)
    smoke(python, tmp_path)


@pytest.mark.slow
@pytest.mark.extended
def test_a_pinned_fusion_is_solved_with_the_newest_siblings(
    todays_wheels: dict[str, Path], tmp_path: Path
) -> None:
    for wheel in fitting_fusions():
        version = parse_wheel_filename(wheel.name)[1]
        newest = [str(path) for name, path in sorted(todays_wheels.items()) if name != "mg-fusion"]
        wanted = tmp_path / f"{version}.in"
        wanted.write_text("\n".join([f"mg-fusion=={version}", *newest]) + "\n", encoding="utf-8")
        done = subprocess.run(
            [
                sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
                "--find-links", WHEELS, "-c", CONSTRAINTS, wanted,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"mg-fusion=={version}" in done.stdout.splitlines()
        assert all(Path(path).name in done.stdout for path in newest)


@pytest.mark.slow
@pytest.mark.extended
def test_the_lowest_declared_versions_work(todays_wheels: dict[str, Path], tmp_path: Path) -> None:
    # Direct for a resolver is what it is asked for itself: so what the packages declare is asked for again.
    extras = {"mg-data": ("prep", "pose", "plot"), "mg-fusion": ("fast", "report", "stacking")}
    wanted: list[str] = []
    for name, chosen in extras.items():
        project = tomllib.loads((ROOT / f"packages/{name}/pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        wanted.append(f"{name}[{','.join(chosen)}] @ {todays_wheels[name].as_uri()}")
        for texts in (
            project["dependencies"],
            *(project["optional-dependencies"][extra] for extra in chosen),
        ):
            wanted += [text for text in texts if not text.startswith("mg-")]
    loose = tmp_path / "none.txt"
    loose.write_text("")
    python = make_environment(tmp_path / "env", wanted, loose, "--resolution", "lowest-direct")
    smoke(python, tmp_path)
    work = tmp_path / "data"
    # What the extras of mg-data bring: tables, videos, pictures, figures.
    code = (
        "from mg_data.cli.main import run\n"
        "for words in (\n"
        "    'data synth raw --clips 24 --subjects 4 --size 120x160',\n"
        "    'data import synthetic raw -o clips.h5 --labels labels.csv',\n"
        "    'data check clips.h5 --labels labels.csv',\n"
        "    'data stats clips.h5 --labels labels.csv --plot stats.png',\n"
        "    'data crop clips.h5 raw -o crops.h5 --size 32',\n"
        "    'data preview clips.h5 raw -o sheet.png',\n"
        "    'layouts show imigue-35 --plot layout.png',\n"
        "):\n"
        "    assert run(words.split()) == 0, words\n"
    )
    work.mkdir()
    done = subprocess.run([python, "-c", code], cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
