"""``mg store info|check|export|merge``."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from mg_data.contract.errors import StoreError, UsageError
from mg_data.contract.runtime import Console, StageResult
from mg_data.store.atomic import publish, publish_text
from mg_data.store.check import check_store, describe_store
from mg_data.store.merge import merge_stores
from mg_data.store.readers import open_store, open_whole

_COLUMNS = ("values", "labels", "present", "names", "subject_ids", "confidence", "votes", "probs")


def info(*, console: Console, path: Path) -> StageResult:
    """Describe a store."""
    found = describe_store(path)
    taint = found["taint"]
    # Who wrote it, and when, a store of another program need not say.
    writer, created = (found.get(name) or "unknown" for name in ("mg_writer", "mg_created"))
    version = found.get("mg_format_version") or found["mg_min_reader"]
    lines = [
        f"{found['path']}: {found['mg_kind']}, format {version}, by {writer}",
        f"  clips {found['clips']}, classes {found['classes']}"
        + (f" ({found['vocabulary']})" if found["vocabulary"] else "")
        + (f", data set {found['dataset']}" if found["dataset"] else ""),
        f"  digest {found.get('mg_content_digest', 'none')}",
        f"  taint {taint['state']}: trained on {taint['trained_on']} clips, "
        f"selected on {taint['selected_on']}",
        f"  made by {found['provenance']['command'] or 'unknown command'} at {created}",
        *(f"  input {name}: {digest}" for name, digest in found["provenance"]["inputs"].items()),
        *(f"  {name} {tuple(part['shape'])} {part['dtype']}" for name, part in found["parts"].items()),
    ]
    return StageResult(data=found, text="\n".join(lines))


def check(*, console: Console, paths: list[Path]) -> StageResult:
    """Check stores completely; the first bad one ends the command."""
    digests = {str(path): check_store(path) for path in paths}
    text = "\n".join(f"{path}: good, {digest}" for path, digest in digests.items())
    return StageResult(data={"digests": digests}, text=text)


def merge(*, console: Console, paths: list[Path], out: Path, partial: bool = False) -> StageResult:
    """Join stores without common clips, such as the shards of one run."""
    digest = merge_stores(paths, out, partial=partial)
    with open_whole(out) as store:
        clips = len(store)
    return StageResult(
        data={"path": str(out), "clips": clips, "digest": digest, "merged": len(paths)},
        text=f"{out}: {clips} clips of {len(paths)} stores, {digest}",
    )


def export(*, console: Console, path: Path, out: Path) -> StageResult:
    """Write the arrays of a store as npz, or its rows as csv."""
    store: Any = open_store(path)
    if store.kind in ("clips", "streams"):
        raise StoreError(path, f"of kind '{store.kind}' cannot be exported to a table", "read it with h5py")
    columns: dict[str, Any] = {"clip_ids": store.clip_ids}
    columns.update(
        {name: getattr(store, name) for name in _COLUMNS if getattr(store, name, None) is not None}
    )
    columns.update(getattr(store, "features", {}))
    if getattr(store, "signal_names", ()):
        signals = ", ".join(store.signal_names)
        raise StoreError(path, f"holds signals ({signals}), which are no columns", "read it with h5py")
    store.close()
    if out.suffix == ".npz":
        with publish(out) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, class_names=np.array(store.class_names, np.str_), **columns)
    elif out.suffix == ".csv":
        publish_text(out, _csv(columns, store.class_names))
    else:
        raise UsageError(f"{out}: the ending must be .npz or .csv")
    return StageResult(data={"path": str(out), "clips": len(store)}, text=f"{out}: {len(store)} clips")


def _csv(columns: dict[str, Any], class_names: tuple[str, ...]) -> str:
    header: list[str] = []
    parts: list[Any] = []
    for name, values in columns.items():
        array = np.asarray(values)
        flat = array.reshape(len(array), math.prod(array.shape[1:]))
        # Votes have a column for each model, features one for each dimension, of which there may be as many.
        of_classes = name in ("values", "probs") and flat.shape[1] == len(class_names)
        header += (
            [f"{name}:{class_names[k] if of_classes else k}" for k in range(flat.shape[1])]
            if array.ndim > 1
            else [name.removesuffix("s") if name == "clip_ids" else name]
        )
        parts.append(flat)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in range(len(parts[0])):
        writer.writerow([value for part in parts for value in part[row].tolist()])
    return text.getvalue()
