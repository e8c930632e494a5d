"""Fused in blocks, stores give the file that fusing in memory gives, whatever the order of their rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_toys import CLASSES, Talk, write_toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.store import open_logits, read_logits, read_probs, stream_logits, stream_probs, write_logits
from mg_fusion import SoftVote, fuse_stores, fuse_to_store
from mg_fusion import streaming as streaming_module
from mg_fusion.commands.fuse import fuse


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, so that toys have many."""
    monkeypatch.setattr(streaming_module, "_BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(streaming_module, "_FEWEST_ROWS", 7)
    monkeypatch.setattr(streaming_module, "_ROWS_READ", 13)
    monkeypatch.setattr(streaming_module, "_ROWS_FUSED", 3)


def part(path: Path, target: Path, rows: Any, **changes: Any) -> Path:
    """Write some rows of a logit store, in the order given."""
    store = read_logits(path)
    arguments: dict[str, Any] = {
        "clip_ids": store.clip_ids[rows],
        "values": store.values[rows],
        "class_names": store.class_names,
        "model": store.model,
        "modality": store.modality,
        "branch": store.branch,
        "dataset": store.dataset,
        "taint": store.taint,
    }
    write_logits(target, **{**arguments, **changes})
    return target


@pytest.mark.parametrize("fuser", ["soft-vote", "log-mean", "majority", "rank"])
@pytest.mark.parametrize("shuffle", [None, 5])
def test_the_file_is_the_one_that_memory_gives(tmp_path: Path, fuser: str, shuffle: int | None) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=shuffle)
    options: dict[str, Any] = {"temperature": 2.5, "weights": [1, 2, 3], "fuser": fuser}
    streamed = fuse_to_store(paths, tmp_path / "streamed.h5", **options)
    fused = fuse_stores(paths, **options)
    assert streamed.digest == fused.write(tmp_path / "memory.h5")
    assert streamed.spooled == (() if shuffle is None else ("heat", "joint", "rgb"))
    assert streamed.weights == fused.weights
    assert streamed.answered == fused.answered
    read = read_probs(tmp_path / "streamed.h5")
    np.testing.assert_array_equal(read.values, fused.probs.astype(np.float32))
    assert read.clip_ids.tolist() == sorted(fused.clip_ids.tolist())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_any_rows_in_any_order_with_any_answers_missing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("streams")
    generator = np.random.default_rng(seed)
    paths, _ = write_toy(folder, "val")
    given_paths = []
    for index, path in enumerate(paths):
        rows = generator.permutation(60)[: generator.integers(1, 61)]
        if generator.random() < 0.4:
            rows.sort()
        present = generator.random(len(rows)) < 0.9
        ids = read_logits(path).clip_ids[rows]
        if generator.random() < 0.3:
            ids = np.char.add(ids, "é long ending")
        if seed % 3 == 0:  # more alike than eight bytes tell
            ids = np.char.add(np.char.add(ids.astype("U1"), "-a-long-middle-"), ids)
        given_paths.append(part(path, folder / f"{index}.h5", rows, present=present, clip_ids=ids))
    try:
        fused = fuse_stores(given_paths, missing="allow")
    except DataError as error:
        with pytest.raises(DataError, match=re.escape(str(error))):
            fuse_to_store(given_paths, folder / "out.h5", missing="allow")
        assert not (folder / "out.h5").exists()
        return
    streamed = fuse_to_store(given_paths, folder / "out.h5", missing="allow")
    assert streamed.digest == fused.write(folder / "memory.h5")
    assert streamed.answered == fused.answered


def test_what_cannot_be_joined_is_said_as_in_memory(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=2)
    lacking = part(paths[1], tmp_path / "lacking.h5", np.arange(55))
    renamed = part(paths[1], tmp_path / "renamed.h5", np.arange(60), branch="heat")
    other = part(paths[1], tmp_path / "other.h5", np.arange(60), class_names=[*CLASSES[1:], "other"])
    for broken in ([paths[0], lacking, paths[2]], [paths[0], renamed], [paths[0], other]):
        with pytest.raises(StoreError) as memory:
            fuse_stores(broken)
        with pytest.raises(StoreError) as streamed:
            fuse_to_store(broken, tmp_path / "out.h5")
        assert str(streamed.value) == str(memory.value)
    assert not (tmp_path / "out.h5").exists()


def test_damage_is_found_in_the_block_where_it_is(tmp_path: Path) -> None:
    import h5py

    paths, _ = write_toy(tmp_path, "val")
    with h5py.File(paths[1], "r+") as file:
        file["logits/values"][41, 2] = np.nan
    with pytest.raises(StoreError, match=r"holds NaN or infinity in 1 row\(s\), the first is clip 'val041'"):
        fuse_to_store(paths, tmp_path / "out.h5")
    with h5py.File(paths[1], "r+") as file:
        file["logits/values"][41, 2] = 0.0
        file["index/clip_id"][50] = file["index/clip_id"][3]
    with pytest.raises(StoreError, match=r"duplicate clip id.*'val003'"):
        fuse_to_store(paths, tmp_path / "out.h5")
    assert sorted(path.name for path in tmp_path.glob("*out*")) == []


