"""Where everything came from: recipe, versions, digests, seeds, and what the models have seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mg_data.contract import MgError
from mg_data.store import LogitsStore, Provenance, Taint, open_store
from mg_fusion.report.run import AbsentError, Run


def build(run: Run) -> dict[str, Any]:
    """Return one row for each store, the versions named in them, the recipe and the steps of run.json."""
    rows, versions = store_rows(run)
    recipe = run.head.get("recipe")
    steps = [dict(item) for item in run.head.get("stages") or [] if isinstance(item, Mapping)]
    return {
        "stores": rows,
        "versions": versions,
        "recipe": json.dumps(recipe, indent=1, ensure_ascii=False) if recipe else "",
        "steps": steps,
        "seconds": sum(float(step.get("seconds") or 0.0) for step in steps),
        "labels": run.metrics.get("labels") or {},
        "taint": [
            {"phase": phase, **{key: vote.taint.get(key) for key in ("state", "unknown", "override")}}
            for phase, vote in run.votes.items()
            if vote.taint and (phase == "before" or vote is not run.votes.get("before"))
        ],
    }


def _taint_text(taint: Taint) -> str:
    state = "known" if taint.known else "unknown"
    return f"{state}: trained on {len(taint.trained_on)}, selected on {len(taint.selected_on)} clips"


def store_rows(run: Run) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one row for each store (kind, digest, writer, command, seed, taint), and the versions named."""
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for path in sorted(run.folder.rglob("*.h5")):
        name = path.relative_to(run.folder).as_posix()
        try:
            with open_store(path) as store:
                origin: Provenance = store.provenance
                tainted = store.kind in ("logits", "probs", "pseudo", "features")
                rows.append(
                    {
                        "name": name,
                        "kind": store.kind,
                        "clips": len(store),
                        "digest": store.digest,
                        "command": origin.command or store.writer,
                        "seed": store.seed if isinstance(store, LogitsStore) else None,
                        "taint": _taint_text(store.taint) if tainted else "",
                        "inputs": dict(origin.inputs),
                    }
                )
        except MgError as error:
            rows.append({"name": name, "problem": str(error)})
            continue
        versions |= {str(key): str(value) for key, value in dict(origin.versions).items()}
    if not rows:
        raise AbsentError("there are no stores in this run folder")
    return rows, versions
