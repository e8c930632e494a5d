"""Reading past HDF5: the same rows and the same refusals as through it, in every process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mg_data.contract import StoreError
from mg_data.store import ClipsStore, ClipsWriter, StreamsWriter, check_store, open_clips, open_streams
from mg_data.store.mapped import fletcher32, map_rows, open_mapped


def write_clips(path: Path, clips: int = 40, points: int = 137) -> list[np.ndarray]:
    """Write clips of 5..30 frames and return their joints."""
    rng = np.random.default_rng(clips)
    joints = [rng.normal(size=(n, 1, points, 3)).astype(np.float32) for n in rng.integers(5, 31, clips)]
    with ClipsWriter(path, dataset="d", class_names=["a"], layout="any") as writer:
        for row, values in enumerate(joints):
            writer.add(
                clip_id=f"ü{row}", subject_id="s", video_id="v", start=0, stop=len(values), joints=values
            )
    return joints


def sums(store: ClipsStore) -> list[float]:
    """Return one number a clip; run in other processes."""
    return [float(store.joints(row).sum(dtype=np.float64)) for row in range(len(store))]


@pytest.mark.parametrize("length", [1, 2, 3, 255, 511, 512, 513, 4097, 131_072, 131_073, 300_001])
@pytest.mark.parametrize("fill", ["random", "ones", "zeros"])
def test_checksums_equal_those_of_hdf5(tmp_path: Path, length: int, fill: str) -> None:
    data = {
        "random": np.random.default_rng(length).integers(0, 256, length, np.uint8),
        "ones": np.full(length, 255, np.uint8),
        "zeros": np.zeros(length, np.uint8),
    }[fill]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=data, chunks=(length,), fletcher32=True)
        _, stored = dataset.id.read_direct_chunk((0,))
    assert stored[:-4] == data.tobytes()
    assert fletcher32(stored[:-4]) == int.from_bytes(stored[-4:], "little")


def test_rows_are_read_past_hdf5_and_equal_what_was_written(tmp_path: Path) -> None:
    joints = write_clips(tmp_path / "c.h5")
    store = open_clips(tmp_path / "c.h5")
    for _ in range(3):  # checked, mapped, mapped
        for row in np.random.default_rng(0).permutation(len(joints)):
            values = store.joints(row)
            np.testing.assert_array_equal(values, joints[row])
            values[:] = 0  # a copy: the next pass sees the file's rows
    assert store._mapped["joints/values"] is not None
    assert store._mapped_file is not None
    assert store._mapped_file._map is not None


def test_a_pass_in_order_makes_no_map(tmp_path: Path) -> None:
    write_clips(tmp_path / "c.h5")
    store = open_clips(tmp_path / "c.h5")
    sums(store)
    assert store._mapped_file is not None
    assert store._mapped_file._map is None


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (7, 1, 9, 3), "fletcher32": True, "compression": "gzip"},
        {"chunks": (7, 1, 9, 3), "fletcher32": True, "shuffle": True},
        {"chunks": (7, 1, 9, 3)},
        {"chunks": (7, 1, 4, 3), "fletcher32": True},
        {"chunks": (7, 1, 9, 3), "fletcher32": True, "dtype": ">f4"},
        {"chunks": (7, 1, 9, 3), "fletcher32": True, "dtype": "f8"},
        {"chunks": None},
    ],
    ids=["gzip", "shuffle", "no checksum", "cut frames", "big-endian", "double", "contiguous"],
)
def test_other_layouts_of_other_programs_are_read_by_hdf5(tmp_path: Path, options: dict[str, Any]) -> None:
    joints = write_clips(tmp_path / "c.h5", points=9)
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        attributes = dict(file["joints/values"].attrs)
        values = file["joints/values"][()]
        del file["joints/values"]
        file.create_dataset("joints/values", data=values, **options).attrs.update(attributes)
    store = open_clips(tmp_path / "c.h5")
    for row in (3, 0, 3, 39):
        np.testing.assert_array_equal(store.joints(row), joints[row])
    mapped = store._mapped["joints/values"]
    assert (mapped is not None) == (options.get("dtype") == "f8")


def test_missing_and_unchecked_chunks_are_left_to_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        hole = file.create_dataset("hole", (30, 2), "f4", chunks=(10, 2), fletcher32=True)
        hole[20:] = 1
        masked = file.create_dataset("masked", (10, 2), "f4", chunks=(10, 2), fletcher32=True)
        masked.id.write_direct_chunk((0, 0), bytes(80), filter_mask=1)
        # A length that no file of this size can hold.
        huge = file.create_dataset("huge", (1 << 50,), "f4", chunks=(1 << 20,), fletcher32=True)
        huge[:4] = 1
        empty = file.create_dataset("empty", (0, 2), "f4", maxshape=(None, 2), fletcher32=True)
        fine = file.create_dataset("fine", data=np.ones((30, 2), "f4"), chunks=(10, 2), fletcher32=True)
        file.flush()
        opened = open_mapped(file)
        assert opened is not None
        assert [map_rows(dataset, opened) for dataset in (hole, masked, huge, empty)] == [None] * 4
        assert map_rows(fine, opened) is not None


def test_stores_survive_pickling_forks_and_spawned_processes(tmp_path: Path) -> None:
    write_clips(tmp_path / "c.h5")
    store = open_clips(tmp_path / "c.h5")
    expected = sums(store)
    assert sums(store) == expected  # mapped now
    assert sums(pickle.loads(pickle.dumps(store))) == expected
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(sums, [store, store]) == [expected, expected]
    if hasattr(os, "fork"):  # a worker that inherits the open store, as a forked DataLoader does
        child = os.fork()
        if child == 0:
            same = sums(store) == expected
            store.close()
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert sums(store) == expected


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_closing_gives_back_files_and_maps_and_reading_opens_them_again(tmp_path: Path) -> None:
    joints = write_clips(tmp_path / "c.h5")

    def held() -> int:
        files = [entry for entry in Path("/proc/self/fd").iterdir() if entry.resolve().name == "c.h5"]
        return len(files) + Path("/proc/self/maps").read_text().count("c.h5")

    store = open_clips(tmp_path / "c.h5")
    for _ in range(2):
        sums(store)
        sums(store)
        assert held() >= 3
        store.close()
        assert held() == 0
    np.testing.assert_array_equal(store.joints(2), joints[2])
    store.close()
    other = open_clips(tmp_path / "c.h5")
    sums(other)
    del other
    assert held() == 0


def test_a_file_cut_after_opening_is_an_error_and_a_replaced_one_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    joints = write_clips(path)
    store = open_clips(path)
    store.joints(0)
    other = tmp_path / "other.h5"
    write_clips(other, clips=3)
    kept = path.read_bytes()
    other.replace(path)  # as a publish does: the open store still is the old file
    np.testing.assert_array_equal(store.joints(39), joints[39])
    store.close()
    path.write_bytes(kept)
    store = open_clips(path)
    store.joints(0)
    os.truncate(path, 300_000)
    with pytest.raises(
        StoreError, match=r"c\.h5: is damaged: joints/values cannot be read \(copy it again\)"
    ):
        store.joints(39)


def test_a_flipped_byte_in_frames_and_boxes_names_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    frames = [bytes([k]) * 999 for k in range(4)]
    with StreamsWriter(path, dataset="d", stream="rgb", encoding="jpeg", channels=3) as writer:
        writer.add(clip_id="k", frames=frames, boxes=np.zeros((4, 4)))
    store = open_streams(path)
    assert [part.tobytes() for part in store.frame_bytes(0, [3, 1, 3])] == [frames[3], frames[1], frames[3]]
    check_store(path)
    store.close()
    raw = path.read_bytes()
    for name, message in (("bytes", "frames of 'k' cannot be read"), ("box", "boxes of 'k' cannot be read")):
        with h5py.File(path) as file:
            place = file[f"streams/rgb/{name}"].id.get_chunk_info(0).byte_offset
        damaged = bytearray(raw)
        damaged[place + 5] ^= 1
        (tmp_path / f"{name}.h5").write_bytes(damaged)
        store = open_streams(tmp_path / f"{name}.h5")
        with pytest.raises(StoreError, match=message):
            store.frame_bytes(0) if name == "bytes" else store.boxes(0)


def test_a_small_store_is_a_small_file(tmp_path: Path) -> None:
    write_clips(tmp_path / "c.h5", clips=2, points=5)
    assert (tmp_path / "c.h5").stat().st_size < 30_000
