"""Attributes of a store: numbers, truth values and texts; others are passed over.

No store has sequences, references or compounds, and reading a damaged one of them ends the process: HDF5 2.0
takes it for one that is to be written (``H5T__conv_vlen``).
"""

from __future__ import annotations

from typing import Any

import h5py

from mg_data.contract.errors import StoreError

_PLAIN = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING)


def attribute_names(item: h5py.File | h5py.Group | h5py.Dataset) -> list[str]:
    """Return the names of an object's attributes that can be read, sorted."""
    return [name for name in sorted(item.attrs) if item.attrs.get_id(name).get_type().get_class() in _PLAIN]


def attributes(item: h5py.File | h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Return an object's attributes; texts as ``str``, those of fixed length (C, MATLAB ...) too.

    Raises:
        StoreError: they are damaged.
    """
    try:
        found = {name: item.attrs[name] for name in attribute_names(item)}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = f"is damaged: the attributes of {item.name} cannot be read"
        raise StoreError(item.file.filename, reason, "write or copy it again") from error
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in found.items()
    }
