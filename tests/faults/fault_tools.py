"""Commands under faults: a fork server, a tiny corpus, what a folder may hold after a fault."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mg_data.store import Taint, check_store, open_clips, read_split, write_logits

HERE = Path(__file__).parent
Words = Sequence[object]


def build_shim(folder: Path) -> Path | None:
    """Compile shim.c, or return None where there is no compiler (or no Linux)."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    target = folder / "shim.so"
    words = [compiler, "-O1", "-shared", "-fPIC", str(HERE / "shim.c"), "-o", str(target), "-ldl"]
    return target if subprocess.run(words, capture_output=True, check=False).returncode == 0 else None


@dataclass(frozen=True)
class Ended:
    """How a command ended. calls, bytes: what the shim counted."""

    code: int | None
    seconds: float
    out: str
    err: str
    calls: int = 0
    bytes: int = 0

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -9


class Server:
    """Runs ``mg`` commands in children of server.py, one after another or side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        library = build_shim(folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if library is not None:
            environment["LD_PRELOAD"] = str(library)
        self._count = 0
        self._talk: dict[int, Path] = {}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.has_shim = bool(self._answer()["shim"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def start(self, words: Words, **fault: Any) -> int:
        """Start a command and return its process. fault: see ``_child`` in server.py."""
        self._count += 1
        talk = self.folder / str(self._count)
        asked = {name: str(value) if isinstance(value, Path) else value for name, value in fault.items()}
        process = int(
            self._ask(do="start", words=[str(word) for word in words], talk=str(talk), **asked)["process"]
        )
        self._talk[process] = talk
        return process

    def wait(self, process: int, kill_after: float | None = None, limit: float = 120.0) -> Ended:
        """Return how it ended; kill it after ``kill_after`` seconds (``limit`` seconds: code None)."""
        answer = self._ask(do="wait", process=process, kill_after=kill_after, limit=limit)
        talk = self._talk.pop(process)
        said = {}
        for name in ("stdout", "stderr"):
            path = talk.with_name(f"{talk.name}.{name}")
            said[name] = path.read_text(errors="replace") if path.exists() else ""
            path.unlink(missing_ok=True)
        return Ended(
            answer["code"],
            answer["seconds"],
            said["stdout"],
            said["stderr"],
            answer.get("calls", 0),
            answer.get("bytes", 0),
        )

    def run(self, words: Words, kill_after: float | None = None, **fault: Any) -> Ended:
        """Run one command to its end."""
        return self.wait(self.start(words, **fault), kill_after)

    def good(self, words: Words, **fault: Any) -> Ended:
        """Run one command that succeeds."""
        ended = self.run(words, **fault)
        assert ended.code == 0, f"{' '.join(map(str, words))}\ncode {ended.code}\n{ended.err}"
        return ended

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Stage:
    """A command with its outputs.

    Args:
        words: base folder, work folder -> the command. earlier: words to add for an older result.
        outputs: the files it writes. kept: what a broken run may leave for the next one.
    """

    name: str
    words: Callable[[Path, Path], list[object]]
    outputs: tuple[str, ...]
    earlier: tuple[object, ...] = ()
    kept: tuple[str, ...] = ()


def _import(base: Path, work: Path) -> list[object]:
    return [*("data", "import", "synthetic", base / "corpus"),
            *("-o", work / "clips.h5", "--labels", work / "labels.csv")]  # fmt: skip


def _crop(base: Path, work: Path) -> list[object]:
    return ["data", "crop", base / "clips.h5", base / "corpus", "-o", work / "crops.h5", "--size", 24]


def _train(base: Path, work: Path) -> list[object]:
    return [*("train", "decoupled-stcnn", "--preset", "tiny", "--data", base / "clips.h5"),
            *("--split", base / "split.h5", "-o", work / "a.safetensors", "--device", "cpu"),
            *("--set", "recipe.epochs=3", "--set", "recipe.batch_size=4", "--set", "recipe.ema=0.9"),
            *("--set", "model.widths=[16,16]", "--set", "model.strides=[2,2]"),
            *("--set", "recipe.auxiliary=[]", "--threads", 1, "--state-every", 0)]  # fmt: skip


def _predict(base: Path, work: Path) -> list[object]:
    return [*("predict", base / "a.safetensors", "--data", base / "clips.h5", "--split", base / "split.h5"),
            *("--subset", "target", "-o", work / "logits.h5", "--features", work / "features.h5"),
            *("--threads", 1, "--device", "cpu")]  # fmt: skip


def _fuse(base: Path, work: Path) -> list[object]:
    return [*("fuse", base / "target-a.h5", base / "target-b.h5", "-o", work / "probs.h5"),
            *("--fit", base / "val-a.h5", "--fit", base / "val-b.h5")]  # fmt: skip


def _merge(base: Path, work: Path) -> list[object]:
    return ["store", "merge", base / "shard-1.h5", base / "shard-2.h5", "-o", work / "merged.h5"]


def _split(base: Path, work: Path) -> list[object]:
    return [*("data", "split", base / "clips.h5", base / "labels.csv", "-o", work / "split.h5"),
            *("--protocol-json", json.dumps(PROTOCOL))]  # fmt: skip


def _report(base: Path, work: Path) -> list[object]:
    return ["report", base / "run", "-o", work / "page.html", "--embedding", "pca"]


PROTOCOL = {
    "train": {"subjects": ["s01", "s02"]},
    "val": {"subjects": ["s03"]},
    "target": {"subjects": ["s04"]},
}
_PARTS, _CROPS = ("clips.h5.parts",), ("crops.h5.parts",)
STAGES = {
    stage.name: stage
    for stage in (
        Stage("import", _import, ("clips.h5", "labels.csv"), ("--collection", "older")),
        Stage(
            "import --resume",
            lambda base, work: [*_import(base, work), "--resume"],
            ("clips.h5", "labels.csv"),
            ("--collection", "older"),
            _PARTS,
        ),
        Stage("crop", _crop, ("crops.h5",), ("--quality", 50)),
        Stage(
            "crop --resume",
            lambda base, work: [*_crop(base, work), "--resume"],
            ("crops.h5",),
            ("--quality", 50),
            _CROPS,
        ),
        Stage("train", _train, ("a.safetensors", "a.log.jsonl"), ("--seed", 7), ("a.safetensors.state",)),
        Stage("predict", _predict, ("logits.h5", "features.h5"), ("--batch-size", 2, "--flip")),
        Stage("fuse", _fuse, ("probs.h5", "fusion.json"), ("--temperature", 2.5)),
        Stage("merge", _merge, ("merged.h5",)),
        Stage("split", _split, ("split.h5",)),
        Stage("report", _report, ("page.html",)),
    )
}


def make_base(server: Server, base: Path) -> None:
    """Make what the stages without torch read: a corpus of four people, stores, scores, a run folder."""
    base.mkdir(parents=True)
    server.good(["data", "synth", base / "corpus", "--clips", 24, "--subjects", 4, "--classes", 4,
                 "--videos-per-subject", 1, "--size", "96x128"])  # fmt: skip
    server.good(_import(base, base))
    server.good(_split(base, base))
    parts = read_split(base / "split.h5")
    with open_clips(base / "clips.h5") as store:
        everyone = store.clip_ids
    rng = np.random.default_rng(0)

    def scores(name: str, model: str, clip_ids: Any, labels: Any = None) -> None:
        values = rng.normal(size=(len(clip_ids), len(parts.class_names)))
        write_logits(
            base / name,
            clip_ids=clip_ids,
            values=values,
            labels=labels,
            model=model,
            modality="joint",
            class_names=parts.class_names,
            dataset=parts.dataset,
            taint=Taint.of((), ()),
        )

    for model in ("a", "b"):
        for subset in ("val", "target"):
            clip_ids, labels = parts.select(subset)
            scores(f"{subset}-{model}.h5", model, clip_ids, labels if subset == "val" else None)
    for part in (0, 1):
        scores(f"shard-{part + 1}.h5", "a", everyone[part::2])
    (base / "run" / "round1").mkdir(parents=True)
    rows = [{"epoch": epoch, "loss": 1.0 / epoch, "train_accuracy": 0.5} for epoch in (1, 2, 3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (base / "run" / "round1" / "a.log.jsonl").write_text(text, encoding="utf-8")


def digest(path: Path) -> str:
    """Return what a whole file says, and raise for one that is not whole.

    Stores and checkpoints check their own digest; times are left out of a training's log.
    """
    if path.suffix == ".h5":
        return str(check_store(path))
    if path.suffix == ".safetensors":
        from mg_adapt.checkpoint import load_checkpoint

        return load_checkpoint(path).digest
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
        return repr([{key: value for key, value in row.items() if "seconds" not in key} for row in rows])
    if path.suffix == ".json":
        json.loads(text)
    return hashlib.sha256(text.encode()).hexdigest()


def digests(work: Path, stage: Stage) -> dict[str, str]:
    """Return the digest of every output that is there."""
    return {name: digest(work / name) for name in stage.outputs if (work / name).exists()}


def swap_labels(path: Path) -> None:
    """Give every clip of a labels.csv another label: truth of an older import."""
    with path.open(encoding="utf-8", newline="") as handle:
        header, *rows = list(csv.reader(handle))
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([header, *([row[0], "0", "nothing"] for row in rows)])


class Bench:
    """One stage, its uninterrupted result, and what stood there before."""

    def __init__(self, server: Server, stage: Stage, base: Path, room: Path) -> None:
        self.server, self.stage, self.base, self.room = server, stage, base, room
        self._count = 0
        if stage.name == "predict" and not (base / "a.safetensors").exists():
            server.good(_train(base, base))
        self.whole = self.fresh(earlier=False)
        self.ended = server.good(stage.words(base, self.whole), **self._counted(self.whole))
        self.wanted = digests(self.whole, stage)
        # The second run is one without imports: from its time moments are drawn.
        self.seconds = server.good(stage.words(base, self.fresh(earlier=False))).seconds
        assert set(self.wanted) == set(stage.outputs)
        self.before = self.fresh(earlier=False)
        words = [*stage.words(base, self.before), *stage.earlier]
        if stage.name == "merge":
            words = ["store", "merge", base / "shard-1.h5", "-o", self.before / "merged.h5", "--partial"]
        elif stage.name == "split":
            table = json.dumps({**PROTOCOL, "val": {"subjects": []}})
            words = [*words[:-1], table]
        server.good(words)
        if stage.name.startswith("import"):
            swap_labels(self.before / "labels.csv")
        elif stage.name == "report":
            (self.before / "page.html").write_text("<p>an older page</p>", encoding="utf-8")
        self.old = digests(self.before, stage)

    def _counted(self, work: Path) -> dict[str, Any]:
        return {"mode": "count", "folder": work} if self.server.has_shim else {}

    def fresh(self, earlier: bool) -> Path:
        """Return a new work folder, with the older results in it or empty."""
        self._count += 1
        work = self.room / f"{self._count:04d}"
        if earlier:
            shutil.copytree(self.before, work)
        else:
            work.mkdir(parents=True)
        return work

    def words(self, work: Path) -> list[object]:
        """Return the command that writes into ``work``."""
        return self.stage.words(self.base, work)

    def check_broken(self, work: Path, earlier: bool) -> None:
        """Raise AssertionError unless every final name holds a whole file, older or new, and none is lost."""
        for path in work.glob("*.jsonl"):  # it grows by lines: readers pass over a last one that was cut
            text = path.read_text(encoding="utf-8")
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        found = digests(work, self.stage)
        for name in self.stage.outputs:
            allowed = {self.wanted[name]} | ({self.old[name]} if earlier else set())
            if name.endswith(".jsonl"):  # grows with the epochs
                rows = found.get(name, "[]")
                new = self.wanted[name].startswith(rows[:-1])
                assert new or rows in allowed, f"{name}: {rows}"
                continue
            if name in found:
                assert found[name] in allowed, f"{name} is neither the older nor the new one"
            else:
                assert not earlier, f"{name} is lost"

    def check_ended(self, work: Path) -> None:
        """Raise AssertionError unless the folder is what an uninterrupted run leaves, and nothing more."""
        assert digests(work, self.stage) == self.wanted
        found, names = {path.name for path in work.iterdir()}, set(self.stage.outputs)
        assert found == names, f"left over: {sorted(found - names)}, lost: {sorted(names - found)}"

    def finish(self, work: Path) -> Ended:
        """Run the command again, undisturbed, check the folder and remove it."""
        ended = self.server.good(self.words(work))
        self.check_ended(work)
        shutil.rmtree(work)
        return ended
