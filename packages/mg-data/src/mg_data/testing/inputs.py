"""Opens a registered modality on a small store, as a model that is checked needs it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mg_data.contract import Modality, ModalitySpec
from mg_data.plugins import resolve
from mg_data.testing.checks import CheckFailed
from mg_data.testing.fakes import write_fake_clips, write_fake_features, write_fake_streams

# What a stream may look like; the first that the modality accepts is taken.
_STREAM_FORMS = (("jpeg", 3), ("png8", 3), ("png8", 2), ("png8", 1), ("png16", 1))


class Workplace:
    """A temporary folder for the checks of one distribution; made when needed, removed with the object."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._sources: dict[str, Path] = {}

    def new_folder(self) -> Path:
        """Return a new, empty folder."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mg-check-")
        self._count += 1
        folder = Path(self._folder.name) / str(self._count)
        folder.mkdir()
        return folder

    def source(self, spec: ModalitySpec) -> Path:
        """Return a store that the modality reads: its own example, or a fake of the right kind.

        Raises:
            CheckFailed: no fake suits it.
        """
        if spec.name not in self._sources:
            self._sources[spec.name] = self._make(spec)
        return self._sources[spec.name]

    def open(self, spec: ModalitySpec, options: Mapping[str, Any] | None = None) -> Modality:
        """Open the modality with its defaults and the given options over them."""
        opened: Modality = resolve(spec.factory)(self.source(spec), **{**spec.options, **(options or {})})
        return opened

    def _make(self, spec: ModalitySpec) -> Path:
        folder = self.new_folder()
        if spec.example:
            return Path(resolve(spec.example)(folder))
        path, options = folder / f"{spec.store_kind}.h5", spec.options
        signal = str(options.get("signal") or "inertial")
        if spec.store_kind == "clips":
            return write_fake_clips(path, layout=str(options.get("layout") or "coco-17"), signal=signal)
        if spec.store_kind == "features":
            return write_fake_features(path, feature=str(options.get("feature") or "pooled"), signal=signal)
        return self._make_stream(path, spec)

    def _make_stream(self, path: Path, spec: ModalitySpec) -> Path:
        first: Exception | None = None
        for encoding, channels in _STREAM_FORMS:
            write_fake_streams(
                path, stream=str(spec.options.get("stream") or "rgb"), encoding=encoding, channels=channels
            )
            try:
                opened: Modality = resolve(spec.factory)(path, **spec.options)
                opened.sample(str(opened.clip_ids[0]), None)
            except Exception as error:  # whatever a modality raises for a stream of another kind
                first = first or error
            else:
                return path
        raise CheckFailed(
            f"modality '{spec.name}' opens none of the fake streams, the first reason: {first}; give its "
            "record an example: a function that writes a tiny store it reads"
        )
