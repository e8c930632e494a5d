"""What a step depends on, as digests: inputs' content, resolved options, package versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mg_adapt.files import file_digest
from mg_adapt.run.plan import Step
from mg_data.contract import StoreError
from mg_data.contract.specs import StageSpec
from mg_data.plugins import Registry


def paths(spec: StageSpec, params: Mapping[str, Any], role: str) -> Iterator[tuple[str, Path]]:
    """Yield (parameter, path) of all inputs or outputs of a call."""
    for param in spec.params:
        value = params.get(param.name)
        if param.role != role or param.type != "path" or not value:
            continue
        for item in value if isinstance(value, (list, tuple)) else [value]:
            yield param.name, Path(item)


def step_key(step: Step, spec: StageSpec, params: Mapping[str, Any], known: Registry) -> str:
    """Return the key of a step whose inputs all exist.

    Raises:
        StoreError: an input is missing.
    """
    inputs: list[tuple[str, str]] = []
    read = [("", Path(path)) for path in step.key_files] or paths(spec, params, "input")
    for name, path in read:
        if not path.exists():
            raise StoreError(path, f"does not exist, but step '{step.name}' reads it")
        inputs.append((name, file_digest(path)))
    options = {
        param.name: params.get(param.name) for param in spec.params if param.role == "option" and param.in_key
    }
    versions = [known.version_of("stages", step.stage), *(known.version_of(*use) for use in step.uses)]
    text = json.dumps(
        {"stage": step.stage, "inputs": inputs, "options": options, "versions": versions},
        sort_keys=True,
        default=str,
    )
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
