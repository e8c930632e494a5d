"""Other people's plugins, from wheels in clean environments: a new one, the inertial one, a stranger's.

Each takes part in fusion beside the project's own models, and leaves no trace when it is uninstalled.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = [pytest.mark.extended, pytest.mark.slow]

PACKAGES = ("mg-data", "mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion")
EXAMPLES = ("mg-imu", "mg-scores-only")
# A stand-in for ``mg`` that trains for two epochs.
SHORT_TRAINING = """#!{python}
import os, sys
words = sys.argv[1:]
if words[:1] == ["train"]:
    words += ["--set", "recipe.epochs=2", "--threads", "1"]
os.execv({python!r}, [{python!r}, "-m", "mg_data", *words])
"""


def run(*words: object, cwd: Path | None = None) -> str:
    """Run a program outside the tree and return what it prints."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *what: object) -> None:
        words = ("-c", ROOT / "constraints.txt", *what)
        run(
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            self.python,
            *words,
            cwd=self.folder,
        )

    def uninstall(self, name: str) -> None:
        run(sys.executable, "-m", "uv", "pip", "uninstall", "--quiet", "--python", self.python, name)

    def mg(self, *words: object, cwd: Path) -> str:
        return run(self.folder / "bin" / "mg", *words, cwd=cwd)


def _make(folder: Path) -> Environment:
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    return Environment(folder)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all packages and of the examples."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / "packages" / name for name in PACKAGES] + [
        ROOT / "examples" / name for name in EXAMPLES
    ]
    for source in sources:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, source)
    return folder


@pytest.fixture(scope="module")
def environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the five packages, from their wheels."""
    made = _make(tmp_path_factory.mktemp("users") / "env")
    made.install(*(next(wheels.glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKAGES), "pytest")
    return made


@pytest.fixture(scope="module")
def corpus(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, labels, a split, and the scores of a model of ours."""
    folder = tmp_path_factory.mktemp("corpus")

    def mg(*words: object) -> None:
        environment.mg(*words, cwd=folder)

    mg("data", "synth", "raw", "--clips", 64, "--subjects", 8, "--no-video", "--keypoints", "light_hand")
    words = ("--option", "keypoints=light_hand", "-o", "clips.h5", "--labels", "labels.csv")
    mg("data", "import", "synthetic", "raw", *words)
    people = [f"s{number:02d}" for number in range(1, 9)]
    protocol = {"train": {"subjects": people[:5]}, "target": {"subjects": people[5:]}}
    mg("data", "split", "clips.h5", "labels.csv", "--protocol-json", json.dumps(protocol), "-o", "split.h5")
    train_and_predict(environment, folder, "decoupled-stcnn", "clips.h5", "ours")
    return folder


def train_and_predict(environment: Environment, folder: Path, model: str, data: str, out: str) -> None:
    """Train briefly and write ``out``.h5, the logits of the target."""
    common = ("--data", data, "--split", "split.h5", "--threads", 1)
    recipe = ("--set", "recipe.epochs=2", "recipe.batch_size=16")
    environment.mg("train", model, *common, *recipe, "-o", f"{out}.safetensors", cwd=folder)
    environment.mg(
        "predict", f"{out}.safetensors", *common, "--subset", "target", "-o", f"{out}.h5", cwd=folder
    )


def fused(environment: Environment, folder: Path, *stores: str) -> dict[str, object]:
    """Fuse stores and return the score of the result."""
    environment.mg("fuse", *stores, "-o", "probs.h5", cwd=folder)
    text = environment.mg("score", "probs.h5", "--labels", "labels.csv", "--json", cwd=folder)
    (found,) = json.loads(text)["scores"].values()
    return dict(found)


def listed(environment: Environment, folder: Path) -> str:
    """Return all that mg says of what is installed."""
    return "".join(environment.mg(word, cwd=folder) for word in ("plugins", "models", "--help"))


def test_a_new_plugin_is_installed_checked_trained_and_fused(
    environment: Environment, corpus: Path, tmp_path: Path
) -> None:
    environment.mg("plugins", "new", "mg-demo", "--kind", "model", cwd=tmp_path)
    environment.install(tmp_path / "mg-demo")
    report = json.loads(environment.mg("plugins", "check", "mg-demo", "--json", cwd=tmp_path))
    assert report["good"]
    assert report["ran"] == report["passed"] >= 20
    run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path / "mg-demo")
    train_and_predict(environment, corpus, "demo", "clips.h5", "demo")
    assert fused(environment, corpus, "ours.h5", "demo.h5")["n"] == len(target_ids(environment, corpus))
    environment.uninstall("mg-demo")
    assert "demo" not in listed(environment, tmp_path)
    assert fused(environment, corpus, "ours.h5", "demo.h5")["n"] == len(target_ids(environment, corpus))


