"""A new plugin distribution out of templates: ``mg plugins new``.

The templates are :class:`string.Template` files: what differs lies in ``templates/KIND``, the rest in
``templates/common``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from mg_data import __version__
from mg_data.contract import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is special to one kind of plugin.

    Args:
        summary: of the distribution and its record. code: the file with the working part.
        change: what of it is the author's. usage: how the plugin is used, for the README.
        dependencies: besides mg-data.
    """

    summary: str
    code: str
    change: str
    usage: str
    dependencies: tuple[str, ...] = ()


_TRAIN = """```bash
mg train {model} --data {data} --split split.h5 -o {model}.safetensors
mg predict {model}.safetensors --data {data} --split split.h5 --subset target -o {model}.h5
mg fuse {model}.h5 other.h5 -o fused.h5      # beside the scores of any other model
```"""
KINDS: Mapping[str, Kind] = {
    "model": Kind(
        summary="A small convolutional network over keypoints",
        code="model",
        change="the network, and how it is built from its options",
        usage=_TRAIN.format(model="$record", data="clips.h5"),
        dependencies=("torch>=2.2",),
    ),
    "modality": Kind(
        summary="A signal of a features store, stretched to a fixed number of samples",
        code="modality",
        change="how a stored clip becomes a sample; `model.py` beside it is a network that reads it",
        usage="Write the signal with `mg_data.store.write_features(path, clip_ids=..., "
        'signals={"$record": [...]}, dataset=...)`; then\n\n'
        + _TRAIN.format(model="$record-cnn", data="features.h5"),
        dependencies=("numpy>=1.26", "torch>=2.2"),
    ),
    "dataset": Kind(
        summary="A folder of keypoint arrays and an index in csv",
        code="importer",
        change="how your raw tree is read; keep `write_example` in step, the checks read what it writes",
        usage="```bash\nmg data import $record FOLDER -o clips.h5 --labels labels.csv --workers 2\n```",
        dependencies=("numpy>=1.26",),
    ),
    "fuser": Kind(
        summary="The median of the models' probabilities",
        code="fuser",
        change="the rule by which scores become probabilities",
        usage="```bash\nmg fuse a.h5 b.h5 c.h5 --fuser $record -o fused.h5\n```",
        dependencies=("numpy>=1.26",),
    ),
    "pose": Kind(
        summary="A stand-in for a pose estimator: what is brighter than the rest",
        code="estimator",
        change="the network that finds people in frames",
        usage="```bash\nmg data pose VIDEOS -o poses.h5 --estimator $record\n```",
        dependencies=("numpy>=1.26",),
    ),
}


def compatible_range(version: str) -> str:
    """Return the versions of mg-data that a plugin written for ``version`` may ask for.

    >>> compatible_range("0.1.0"), compatible_range("1.4.2")
    ('>=0.1,<0.2', '>=1.4,<2')
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def write_plugin(name: str, kind: str, folder: Path) -> list[Path]:
    """Write a complete distribution and return its files.

    Args:
        name: of the distribution, such as ``mg-demo``. kind: one of :data:`KINDS`.
        folder: a new or an empty one.

    Raises:
        UsageError: no legal name, an unknown kind, or the folder is in use.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"plugins new: '{name}' is no name for a distribution, wanted small letters, digits and single "
            "'-', beginning with a letter, such as mg-demo"
        )
    if kind not in KINDS:
        raise UsageError(f"plugins new: unknown kind '{kind}', known: {', '.join(KINDS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not an empty folder; name another one with -o")
    words = _words(name, kind)
    templates = resources.files("mg_data.plugins") / "templates"
    written = []
    for place, source in _files(templates, kind, words["module"]):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(source.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
        written.append(path)
    return written


def _words(name: str, kind: str) -> dict[str, str]:
    """Return what the templates name."""
    what = KINDS[kind]
    record = name.removeprefix("mg-")
    needs = (f"mg-data{compatible_range(__version__)}", *what.dependencies)
    return {
        "distribution": name,
        "module": name.replace("-", "_"),
        "record": record,
        "kind": kind,
        "summary": what.summary,
        "code": what.code,
        "change": what.change,
        "usage": Template(what.usage).substitute(record=record),
        "dependencies": "\n".join(f'  "{need}",' for need in needs),
    }


def _files(templates: Traversable, kind: str, module: str) -> list[tuple[str, Traversable]]:
    """Return (place in the distribution, template) of all files."""
    common = templates / "common"
    found = [
        ("pyproject.toml", common / "pyproject.toml.txt"),
        ("README.md", common / "README.md.txt"),
        ("tests/test_contract.py", common / "tests" / "test_contract.py.txt"),
        (f"src/{module}/__init__.py", common / "src" / "__init__.py.txt"),
        (f"src/{module}/py.typed", common / "src" / "py.typed"),
    ]
    own = sorted((templates / kind).iterdir(), key=lambda item: item.name)
    return [*found, *((f"src/{module}/{item.name.removesuffix('.txt')}", item) for item in own)]
