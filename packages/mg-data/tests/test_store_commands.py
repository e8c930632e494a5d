"""``mg store info|check|merge|export`` on what this package writes, and on what others may."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.stores import check, export, info, merge
from mg_data.contract import StoreError
from mg_data.store import open_streams, write_features, write_pseudo

QUIET = TerminalConsole(quiet=True)
TEXT = h5py.string_dtype()


def foreign(path: Path, kind: str, clip_ids: list[str], *, classes: bool = True) -> h5py.File:
    """Begin a store of another program: it states what the format asks for and no more."""
    file = h5py.File(path, "w", libver=("earliest", "v110"))
    file.attrs.update({"mg_format": "mg-store", "mg_format_version": "1.0", "mg_min_reader": "1.0"})
    file.attrs["mg_kind"] = kind
    file.create_dataset("index/clip_id", data=np.array(clip_ids, dtype=object), dtype=TEXT)
    if classes:
        file.create_dataset("classes/name", data=np.array(["nod", "shrug"], dtype=object), dtype=TEXT)
    return file


@pytest.mark.parametrize("version", ["mg_format_version", "mg_min_reader"])
def test_a_store_need_not_say_who_wrote_it_and_when(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.h5"
    with foreign(path, "logits", ["x", "y"]) as file:
        file["logits/values"] = np.zeros((2, 2), np.float32)
        del file.attrs["mg_format_version" if version == "mg_min_reader" else "mg_min_reader"]
    said = info(console=QUIET, path=path).text
    assert f"{path}: logits, format 1.0, by unknown\n" in said
    assert "made by unknown command at unknown" in said
    assert "good" in check(console=QUIET, paths=[path]).text


@pytest.mark.parametrize("count", [2, 0])
def test_columns_of_a_csv_are_called_after_what_they_hold(tmp_path: Path, count: int) -> None:
    # As many models and features as classes, so that a number of columns tells nothing.
    write_pseudo(
        tmp_path / "pseudo.h5",
        clip_ids=["a", "b"][:count],
        labels=[0, 1][:count],
        confidence=[1.0, 0.5][:count],
        votes=np.array([[0, 1], [1, 1]])[:count],
        model_names=["joint", "rgb"],
        class_names=["nod", "shrug"],
        probs=np.array([[1.0, 0.0], [0.5, 0.5]])[:count],
        threshold=0.5,
        temperature=1.0,
        round=1,
    )
    export(console=QUIET, path=tmp_path / "pseudo.h5", out=tmp_path / "pseudo.csv")
    assert (tmp_path / "pseudo.csv").read_text().splitlines() == [
        "clip_id,labels,confidence,votes:0,votes:1,probs:nod,probs:shrug",
        "a,0,1.0,0,1,1.0,0.0",
        "b,1,0.5,1,1,0.5,0.5",
    ][: 1 + count]
    write_features(
        tmp_path / "features.h5",
        clip_ids=["a", "b"],
        features={"feature": np.zeros((2, 2))},
        class_names=["nod", "shrug"],
    )
    export(console=QUIET, path=tmp_path / "features.h5", out=tmp_path / "features.csv")
    assert (tmp_path / "features.csv").read_text().splitlines()[0] == "clip_id,feature:0,feature:1"


def streams(path: Path, clip_id: str) -> None:
    with foreign(path, "streams", [clip_id], classes=False) as file:
        for name, frames in (("rgb", 2), ("depth", 3)):
            group = file.create_group(f"streams/{name}")
            group.attrs.update({"encoding": "png8", "channels": 1})
            group["bytes"] = np.arange(5 * frames, dtype=np.uint8)
            group["frame_indptr"] = np.arange(frames + 1) * 5
            group["clip_indptr"] = np.array([0, frames])
            group["box"] = np.zeros((frames, 4), np.float32)


def test_a_store_of_several_streams_is_checked_described_and_joined(tmp_path: Path) -> None:
    for clip_id in ("a", "b"):
        streams(tmp_path / f"{clip_id}.h5", clip_id)
    assert "good" in check(console=QUIET, paths=[tmp_path / "a.h5"]).text
    assert "/streams/depth/bytes (15,) uint8" in info(console=QUIET, path=tmp_path / "a.h5").text
    both = tmp_path / "both.h5"
    assert merge(console=QUIET, paths=[tmp_path / "b.h5", tmp_path / "a.h5"], out=both).data["clips"] == 2
    assert "good" in check(console=QUIET, paths=[both]).text
    for name, frames in (("rgb", 2), ("depth", 3)):
        with open_streams(both, name) as store:
            assert [len(store.frame_bytes(row)) for row in range(2)] == [frames, frames]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["streams/depth/clip_indptr"][1] = 4
    with pytest.raises(StoreError, match="streams/depth/clip_indptr"):
        check(console=QUIET, paths=[tmp_path / "a.h5"])


def test_what_a_later_format_adds_is_joined_where_it_can_be(tmp_path: Path) -> None:
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, rows in zip(paths, ([1.0, 2.0], [3.0, 4.0])):
        with foreign(path, "logits", [f"{path.stem}{row}" for row in rows]) as file:
            file["logits/values"] = np.zeros((2, 2), np.float32)
            file["logits/weight"] = np.array(rows)
            file.create_dataset("later/unit", data="mm", dtype=TEXT)
            file["later/number"] = 3.5
            file["later/table"] = np.arange(6).reshape(3, 2)
    merge(console=QUIET, paths=paths, out=tmp_path / "both.h5")
    assert "good" in check(console=QUIET, paths=[tmp_path / "both.h5"]).text
    with h5py.File(tmp_path / "both.h5") as file:
        assert file["logits/weight"][()].tolist() == [1, 2, 3, 4]
        assert file["later/unit"].asstr()[()] == "mm"
        assert file["later/number"][()] == 3.5
        assert file["later/table"][()].tolist() == [[0, 1], [2, 3], [4, 5]]
    with h5py.File(paths[1], "r+") as file:
        file["later/number"][()] = 4.0
    with pytest.raises(StoreError, match=r"b\.h5: and .*a\.h5 hold different /later/number, which"):
        merge(console=QUIET, paths=paths, out=tmp_path / "again.h5")
    assert not (tmp_path / "again.h5").exists()