def test_the_inertial_example_comes_and_goes(
    environment: Environment, wheels: Path, corpus: Path, tmp_path: Path
) -> None:
    before = listed(environment, tmp_path)
    environment.install(next(wheels.glob("mg_imu-*.whl")), "scipy")
    assert "imu-cnn" in listed(environment, tmp_path)
    report = json.loads(environment.mg("plugins", "check", "mg-imu", "--json", cwd=tmp_path))
    assert report["good"]
    tests = ROOT / "examples" / "mg-imu" / "tests"
    run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path)
    signals = corpus / "sensor"
    signals.mkdir()
    for number, row in enumerate(rows_of(corpus / "labels.csv")):
        beat = 1 + int(row["label"]) % 4
        lines = [f"{beat * t % 7},{number % 3},1,{10 * beat},{t},0" for t in range(40 + number)]
        (signals / f"{row['clip_id']}.csv").write_text("ax,ay,az,gx,gy,gz\n" + "\n".join(lines) + "\n")
    environment.mg("imu", "import", "sensor", "-o", "signals.h5", "--dataset", "synthetic", cwd=corpus)
    train_and_predict(environment, corpus, "imu-cnn", "signals.h5", "imu")
    assert fused(environment, corpus, "ours.h5", "imu.h5")["n"] == len(target_ids(environment, corpus))
    environment.uninstall("mg-imu")
    assert listed(environment, tmp_path) == before
    # What it computed stays of use.
    assert fused(environment, corpus, "ours.h5", "imu.h5")["n"] == len(target_ids(environment, corpus))


def test_a_program_without_a_line_of_ours_is_fused(
    environment: Environment, wheels: Path, corpus: Path, tmp_path: Path
) -> None:
    stranger = _make(tmp_path / "stranger")
    stranger.install(next(wheels.glob("mg_scores_only-*.whl")), "pytest")
    absent = "import importlib.util as u; assert not u.find_spec('mg_data') and not u.find_spec('mg_fusion')"
    run(stranger.python, "-c", absent)
    tests = ROOT / "examples" / "mg-scores-only" / "tests"
    run(stranger.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path)
    listing = "import sys; from mg_data.store import read_split as r; s = r('split.h5')\n"
    listing += "print('\\n'.join(s.class_names))"
    names = run(environment.python, "-c", listing, cwd=corpus)
    (corpus / "classes.txt").write_text(names)
    everyone = rows_of(corpus / "labels.csv")
    targets = set(target_ids(environment, corpus))
    # Every class needs a clip to learn from; labels of the target stay empty.
    train = [row for row in everyone if row["clip_id"] not in targets]
    lines = [f"{row['clip_id']},{names.splitlines()[int(row['label'])]},{row['label']},1" for row in train]
    seen = {int(row["label"]) for row in train}
    lines += [
        f"extra_{index},{name},{index},1"
        for index, name in enumerate(names.splitlines())
        if index not in seen
    ]
    (corpus / "train.csv").write_text("clip_id,label,x,y\n" + "\n".join(lines) + "\n")
    lines = [f"{clip_id},,{number % 9},1" for number, clip_id in enumerate(sorted(targets, reverse=True))]
    (corpus / "target.csv").write_text("clip_id,label,x,y\n" + "\n".join(lines) + "\n")
    program = stranger.folder / "bin" / "scores-only"
    words = ("--classes", "classes.txt", "--dataset", "synthetic", "-o", "table.h5")
    run(program, "train.csv", "target.csv", *words, cwd=corpus)
    assert "table.h5: good" in environment.mg("store", "check", "table.h5", cwd=corpus)
    assert fused(environment, corpus, "ours.h5", "table.h5")["n"] == len(targets)
    info = json.loads(environment.mg("store", "info", "table.h5", "--json", cwd=corpus))
    assert info["taint"]["state"] == "known"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a labels.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def target_ids(environment: Environment, folder: Path) -> list[str]:
    """Return the clips of the target, as the split has them."""
    text = "from mg_data.store import read_split as r; print('\\n'.join(r('split.h5').select('target')[0]))"
    return run(environment.python, "-c", text, cwd=folder).split()


def test_the_page_on_plugins_runs_where_a_plugin_may_be_installed(
    environment: Environment, tmp_path: Path
) -> None:
    """docs/plugins.md, block by block; trainings are short."""
    tools = tmp_path / "bin"
    tools.mkdir()
    shim = tools / "mg"
    shim.write_text(SHORT_TRAINING.format(python=str(environment.python)))
    shim.chmod(0o755)
    pip = tools / "pip"
    words = f'exec {sys.executable} -m uv pip "$1" --quiet --python {environment.python} "${{@:2}}"\n'
    pip.write_text(f"#!/usr/bin/env bash\n{words}")
    pip.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^<!-- not run: [^\n]*test_third_parties[^\n]* -->\n```(\w+)\n(.*?)^```", text, re.M | re.S
    )
    assert len(found) == 5
    variables = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for language, code in found:
        program = [environment.python, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run(
            [*program, code], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "mg-breath" not in environment.mg("plugins", cwd=folder)
