"""tools/check_deps.py finds what is declared wrongly, and nothing in this tree is."""

from __future__ import annotations

from pathlib import Path

import check_deps
import pytest
from packaging.version import Version

DATA = """\
[project]
name = "mg-data"
version = "{version}"
dependencies = ["numpy>=1.26"]
"""
TOOL = """\
[project]
name = "mg-tool"
version = "0.1.0"
dependencies = ["mg-data>=0.1,<0.2", "numpy>=1.26"]
[project.optional-dependencies]
plot = ["matplotlib>=3.8"]
[project.entry-points."mg.plugins"]
mg-tool = "mg_tool.plugin"
[tool.check-deps.unimported]
[tool.check-deps.undeclared]
"""
CODE = {
    "__init__": "",
    "plugin": "import mg_data\nfrom . import work\n",
    "work": "import json\nimport numpy as np\n\ndef draw():\n    from mg_tool import figure\n",
    "figure": "import matplotlib.pyplot\n",
}


def write_tree(root: Path, *, toml: str = TOOL, version: str = "0.1.0", **code: str) -> Path:
    for name, text, files in (
        ("mg-data", DATA.format(version=version), {"__init__": "import numpy\n"}),
        ("mg-tool", toml, {**CODE, **code}),
    ):
        source = root / "packages" / name / "src" / name.replace("-", "_")
        source.mkdir(parents=True)
        (root / "packages" / name / "pyproject.toml").write_text(text)
        for module, lines in files.items():
            (source / f"{module}.py").write_text(lines)
    return root


def test_this_tree_declares_what_it_imports() -> None:
    assert check_deps.check() == []


def test_a_sound_package_passes(tmp_path: Path) -> None:
    assert check_deps.check(write_tree(tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("numpy>=1.26", "numpy==1.26", "'numpy==1.26' is pinned; declare a range, or nobody can install it"),
        ("numpy>=1.26", "numpy", "'numpy' has no lower bound; declare the oldest version that is tested"),
        ("numpy>=1.26", "numpy<3", "'numpy<3' has no lower bound"),
        ("mg-data>=0.1,<0.2", "mg-data>=0.1", "'mg-data>=0.1' is no range of a sibling, wanted '>=0.1,<0.2'"),
        ("mg-data>=0.1,<0.2", "mg-data>=0.1,<1", "'mg-data<1,>=0.1' is no range of a sibling"),
        (
            "mg-data>=0.1,<0.2",
            "mg-data>=0.2,<0.3",
            "leaves out mg-data 0.1.0 of this tree, wanted '>=0.1,<0.2'",
        ),
        (
            '"numpy>=1.26"]',
            '"numpy>=1.26", "click>=8"]',
            "'click>=8' is declared and never imported; remove it",
        ),
        (
            '"mg-data>=0.1,<0.2", "numpy>=1.26"',
            '"mg-data>=0.1,<0.2"',
            "mg_tool.work imports 'numpy', which is neither in dependencies nor in an extra",
        ),
        (
            "[tool.check-deps.unimported]\n",
            '[tool.check-deps.unimported]\nnumpy = "it is nice to have"\n',
            "[tool.check-deps.unimported] names 'numpy', which is imported or not declared",
        ),
        (
            "[tool.check-deps.undeclared]\n",
            '[tool.check-deps.undeclared]\ntorch = "it may be there"\n',
            "[tool.check-deps.undeclared] names 'torch', which is declared or not imported",
        ),
    ],
)
def test_wrong_declarations_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOOL
    (problem,) = check_deps.check(write_tree(tmp_path, toml=TOOL.replace(old, new)))
    assert problem.startswith("packages/mg-tool/pyproject.toml: ")
    assert message in problem


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("work", "import numpy\nfrom mg_tool import figure\n"),
        ("work", "import numpy\nfrom .figure import something\n"),
        ("plugin", "import mg_data, numpy\nimport matplotlib\n"),
        ("__init__", "import matplotlib\n"),
    ],
)
def test_an_extra_is_not_imported_at_once(tmp_path: Path, module: str, text: str) -> None:
    (problem,) = check_deps.check(write_tree(tmp_path, **{module: text}))
    assert problem.endswith(
        "'matplotlib' of an extra is imported as soon as mg_tool is; import it where it is used"
    )


def test_the_extra_testing_is_for_the_tests(tmp_path: Path) -> None:
    extra = '[project.optional-dependencies]\ntesting = ["pytest>=8"]\n'
    root = write_tree(tmp_path, toml=TOOL.replace("[project.optional-dependencies]\n", extra))
    (problem,) = check_deps.check(root)
    assert "'pytest>=8' is declared and never imported" in problem
    (root / "packages/mg-tool/tests").mkdir()
    (root / "packages/mg-tool/tests/test_it.py").write_text("import pytest\n")
    assert check_deps.check(root) == []


def test_exceptions_give_reasons(tmp_path: Path) -> None:
    toml = TOOL.replace('"numpy>=1.26"]', '"numpy>=1.26", "click>=8"]')
    toml = toml.replace("[tool.check-deps.unimported]\n", '[tool.check-deps.unimported]\nclick = "why"\n')
    (problem,) = check_deps.check(write_tree(tmp_path, toml=toml))
    assert problem.endswith("[tool.check-deps.unimported] gives no reason for 'click'")


def test_imports_by_name_and_for_types_count_as_late(tmp_path: Path) -> None:
    text = (
        "import importlib\nfrom typing import TYPE_CHECKING\nimport numpy\nif TYPE_CHECKING:\n"
        "    import matplotlib\ndef f():\n    importlib.import_module('torch.nn')\n"
    )
    (problem,) = check_deps.check(write_tree(tmp_path, work=text))
    assert problem.endswith("mg_tool.work imports 'torch', which is neither in dependencies nor in an extra")


@pytest.mark.parametrize(
    ("version", "declared", "fits"),
    [
        ("1.0.0", ">=1.0,<2", True),
        ("1.3.2", ">=1.0,<2", True),
        ("1.3.2", ">=1.3,<2", True),
        ("1.3.2", ">=1.4,<2", False),
        ("1.3.2", ">=1.3,<1.4", False),
        ("2.0.0", ">=1.3,<2", False),
        ("1.0.0", ">=0.1,<0.2", False),
        ("0.2.0", ">=0.2,<0.3", True),
    ],
)
def test_ranges_of_siblings(tmp_path: Path, version: str, declared: str, fits: bool) -> None:
    toml = TOOL.replace(">=0.1,<0.2", declared)
    assert (check_deps.check(write_tree(tmp_path, toml=toml, version=version)) == []) is fits
    if not fits:
        wanted = check_deps.sibling_range(Version(version))
        (tmp_path / "after").mkdir()
        moved = write_tree(tmp_path / "after", toml=TOOL.replace(">=0.1,<0.2", wanted), version=version)
        assert check_deps.check(moved) == []
