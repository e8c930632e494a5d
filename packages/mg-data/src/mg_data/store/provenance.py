"""Where a store came from: command, resolved configuration, versions and the digests of its inputs."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

_PACKAGES = ("mg-data", "mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion", "numpy", "h5py", "torch")


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a result."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a store was made.

    Args:
        command: the command or stage, such as ``mg predict``.
        config: resolved options, JSON values only.
        inputs: name or path -> content digest of everything that was read.
        versions: filled in by the writer.
    """

    command: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def same_work(self, other: Provenance) -> bool:
        """Return whether both name one command with one configuration and one set of inputs."""
        return (self.command, self.config, self.inputs) == (other.command, other.config, other.inputs)

    def to_json(self) -> str:
        """Return the text of ``/provenance/json``."""
        text = json.dumps(
            {
                "command": self.command,
                "config": dict(self.config),
                "inputs": dict(self.inputs),
                "versions": dict(self.versions) or installed_versions(),
            },
            ensure_ascii=False,
            default=str,
        )
        # Names of files need not be UTF-8, texts of HDF5 do: JSON's own escapes stand for what is not.
        return text.encode("utf-8", "backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read the text of ``/provenance/json``; unknown members are ignored.

        Raises:
            ValueError: it is no such JSON.
        """
        try:
            value = json.loads(text)
        except RecursionError:
            raise ValueError("/provenance/json is nested too deep") from None
        tables = (
            [value.get(name, {}) for name in ("config", "inputs", "versions")]
            if isinstance(value, dict)
            else []
        )
        if not tables or not all(isinstance(table, dict) for table in tables):
            raise ValueError("/provenance/json is no table of tables")
        config, inputs, versions = tables
        return cls(command=str(value.get("command", "")), config=config, inputs=inputs, versions=versions)
