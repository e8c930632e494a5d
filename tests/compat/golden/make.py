"""Write golden stores: ``python tests/compat/golden/make.py``. What is there is never written again.

``1.0`` holds a store of every kind as mg-data 0.1.0 wrote it, and ``foreign.h5`` as a program without this
project does, with texts of fixed length and big-endian numbers. ``newer`` holds a file that a later minor
version might write. ``hostile`` holds damaged files and files that lead elsewhere. A further version of the
format gets a folder of its own. The digests stand in tests/compat/test_golden.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from mg_data.store import (
    ClipsWriter,
    Provenance,
    StreamsWriter,
    Taint,
    clip_keys,
    write_features,
    write_logits,
    write_probs,
    write_pseudo,
    write_split,
)
from mg_data.store.digest import content_digest

HERE = Path(__file__).parent
LARGEST = 50_000  # bytes of a file
IDS = ("b-2", "a-1", "手-3", "ü-4")
CLASSES = ("rub eyes", "bite nails", "fold arm")
DATASET, VOCABULARY = "golden", "golden-3"
MADE = Provenance(
    command="mg golden", config={"option": 1}, inputs={"raw": "sha256:0"}, versions={"mg-data": "0.1.0"}
)
COMMON: dict[str, Any] = {"dataset": DATASET, "vocabulary": VOCABULARY, "provenance": MADE}
TAINT = Taint.of(clip_keys(DATASET, ["t1", "t2", "t3"]), clip_keys(DATASET, ["v1"]))


def numbers(*shape: int) -> np.ndarray:
    """Return numbers that float32 holds exactly, from -2 to 2."""
    return ((np.arange(int(np.prod(shape))) * 5 % 17 - 8) / 4).reshape(shape).astype(np.float32)


def probabilities() -> np.ndarray:
    """Return (4, 3) rows that sum to one; the first has a zero."""
    return np.array([[0, 0.25, 0.75], [0.5, 0.25, 0.25], [1, 0, 0], [0.125, 0.125, 0.75]], np.float32)


def frames(row: int) -> list[np.ndarray]:
    """Return the grey frames of a clip."""
    return [np.full((4, 6), 10 * row + number, np.uint8) for number in range(row + 1)]


def clips(path: Path) -> None:
    with ClipsWriter(
        path,
        class_names=CLASSES,
        layout="golden-layout",
        columns=("x", "y", "z"),
        image_size=(320, 240),
        camera=(285.5, 285.5, 160, 120),
        signals={"inertial": {"rate_hz": 50.0, "units": "g"}},
        **COMMON,
    ) as writer:
        for row, clip_id in enumerate(IDS):
            writer.add(
                clip_id=clip_id,
                subject_id="" if row == 2 else f"s{row % 2}",
                video_id=f"v{row}",
                start=10 * row,
                stop=10 * row + row + 1,
                joints=numbers(row + 1, 1, 5, 3),
                signals={"inertial": numbers(2 * row, 6)},
            )


def split(path: Path) -> None:
    write_split(
        path,
        clip_ids=IDS,
        names=["train", "val", "target", "target"],
        labels=[2, 0, -1, -1],
        subject_ids=["s0", "s1", "", "s1"],
        class_names=CLASSES,
        **COMMON,
    )


def streams(path: Path) -> None:
    with StreamsWriter(
        path,
        dataset=DATASET,
        stream="depth",
        encoding="png8",
        channels=1,
        scale=0.5,
        offset=-1.0,
        provenance=MADE,
    ) as writer:
        for row, clip_id in enumerate(IDS):
            encoded = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames(row)]
            writer.add(clip_id=clip_id, frames=encoded, boxes=numbers(row + 1, 4))


def features(path: Path) -> None:
    write_features(
        path,
        clip_ids=IDS,
        features={"embedding": numbers(4, 2, 3)},
        signals={"audio": [numbers(row, 2) for row in range(4)]},
        attributes={"audio": {"rate_hz": 16000.0, "units": "Pa"}},
        labels=[2, 0, -1, 1],
        class_names=CLASSES,
        taint=TAINT,
        **COMMON,
    )


def logits(path: Path) -> None:
    write_logits(
        path,
        clip_ids=IDS,
        values=numbers(4, 3),
        class_names=CLASSES,
        model="decoupled-stcnn",
        modality="joint",
        branch="joint",
        labels=[2, 0, -1, 1],
        present=[1, 1, 0, 1],
        tta="flip",
        seed=7,
        checkpoint_digest="sha256:1",
        taint=TAINT,
        **COMMON,
    )


def logits_prob(path: Path) -> None:
    write_logits(
        path,
        clip_ids=IDS,
        values=probabilities(),
        class_names=CLASSES,
        model="stranger",
        modality="rgb",
        space="prob",
        **COMMON,
    )


def probs(path: Path) -> None:
    write_probs(
        path,
        clip_ids=IDS,
        values=probabilities(),
        class_names=CLASSES,
        labels=[2, 0, -1, 1],
        taint=TAINT,
        **COMMON,
    )


def pseudo(path: Path) -> None:
    write_pseudo(
        path,
        clip_ids=IDS,
        labels=[2, 0, 0, 2],
        confidence=probabilities().max(axis=1),
        votes=[[2, 2], [0, 1], [0, 0], [2, 1]],
        model_names=["joint", "rgb"],
        class_names=CLASSES,
        threshold=0.5,
        temperature=1.5,
        round=1,
        candidates=9,
        probs=probabilities(),
        taint=TAINT,
        **COMMON,
    )


def foreign(path: Path) -> None:
    """What the format page demands, and nothing else."""

    def fixed(texts: tuple[str, ...]) -> np.ndarray:
        return np.array([text.encode() for text in texts], h5py.string_dtype("utf-8", 16))

    with h5py.File(path, "w") as file:
        for name, value in (
            ("mg_format", b"mg-store"),
            ("mg_format_version", b"1.0"),
            ("mg_min_reader", b"1.0"),
            ("mg_kind", b"logits"),
        ):
            file.attrs[name] = np.bytes_(value)
        file.create_dataset("index/clip_id", data=fixed(IDS))
        file["index"].attrs["dataset"] = np.bytes_(DATASET.encode())
        names = file.create_dataset("classes/name", data=fixed(CLASSES))
        names.attrs["vocabulary"] = np.bytes_(VOCABULARY.encode())
        values = file.create_dataset("logits/values", data=numbers(4, 3).astype(">f4"))
        for name, text in (("space", b"log_prob"), ("model", b"matlab"), ("modality", b"imu")):
            values.attrs[name] = np.bytes_(text)


def _later(path: Path, version: str, min_reader: str) -> None:
    """Write what a later minor version may add: attributes, columns, tables without a row a clip."""
    logits(path)
    with h5py.File(path, "r+") as file:
        file.attrs["mg_format_version"], file.attrs["mg_min_reader"] = version, min_reader
        file.attrs["mg_writer"], file.attrs["mg_licence"] = "mg-data 1.7.0", "CC-BY-4.0"
        file["logits/values"].attrs["calibrated"] = True
        file["logits/variance"] = numbers(4, 3) ** 2
        file.create_dataset("index/session", data=["s"] * 4, dtype=h5py.string_dtype())
        file["hierarchy/edges"] = np.arange(10).reshape(5, 2)
        file["history/entries"] = np.arange(6)
        file["history/indptr"] = np.array([0, 1, 1, 4, 6])
        file.create_dataset("hierarchy/note", data="words", dtype=h5py.string_dtype())
        file.attrs["mg_content_digest"] = content_digest(file)


def _changed(
    change: Callable[[h5py.File], None], make: Callable[[Path], None] = logits
) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        make(path)
        with h5py.File(path, "r+") as file:
            change(file)

    return write


def _replace(file: h5py.File, name: str, values: Any, **settings: Any) -> h5py.Dataset:
    attributes = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, data=values, **settings)
    made.attrs.update(attributes)
    return made


def _nan(file: h5py.File) -> None:
    file["logits/values"][1, 2] = np.nan


def _other_value(file: h5py.File) -> None:
    file["logits/values"][1, 2] = 9.0


def _wrong_classes(file: h5py.File) -> None:
    _replace(file, "logits/values", numbers(4, 5))


def _twice(file: h5py.File) -> None:
    file["index/clip_id"][3] = IDS[0]


def _link_out(file: h5py.File) -> None:
    del file["logits/values"]
    file["logits/values"] = h5py.ExternalLink("neighbour.h5", "/logits/values")


def _link_in(file: h5py.File) -> None:
    file.move("logits/values", "spare")
    file["logits/values"] = h5py.SoftLink("/spare")


def _stored_elsewhere(file: h5py.File) -> None:
    attributes = dict(file["logits/values"].attrs)
    del file["logits/values"]
    made = file.create_dataset(
        "logits/values", (4, 3), "f4", external=[("neighbour.bin", 0, h5py.h5f.UNLIMITED)]
    )
    made.attrs.update(attributes)


def _virtual(file: h5py.File) -> None:
    attributes = dict(file["logits/values"].attrs)
    del file["logits/values"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("neighbour.h5", "logits/values", (4, 3))
    file.create_virtual_dataset("logits/values", layout).attrs.update(attributes)


def _unwritten(file: h5py.File) -> None:
    attributes = dict(file["logits/values"].attrs)
    del file["logits/values"]
    file.create_dataset("logits/values", (1 << 40, 3), "f4", chunks=(1024, 3)).attrs.update(attributes)


def _short_column(file: h5py.File) -> None:
    _replace(file, "index/start", np.arange(3))


def _falling_offsets(file: h5py.File) -> None:
    _replace(file, "joints/indptr", np.array([0, 3, 1, 6, 10]))


def _attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def _truncated(path: Path) -> None:
    logits(path)
    with path.open("r+b") as handle:
        handle.truncate(path.stat().st_size * 2 // 3)


def _flipped(path: Path) -> None:
    logits(path)
    data = bytearray(path.read_bytes())
    place = data.index(numbers(4, 3).tobytes())
    data[place + 5] ^= 0x10
    path.write_bytes(data)


def _no_store(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["logits/values"] = numbers(4, 3)


def _circle(file: h5py.File) -> None:
    file["logits/again"] = file["/"]  # a hard link from below to the root


FILES: dict[str, Callable[[Path], None]] = {
    "1.0/clips.h5": clips,
    "1.0/split.h5": split,
    "1.0/streams.h5": streams,
    "1.0/features.h5": features,
    "1.0/logits.h5": logits,
    "1.0/logits-prob.h5": logits_prob,
    "1.0/probs.h5": probs,
    "1.0/pseudo.h5": pseudo,
    "1.0/foreign.h5": foreign,
    "newer/minor.h5": lambda path: _later(path, "1.7", "1.0"),
    "hostile/newer-reader.h5": lambda path: _later(path, "1.7", "1.7"),
    "hostile/newer-major.h5": lambda path: _later(path, "2.0", "2.0"),
    "hostile/no-version.h5": _changed(_attribute("mg_min_reader", "one.two")),
    "hostile/unknown-kind.h5": _changed(_attribute("mg_kind", "poems")),
    "hostile/no-store.h5": _no_store,
    "hostile/truncated.h5": _truncated,
    "hostile/flipped-byte.h5": _flipped,
    "hostile/other-value.h5": _changed(_other_value),
    "hostile/wrong-classes.h5": _changed(_wrong_classes),
    "hostile/duplicate-ids.h5": _changed(_twice),
    "hostile/nan.h5": _changed(_nan),
    "hostile/external-link.h5": _changed(_link_out),
    "hostile/soft-link.h5": _changed(_link_in),
    "hostile/external-storage.h5": _changed(_stored_elsewhere),
    "hostile/virtual-source.h5": _changed(_virtual),
    "hostile/unwritten.h5": _changed(_unwritten),
    "hostile/circle.h5": _changed(_circle),
    "hostile/short-column.h5": _changed(_short_column, clips),
    "hostile/falling-offsets.h5": _changed(_falling_offsets, clips),
}


def main() -> None:
    """Write what is missing and print the digest of every file."""
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    for name, make in FILES.items():
        path = HERE / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            draft = path.with_suffix(".tmp")
            make(draft)
            if draft.stat().st_size > LARGEST:
                raise SystemExit(f"{draft}: {draft.stat().st_size} bytes, wanted at most {LARGEST}")
            draft.rename(path)
        print(f'    "{name}": "{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}",')


if __name__ == "__main__":
    main()
