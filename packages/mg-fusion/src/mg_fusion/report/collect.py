"""Read a run folder. Every part is optional: what is absent or broken is said, and the rest is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_data.contract import MgError
from mg_data.store import Provenance, Taint, open_store
from mg_fusion.calibration import expected_calibration_error, reliability
from mg_fusion.scoring import open_scored, score_pseudo
from mg_fusion.stores import fuse_stores
from mg_fusion.truth import Truth, read_truth
from mg_fusion.vote import SoftVote

_SOURCES = ("single-best", "equal-weight", "fused")


class AbsentError(Exception):
    """A part of the run folder is not there; the text says which."""


@dataclass
class Run:
    """What a run folder holds. ``problems`` maps a section to the reason why it is empty."""

    folder: Path
    name: str = ""
    seed: Any = None
    branches: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    fusion: SoftVote | None = None
    truth: Truth | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Row name -> metrics."""
        found = self.metrics.get("scores", {})
        return found if isinstance(found, Mapping) else {}

    def guard(self, section: str, read: Callable[[], Any]) -> Any:
        """Run a part's reader; on failure keep the reason and return None."""
        try:
            return read()
        except (AbsentError, MgError, OSError) as error:
            self.problems[section] = str(error)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self.problems[section] = f"could not be read: {type(error).__name__}: {error}"
        return None


def _json_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise AbsentError(f"{path.name} is not in this run folder")
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise AbsentError(f"{path.name} holds no JSON object")
    return value


def open_run(folder: Path) -> Run:
    """Read run.json, metrics.json, fusion.json and the truth, as far as they are there."""
    run = Run(folder=folder)
    head = run.guard("run", lambda: _json_object(folder / "run.json")) or {}
    run.name = str(head.get("name") or folder.resolve().name)
    run.seed = head.get("seed")
    run.branches = [dict(item) for item in head.get("branches") or [] if isinstance(item, Mapping)]
    run.metrics = run.guard("results", lambda: _json_object(folder / "metrics.json")) or {}
    run.fusion = run.guard("vote", lambda: _fusion(folder))
    run.truth = run.guard("truth", lambda: _truth(run))
    return run


def _fusion(folder: Path) -> SoftVote:
    for path in (folder / "round1" / "fusion.json", folder / "fusion.json"):
        if path.exists():
            return SoftVote.load(path)
    raise AbsentError("fusion.json is not in this run folder: temperature and weights were not fitted")


def _truth(run: Run) -> Truth:
    stated = run.metrics.get("labels", {}).get("path", "")
    for path in (run.folder / "data" / "labels.csv", run.folder / stated, Path(stated)):
        if path.is_file():
            return read_truth(path)
    raise AbsentError("labels.csv is not in this run folder, nor where metrics.json says")


def result_rows(run: Run) -> list[dict[str, Any]]:
    """Return one row for each branch and fusion: metrics before and after pseudo-labels, and a remark."""
    if not run.scores:
        raise AbsentError(run.problems.get("results", "metrics.json holds no scores"))
    floors = {str(item.get("name")): item.get("floor") for item in run.branches}
    details = {str(item.get("name")): item for item in run.branches}
    names = list(floors)
    for key in run.scores:
        name, _, phase = key.rpartition("/")
        if phase in ("before", "after") and name not in names and name not in _SOURCES:
            names.append(name)
    rows = []
    for name in [*names, *_SOURCES]:
        before, after = run.scores.get(f"{name}/before"), run.scores.get(f"{name}/after")
        if before is None and after is None:
            continue
        latest = after or before or {}
        remarks = run.metrics.get("notes") or {}
        notes = [str(row["note"]) for row in (before, after) if row and row.get("note")]
        notes += [
            str(remarks[f"{name}/{when}"]) for when in ("before", "after") if f"{name}/{when}" in remarks
        ]
        floor = floors.get(name)
        if floor is not None and not any("FAILING" in note for note in notes):
            share = float(floor) / 100 if float(floor) > 1 else float(floor)
            if float(latest.get("accuracy", 0.0)) < share:
                notes.append(f"FAILING: floor {100 * share:g} %")
        if run.fusion is not None and run.fusion.weights.get(name) == 0 and "vote weight 0" not in notes:
            notes.append("vote weight 0")
        rows.append(
            {
                "name": name,
                "before": before,
                "after": after,
                "note": "; ".join(dict.fromkeys(notes)),
                "fused": name in _SOURCES,
                "model": details.get(name, {}),
            }
        )
    if not rows:
        raise AbsentError("metrics.json holds no row called <branch>/before or <branch>/after")
    return rows