def test_parameters_come_from_a_fit_with_temperatures_of_their_own(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    params = SoftVote(
        temperature=2.0,
        weights={"heat": 0.0, "joint": 0.5, "rgb": 0.5},
        model_temperatures={"heat": 1.0, "joint": 0.5, "rgb": 3.0},
    )
    logits = {path.stem.partition("-")[2]: read_logits(path).as_log() for path in paths}
    fused = fuse_stores(paths, params=params)
    np.testing.assert_allclose(fused.probs, params.predict_proba(logits), atol=1e-12)
    assert fuse_to_store(paths, tmp_path / "o.h5", params=params).digest == fused.write(tmp_path / "m.h5")


def test_the_command_streams_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=1)
    small = fuse(console=Talk(), stores=paths, out=tmp_path / "small.h5", temperature=2.5)
    monkeypatch.setattr(streaming_module, "_LARGE", 100)
    large = fuse(console=Talk(), stores=paths, out=tmp_path / "large.h5", temperature=2.5)
    assert large.data["digest"] == small.data["digest"]
    assert large.data["clips"] == 60
    assert read_probs(tmp_path / "large.h5").provenance.command == "mg fuse"


def test_rows_of_another_order_wait_in_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a fusion that is killed leaves none of them."""
    paths, _ = write_toy(tmp_path, "val", shuffle=5)
    (tmp_path / "out").mkdir()
    seen: list[list[str]] = []
    real = streaming_module.stream_probs

    def look(*given: Any, **more: Any) -> Any:
        seen.append([path.name for path in (tmp_path / "out").iterdir()])
        return real(*given, **more)

    monkeypatch.setattr(streaming_module, "stream_probs", look)
    assert fuse_to_store(paths, tmp_path / "out" / "probs.h5").spooled
    assert seen == [[]]


def test_a_place_for_such_rows_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=5)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"probs\.h5: cannot be written: (Not a directory|File exists) beside it"
    ):
        fuse_to_store(paths, tmp_path / "file" / "probs.h5")


def test_only_fusers_that_look_at_one_clip_at_a_time_are_streamed(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    with pytest.raises(UsageError, match="not known to fuse clip by clip"):
        fuse_to_store(paths, tmp_path / "o.h5", fuser="stacking-logistic")


def test_a_store_read_in_blocks_has_the_rows_of_the_whole(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=1, present=np.arange(60) % 7 > 0)
    whole, blocks = read_logits(paths[0]), open_logits(paths[0])
    assert (blocks.key, blocks.class_names, blocks.digest) == (whole.key, whole.class_names, whole.digest)
    values, present = blocks.read(20, 33)
    np.testing.assert_array_equal(values, whole.values[20:33])
    np.testing.assert_array_equal(present, whole.present[20:33])
    assert blocks.ids(20, 33).astype(str).tolist() == whole.clip_ids[20:33].tolist()
    blocks.close()


def test_a_stream_of_probabilities_is_held_to_what_it_announced(tmp_path: Path) -> None:
    ids, probs = np.array([b"a", b"b", b"c"]), np.full((3, 2), 0.5)
    for count, rows, text in (
        (4, slice(None), "announced with 4 clips and was given 3"),
        (2, slice(None), "announced with 2 clips and is given more"),
        (3, slice(None, None, -1), "do not ascend"),
    ):
        with (
            pytest.raises(StoreError, match=text),
            stream_probs(tmp_path / "p.h5", count=count, class_names=["x", "y"]) as stream,
        ):
            stream.add(ids[rows], probs)
    with (
        pytest.raises(StoreError, match=r"'b' sums to 1\.5"),
        stream_probs(tmp_path / "p.h5", count=3, class_names=["x", "y"]) as stream,
    ):
        stream.add(ids, [[0.5, 0.5], [1.0, 0.5], [0.5, 0.5]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("space", ["logit", "prob"])
def test_a_stream_of_logits_has_the_digest_of_the_store_written_at_once(tmp_path: Path, space: str) -> None:
    paths, _ = write_toy(tmp_path, "val", clips=20)
    store = read_logits(paths[0])
    values = store.values if space == "logit" else np.tile(np.float32([0.5, 0.25, 0.25, 0, 0]), (20, 1))
    present = np.arange(20) % 3 > 0
    if space == "prob":
        values[~present] = 0
    about: dict[str, Any] = {
        "class_names": CLASSES, "model": "toy", "modality": "m", "branch": "b", "space": space,
        "dataset": "toy", "taint": store.taint, "seed": 3,
    }  # fmt: skip
    whole = write_logits(
        tmp_path / "whole.h5", clip_ids=store.clip_ids, values=values, present=present, **about
    )
    with stream_logits(tmp_path / "blocks.h5", count=20, **about) as stream:
        for rows in (slice(0, 8), slice(8, 9), slice(9, 20)):
            stream.add(np.char.encode(store.clip_ids[rows]), values[rows], present[rows])
    assert stream.digest == whole
    read = read_logits(tmp_path / "blocks.h5")
    np.testing.assert_array_equal(read.values, values)
    np.testing.assert_array_equal(read.present, present)


def test_a_stream_of_logits_refuses_what_the_store_would(tmp_path: Path) -> None:
    about: dict[str, Any] = {"count": 2, "class_names": ["x", "y"], "model": "m", "modality": "m"}
    for space, values, text in (
        ("logit", [[0, 1], [np.nan, 0]], r"holds NaN or infinity in 1 row\(s\), the first is clip 'b'"),
        ("prob", [[0, 1], [1, 1]], "'b' sums to 2"),
        ("logit", [[0, 1, 2], [0, 1, 2]], r"values have shape \(2, 3\), wanted \(2, 2\)"),
        ("odds", [[0, 1], [1, 0]], "space 'odds' is unknown"),
    ):
        with (
            pytest.raises(StoreError, match=text),
            stream_logits(tmp_path / "l.h5", space=space, **about) as stream,
        ):
            stream.add(np.array([b"a", b"b"]), values)
    assert list(tmp_path.iterdir()) == []
