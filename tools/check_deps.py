"""Check what the packages declare against what they import: ``python tools/check_deps.py``.

It is part of ``make lint``. Every import of a package of others stands in ``dependencies`` or in an extra,
and in ``dependencies`` if it happens as soon as the package or its plugin is imported. Nothing is declared
in vain (``testing`` serves the tests), everything has a lower bound, nothing is pinned, and a sibling is a
range: ``>=0.1,<0.2`` before its 1.0.0, then ``>=1.LOWEST,<2``. Exceptions stand beside the declarations::

    [tool.check-deps.unimported]   # declared, never imported: what needs it
    [tool.check-deps.undeclared]   # imported, not declared: why it may be absent
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
# Distributions whose module is called otherwise than themselves.
MODULES = {
    "opencv-python-headless": "cv2",
    "protobuf": "google",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


@dataclass
class Imports:
    """What one module imports: ``early`` as soon as it is imported itself, ``late`` inside functions."""

    early: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Package:
    """A distribution of the tree."""

    folder: Path
    project: dict[str, Any]
    tool: dict[str, Any]

    @property
    def name(self) -> str:
        return canonicalize_name(self.project["name"])

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def extras(self) -> dict[str, list[str]]:
        return dict(self.project.get("optional-dependencies", {}))

    @property
    def declared(self) -> list[str]:
        return [
            *self.project.get("dependencies", ()),
            *(text for texts in self.extras.values() for text in texts),
        ]

    @property
    def required(self) -> list[Requirement]:
        return [Requirement(text) for text in self.project.get("dependencies", ())]

    @property
    def optional(self) -> list[Requirement]:
        return [Requirement(text) for texts in self.extras.values() for text in texts]

    @property
    def for_tests(self) -> list[Requirement]:
        return [Requirement(text) for text in self.extras.get("testing", ())]


def find_packages(root: Path) -> list[Package]:
    """Return the distributions below ``packages`` and ``examples``."""
    found = []
    for path in sorted([*root.glob("packages/*/pyproject.toml"), *root.glob("examples/*/pyproject.toml")]):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found.append(Package(path.parent, table["project"], table.get("tool", {}).get("check-deps", {})))
    return found


def sibling_range(version: Version) -> str:
    """Return the range that a sibling of this version is declared with when it is first needed.

    >>> sibling_range(Version("0.1.4")), sibling_range(Version("1.3.0"))
    ('>=0.1,<0.2', '>=1.3,<2')
    """
    end = f"0.{version.minor + 1}" if version.major == 0 else f"{version.major + 1}"
    return f">={version.major}.{version.minor},<{end}"


def _check_bounds(package: Package, siblings: dict[str, Package]) -> Iterator[str]:
    for requirement in [*package.required, *package.optional]:
        bounds = {specifier.operator: specifier.version for specifier in requirement.specifier}
        if "==" in bounds or "===" in bounds:
            yield f"'{requirement}' is pinned; declare a range, or nobody can install it beside others"
        elif not {">=", "~=", ">"}.intersection(bounds):
            yield f"'{requirement}' has no lower bound; declare the oldest version that is tested"
        sibling = siblings.get(canonicalize_name(requirement.name))
        if sibling is None or sibling.name == package.name:
            continue
        version = Version(sibling.project["version"])
        lowest = re.fullmatch(r"(\d+)\.(\d+)", bounds.get(">=", ""))
        wanted = sibling_range(version)
        if (
            lowest is None
            or set(bounds) != {">=", "<"}
            or sibling_range(Version(bounds[">="])).partition(",")[2] != f"<{bounds['<']}"
        ):
            yield f"'{requirement}' is no range of a sibling, wanted '{wanted}' or an older minor's"
        elif version not in requirement.specifier:
            yield f"'{requirement}' leaves out {sibling.name} {version} of this tree, wanted '{wanted}'"


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


class _Reader(ast.NodeVisitor):
    """Collects the modules that a file imports, by when that happens."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.imports = Imports()
        self._parents = module.split(".") if is_package else module.split(".")[:-1]
        self._depth = 0

    def _add(self, name: str) -> None:
        (self.imports.late if self._depth else self.imports.early).add(name)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._parents[: len(self._parents) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        self._add(source)
        for alias in node.names:
            self._add(f"{source}.{alias.name}")  # it may be a module

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rsplit(".", 1)[-1]
        if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant):
            self._add(str(node.args[0].value))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if not _is_type_checking(node.test):
            self.generic_visit(node)
            return
        # Types alone are imported there; who checks types needs the package, who runs it does not.
        self._depth += 1
        for child in node.body:
            self.visit(child)
        self._depth -= 1
        for child in node.orelse:
            self.visit(child)

    def _visit_function(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function


def read_imports(source: Path, package: str) -> dict[str, Imports]:
    """Return what each module of a package imports; ``source`` is the folder that holds the package."""
    found = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        reader = _Reader(module, is_package)
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        found[module] = reader.imports
    return found


def _test_imports(package: Package) -> set[str]:
    """Return what the package's own tests import: the extra ``testing`` is there for them."""
    reader = _Reader("tests", is_package=True)
    for path in sorted((package.folder / "tests").rglob("*.py")):
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return reader.imports.early | reader.imports.late


def _start_modules(package: Package) -> set[str]:
    entries = [
        *package.project.get("scripts", {}).values(),
        *(value for group in package.project.get("entry-points", {}).values() for value in group.values()),
    ]
    return {package.module, *(entry.partition(":")[0] for entry in entries)}


def _at_start(package: Package, imports: dict[str, Imports]) -> set[str]:
    """Return everything imported when the package, its plugin or its command is: what must be installed."""
    seen: set[str] = set()
    todo = list(_start_modules(package))
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in imports:
            todo += imports[name].early
        if "." in name and name.split(".")[0] == package.module:
            todo.append(name.rpartition(".")[0])
    return seen


def _tops(names: set[str], own: str) -> set[str]:
    tops = {name.split(".")[0] for name in names}
    return {top for top in tops if top and top != own and top not in sys.stdlib_module_names}


def _module_of(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    return MODULES.get(name, name.replace("-", "_"))


def _check_imports(package: Package) -> Iterator[str]:
    imports = read_imports(package.folder / "src", package.module)
    everything = {name for module in imports.values() for name in (*module.early, *module.late)}
    used = _tops(everything, package.module)
    in_tests = _tops(_test_imports(package), package.module)
    required = {_module_of(item): item for item in package.required}
    # An extra may name the package itself with others of its extras.
    optional = {_module_of(item): item for item in package.optional if item.name != package.name}
    reasons = {kind: dict(package.tool.get(kind, {})) for kind in ("unimported", "undeclared")}
    for top in sorted(used - set(required) - set(optional) - set(reasons["undeclared"])):
        where = next(name for name, found in imports.items() if top in _tops(found.early | found.late, ""))
        yield f"{where} imports '{top}', which is neither in dependencies nor in an extra"
    for top in sorted((_tops(_at_start(package, imports), package.module) & set(optional)) - set(required)):
        yield f"'{top}' of an extra is imported as soon as {package.module} is; import it where it is used"
    for top, requirement in sorted({**optional, **required}.items()):
        wanted_by = used | in_tests if requirement in package.for_tests else used
        if top not in wanted_by and requirement.name not in reasons["unimported"]:
            yield f"'{requirement}' is declared and never imported; remove it or say why in [tool.check-deps]"
    declared = {requirement.name: top for top, requirement in {**optional, **required}.items()}
    for name, reason in reasons["unimported"].items():
        if name not in declared or declared[name] in used:
            yield f"[tool.check-deps.unimported] names '{name}', which is imported or not declared"
        elif len(str(reason)) < 10:
            yield f"[tool.check-deps.unimported] gives no reason for '{name}'"
    for top, reason in reasons["undeclared"].items():
        if top not in used or top in required or top in optional:
            yield f"[tool.check-deps.undeclared] names '{top}', which is declared or not imported"
        elif len(str(reason)) < 10:
            yield f"[tool.check-deps.undeclared] gives no reason for '{top}'"


def check(root: Path = ROOT) -> list[str]:
    """Return everything that is wrong, one line each, beginning with the file to change."""
    packages = find_packages(root)
    siblings = {package.name: package for package in packages if package.folder.parent.name == "packages"}
    return [
        f"{(package.folder / 'pyproject.toml').relative_to(root)}: {problem}"
        for package in packages
        for problem in (*_check_bounds(package, siblings), *_check_imports(package))
    ]


def main() -> int:
    """Print what is wrong; exit code 1 if anything is."""
    problems = check()
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"dependencies of {len(find_packages(ROOT))} distributions: as declared")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