def headline(run: Run) -> dict[str, Any]:
    """Return the best fused result and what it is compared with."""
    for name in ("fused/after", "fused/before", "equal-weight/after", "equal-weight/before"):
        if name in run.scores:
            break
    else:
        raise AbsentError("metrics.json holds no fused result")
    row = run.scores[name]
    phase = name.rpartition("/")[2]
    compared = [
        (label, run.scores[key])
        for label, key in (
            ("best single branch", f"single-best/{phase}"),
            ("equal weights", f"equal-weight/{phase}"),
            ("before pseudo-labels", "fused/before"),
        )
        if key in run.scores and key != name
    ]
    return {"name": name, "row": row, "compared": compared}


def fused_scores(run: Run) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Return the fused metrics before and after pseudo-labels.

    Raises:
        AbsentError: neither is there.
    """
    before, after = run.scores.get("fused/before"), run.scores.get("fused/after")
    if before is None and after is None:
        raise AbsentError("metrics.json holds neither fused/before nor fused/after")
    return before, after


def target_stores(folder: Path) -> tuple[str, list[Path]]:
    """Return the last round that has logit stores of the target, and their paths."""
    from mg_data.store import store_kind

    rounds = [path for path in folder.glob("round*") if path.name.removeprefix("round").isdigit()]
    for part in sorted(rounds, key=lambda path: -int(path.name.removeprefix("round"))):
        paths = [path for path in sorted(part.glob("target-*.h5")) if store_kind(path) == "logits"]
        if paths:
            return part.name, paths
    raise AbsentError("there are no target logit stores (round*/target-<branch>.h5) to compute it from")


def reliability_pair(run: Run) -> dict[str, Any]:
    """Return reliability tables of the fused target at tau 1 and at the fitted one, fitted weights."""
    if run.truth is None:
        raise AbsentError(run.problems.get("truth", "there is no truth"))
    if run.fusion is None:
        raise AbsentError(run.problems.get("vote", "there is no fusion.json"))
    name, paths = target_stores(run.folder)
    pairs = []
    for tau in (1.0, run.fusion.temperature):
        fused = fuse_stores(paths, weights=run.fusion.weights, temperature=tau, missing="allow")
        run.truth.check_classes(fused.class_names, paths[0])
        labels = run.truth.of(fused.clip_ids)
        known = labels >= 0
        if not known.any():
            raise AbsentError("no target clip has a label")
        probs = fused.probs[known]
        pairs.append(
            {
                "tau": tau,
                "ece": expected_calibration_error(probs, labels[known]),
                "table": reliability(probs, labels[known]),
            }
        )
    return {"round": name, "pairs": pairs}


def pseudo_scores(run: Run) -> Mapping[str, Any]:
    """Return yield and precision of the pseudo-labels, from metrics.json or the store and the truth."""
    if "pseudo" in run.scores:
        return run.scores["pseudo"]
    path = run.folder / "round1" / "pseudo.h5"
    if not path.exists():
        raise AbsentError("pseudo.h5 is not in this run folder: no pseudo-labels were made")
    if run.truth is None:
        raise AbsentError(run.problems.get("truth", "there is no truth"))
    store = open_scored(path)
    return score_pseudo(store, run.truth)  # type: ignore[arg-type]  # guarded: another kind is reported


def training_logs(run: Run) -> list[dict[str, Any]]:
    """Return the epochs of every ``round*/<branch>.log.jsonl``."""
    logs = []
    for path in sorted(run.folder.glob("round*/*.log.jsonl")):
        epochs = []
        for line in path.read_text(encoding="utf-8").splitlines():
            # A run that was killed can leave half a last line.
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "epoch" in record:
                epochs.append(record)
        if epochs:
            branch = path.name.removesuffix(".log.jsonl")
            logs.append({"round": path.parent.name, "branch": branch, "epochs": epochs})
    if not logs:
        raise AbsentError("there are no training logs (round*/<branch>.log.jsonl)")
    return logs


def _taint_text(taint: Taint) -> str:
    state = "known" if taint.known else "unknown"
    return f"{state}: trained on {len(taint.trained_on)}, selected on {len(taint.selected_on)} clips"


def store_rows(run: Run) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one row for each store (kind, digest, writer, command, taint), and the versions named."""
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for path in sorted(run.folder.rglob("*.h5")):
        name = path.relative_to(run.folder).as_posix()
        try:
            store = open_store(path)
            store.close()
        except MgError as error:
            rows.append({"name": name, "problem": str(error)})
            continue
        origin: Provenance = store.provenance
        versions |= {str(key): str(value) for key, value in dict(origin.versions).items()}
        tainted = store.kind in ("logits", "probs", "pseudo", "features")
        rows.append(
            {
                "name": name,
                "kind": store.kind,
                "clips": len(store),
                "digest": store.digest,
                "writer": store.writer,
                "command": origin.command,
                "taint": _taint_text(store.taint) if tainted else "",
            }
        )
    if not rows:
        raise AbsentError("there are no stores in this run folder")
    return rows, versions
