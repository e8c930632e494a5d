"""Every kind of store gives back what was put in, joins by id, and states its content's digest."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mg_data.contract import StoreError
from mg_data.store import (
    ClipsWriter,
    Provenance,
    StreamsWriter,
    Taint,
    check_store,
    clip_keys,
    open_clips,
    open_store,
    open_streams,
    read_features,
    read_logits,
    read_probs,
    read_pseudo,
    read_split,
    store_kind,
    write_features,
    write_logits,
    write_probs,
    write_pseudo,
    write_split,
)

CLASSES = ("rub eyes", "bite nails", "fold arm")


def write_example_clips(path: Path, order: tuple[int, ...] = (0, 1, 2)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    joints = {f"clip{i}": rng.normal(size=(4 + i, 1, 5, 3)).astype(np.float32) for i in range(3)}
    signals = {f"clip{i}": rng.normal(size=(7 * i + 2, 6)).astype(np.float32) for i in range(3)}
    with ClipsWriter(
        path,
        dataset="example",
        class_names=CLASSES,
        layout="tiny",
        columns=("x", "y", "z"),
        image_size=(320, 240),
        camera=(285.63, 285.63, 160, 120),
        signals={"inertial": {"rate_hz": 50.0, "units": "g"}},
        provenance=Provenance(command="mg data import", config={"n": 1}, inputs={"raw": "sha256:0"}),
    ) as writer:
        for i in order:
            writer.add(
                clip_id=f"clip{i}",
                subject_id=f"s{i}",
                video_id="v",
                start=10 * i,
                stop=10 * i + 4 + i,
                joints=joints[f"clip{i}"],
                signals={"inertial": signals[f"clip{i}"]},
            )
    return joints


def test_clips_round_trip_and_survive_pickling(tmp_path: Path) -> None:
    joints = write_example_clips(tmp_path / "clips.h5", order=(2, 0, 1))
    store = pickle.loads(pickle.dumps(open_clips(tmp_path / "clips.h5")))
    assert (store.dataset, store.layout, store.columns) == ("example", "tiny", ("x", "y", "z"))
    assert store.camera == pytest.approx((285.63, 285.63, 160, 120))
    assert store.image_size == (320, 240)
    for row in store.rows(["clip1", "clip2"]):
        np.testing.assert_array_equal(store.joints(row), joints[str(store.clip_ids[row])])
    assert store.signal("inertial", int(store.rows(["clip1"])[0])).shape == (9, 6)
    assert store.provenance.inputs == {"raw": "sha256:0"}
    assert "numpy" in store.provenance.versions


def test_a_clip_that_is_refused_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    point, signal = np.ones((2, 1, 5, 3)), np.ones((3, 6))
    facts: dict[str, Any] = {"subject_id": "s", "video_id": "v", "start": 0, "stop": 2}
    attributes = {"inertial": {"rate_hz": 50.0}}
    with ClipsWriter(
        tmp_path / "clips.h5", dataset="d", class_names=CLASSES, layout="tiny", signals=attributes
    ) as writer:
        with pytest.raises(StoreError, match="signal 'inertial' holds NaN"):  # of two people, and the first
            writer.add(
                clip_id="bad",
                joints=np.ones((2, 2, 5, 3)),
                signals={"inertial": np.full((3, 9), np.nan)},
                **facts,
            )
        writer.add(clip_id="a", joints=point, signals={"inertial": signal}, **facts)
        for signals, message in (
            ({"inertial": signal * np.nan}, "signal 'inertial' holds NaN or infinity"),
            ({"inertial": np.ones((3, 5))}, r"signal 'inertial' have shape \(5,\) per frame, earlier"),
            ({}, "has the signals none, wanted inertial"),
            ({"inertial": signal, "audio": signal}, "has the signals inertial, audio, wanted inertial"),
        ):
            with pytest.raises(StoreError, match=message):
                writer.add(clip_id="bad", joints=point * 9, signals=signals, **facts)
        writer.add(clip_id="b", joints=point * 2, signals={"inertial": signal * 2}, **facts)
    check_store(tmp_path / "clips.h5")
    store = open_clips(tmp_path / "clips.h5")
    assert store.joints(1).max() == store.signal("inertial", 1).max() == 2
    with (
        pytest.raises(StoreError, match="clip 'a' has joints, but no layout was named"),
        ClipsWriter(tmp_path / "lost.h5", dataset="d", class_names=CLASSES) as writer,
    ):
        writer.add(clip_id="a", joints=point, **facts)


def test_digest_does_not_depend_on_row_order_but_on_every_value(tmp_path: Path) -> None:
    write_example_clips(tmp_path / "a.h5", order=(0, 1, 2))
    write_example_clips(tmp_path / "b.h5", order=(2, 0, 1))
    assert open_clips(tmp_path / "a.h5").digest == open_clips(tmp_path / "b.h5").digest
    values = np.eye(3, dtype=np.float32)
    digests = {
        write_logits(
            tmp_path / "c.h5",
            clip_ids=ids,
            values=scores,
            class_names=CLASSES,
            model="m",
            modality="joint",
            seed=seed,
        )
        for ids, scores, seed in (
            (["a", "b", "c"], values, 0),
            (["c", "b", "a"], values[::-1], 0),
            (["a", "b", "c"], values[::-1], 0),
            (["a", "b", "c"], values, 1),
        )
    }
    assert len(digests) == 3


def test_streams_give_the_frames_that_were_asked_for(tmp_path: Path) -> None:
    frames = {name: [bytes([k, j]) * (j + 1) for j in range(5)] for k, name in enumerate(("b", "a"))}
    with StreamsWriter(
        tmp_path / "s.h5", dataset="d", stream="depth", encoding="png16", channels=1, scale=0.001
    ) as writer:
        for name, encoded in frames.items():
            writer.add(clip_id=name, frames=encoded, boxes=np.tile([0, 0, 9, 9], (5, 1)))
    store = open_streams(tmp_path / "s.h5")
    row = int(store.rows(["a"])[0])
    assert [part.tobytes() for part in store.frame_bytes(row, [4, 0, 4])] == [
        frames["a"][i] for i in (4, 0, 4)
    ]
    assert len(store.frame_bytes(row)) == 5
    assert store.boxes(row).shape == (5, 4)
    assert (store.stream, store.encoding, store.scale) == ("depth", "png16", 0.001)
    with pytest.raises(StoreError, match="clip 'a' has 5 frames, frame 5 was asked for"):
        store.frame_bytes(row, [5])
    check_store(tmp_path / "s.h5")


def test_split_refuses_a_target_label(tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "dataset": "d",
        "clip_ids": ["a", "b", "c"],
        "names": ["train", "target", "val"],
        "class_names": CLASSES,
    }
    write_split(tmp_path / "split.h5", labels=[2, -1, 0], **common)
    split = read_split(tmp_path / "split.h5")
    ids, labels = split.select("val", "train")
    assert (ids.tolist(), labels.tolist()) == (["a", "c"], [2, 0])
    with pytest.raises(StoreError, match=r"carries labels of 1 target clip.*label is -1"):
        write_split(tmp_path / "bad.h5", labels=[2, 1, 0], **common)
    assert not (tmp_path / "bad.h5").exists()
    with pytest.raises(StoreError, match="has no part 'test'"):
        split.select("test")


def test_scores_round_trip(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    keys = clip_keys("d", ["x", "y"])
    write_logits(
        tmp_path / "l.h5",
        clip_ids=list("abcd"),
        values=values,
        class_names=CLASSES,
        model="posec3d",
        modality="heatmap",
        labels=[0, -1, 2, 1],
        present=[1, 1, 0, 1],
        trained_on=keys,
        dataset="d",
    )
    store = read_logits(tmp_path / "l.h5")
    np.testing.assert_array_equal(store.values, values)
    assert store.present.tolist() == [True, True, False, True]
    assert store.labels is not None
    assert store.labels.tolist() == [0, -1, 2, 1]
    assert store.key == "posec3d/heatmap"
    assert store.taint.known
    assert store.taint.trained_overlap(clip_keys("d", ["y", "z"])) == 1
    probs = np.full((4, 3), 1 / 3)
    write_probs(tmp_path / "p.h5", clip_ids=list("abcd"), values=probs, class_names=CLASSES)
    assert read_probs(tmp_path / "p.h5").values.sum() == pytest.approx(4)
    assert store_kind(tmp_path / "p.h5") == "probs"
    write_pseudo(
        tmp_path / "q.h5",
        clip_ids=["a", "c"],
        labels=[1, 2],
        confidence=[0.7, 0.9],
        votes=[[1, 0], [2, 2]],
        model_names=["joint", "rgb"],
        class_names=CLASSES,
        threshold=0.65,
        temperature=1.0,
        round=1,
        candidates=4,
        taint=Taint.empty(),
    )
    pseudo = read_pseudo(tmp_path / "q.h5")
    assert pseudo.votes.tolist() == [[1, 0], [2, 2]]
    assert (pseudo.model_names, pseudo.candidates) == (("joint", "rgb"), 4)
    write_features(tmp_path / "f.h5", clip_ids=["a", "b"], features={"pooled": np.ones((2, 8))})
    assert read_features(tmp_path / "f.h5").features["pooled"].shape == (2, 8)
    for name in "lpqf":
        assert check_store(tmp_path / f"{name}.h5") == open_store(tmp_path / f"{name}.h5").digest


def test_probabilities_are_read_as_logs_and_clamped_ones_are_counted(tmp_path: Path) -> None:
    write_logits(
        tmp_path / "p.h5",
        clip_ids=["a", "b"],
        values=[[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]],
        class_names=CLASSES,
        model="m",
        modality="rgb",
        space="prob",
    )
    store = read_logits(tmp_path / "p.h5")
    assert store.clamped == 2
    assert store.as_log()[0].tolist() == pytest.approx([0, np.log(1e-12), np.log(1e-12)])
    assert not store.taint.known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.full((2, 3), np.nan)}, r"NaN or infinity in 2 row\(s\), the first is clip 'a'"),
        ({"clip_ids": ["a", "a"]}, r"1 duplicate clip id\(s\), the first is 'a'"),
        ({"clip_ids": ["a", ""]}, "empty clip id"),
        ({"values": np.zeros((2, 4))}, r"shape \(2, 4\), wanted \(2, 3\)"),
        ({"class_names": ("x", "x", "y")}, "class name 'x' twice"),
        ({"space": "prob"}, "no probabilities: clip 'a' sums to 0"),
        ({"space": "odds"}, "space 'odds' is unknown"),
        ({"labels": [0, 3]}, r"outside -1\.\.2"),
        ({"clip_ids": ["a", 7]}, r"must be texts|clip_ids must"),
    ],
)
def test_wrong_scores_are_refused_and_nothing_is_left(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {
        "clip_ids": ["a", "b"],
        "values": np.zeros((2, 3)),
        "class_names": CLASSES,
        "model": "m",
        "modality": "joint",
    }
    arguments.update(change)
    if arguments["clip_ids"] == ["a", 7]:
        arguments["clip_ids"] = np.array(["a", 7], dtype=object)
    with pytest.raises(StoreError, match=message):
        write_logits(tmp_path / "bad.h5", **arguments)
    assert list(tmp_path.iterdir()) == []


def _example_logits(path: Path) -> None:
    write_logits(
        path,
        clip_ids=[f"c{i}" for i in range(500)],
        values=np.random.default_rng(0).normal(size=(500, 3)),
        class_names=CLASSES,
        model="m",
        modality="joint",
    )


def test_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.h5"
    _example_logits(good)
    raw = good.read_bytes()

    truncated = tmp_path / "truncated.h5"
    truncated.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(StoreError, match=r"truncated\.h5: is truncated") as caught:
        read_logits(truncated)
    assert "\n" not in str(caught.value)

    text = tmp_path / "text.h5"
    text.write_text("clip_id,label\n")
    with pytest.raises(StoreError, match=r"text\.h5: is not an HDF5 file"):
        read_logits(text)

    with pytest.raises(StoreError, match="does not exist"):
        read_logits(tmp_path / "none.h5")
    with pytest.raises(StoreError, match="is a folder"):
        read_logits(tmp_path)

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="is an HDF5 file but no mg store"):
        read_logits(tmp_path / "other.h5")
    with pytest.raises(StoreError, match="is a store of kind 'logits', wanted 'probs'"):
        read_probs(good)

    with h5py.File(good, "r") as file:
        offset = file["logits/values"].id.get_chunk_info(0).byte_offset
    flipped = bytearray(raw)
    flipped[offset + 64] ^= 0xFF
    (tmp_path / "flipped.h5").write_bytes(flipped)
    with pytest.raises(StoreError, match=r"flipped\.h5: is damaged"):
        read_logits(tmp_path / "flipped.h5")


def test_a_changed_file_fails_the_check_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.h5"
    _example_logits(path)
    with h5py.File(path, "r+") as file:
        file["logits/values"][3, 1] = 42
    with pytest.raises(StoreError, match="was changed after it was written"):
        check_store(path)
    with h5py.File(path, "r+") as file:
        file.attrs["mg_min_reader"] = "1.7"
    with pytest.raises(StoreError, match=r"needs a reader of format 1\.7"):
        read_logits(path)


def test_what_a_newer_minor_adds_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "l.h5"
    _example_logits(path)
    with h5py.File(path, "r+") as file:
        file.attrs["mg_format_version"] = "1.4"
        file["logits/uncertainty"] = np.zeros(500)
    assert len(read_logits(path)) == 500


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clips.h5"
    write_example_clips(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), ClipsWriter(path, dataset="d", class_names=CLASSES) as writer:
        writer.add(clip_id="x", subject_id="", video_id="v", start=0, stop=3)
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": np.zeros((4, 5, 3))}, r"joints have shape \(4, 5, 3\), wanted \(T, P, V, 3\)"),
        ({"joints": np.full((4, 1, 5, 3), np.inf)}, "hold NaN or infinity"),
        ({"stop": 0}, "has no frames"),
        ({"clip_id": "first"}, "'first' is repeated"),
        ({"joints": np.zeros((4, 1, 6, 3))}, "earlier clips"),
    ],
)
def test_wrong_clips_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    clip: dict[str, Any] = {
        "clip_id": "second",
        "subject_id": "s",
        "video_id": "v",
        "start": 0,
        "stop": 4,
        "joints": np.zeros((4, 1, 5, 3)),
    }
    with (
        pytest.raises(StoreError, match=message),
        ClipsWriter(tmp_path / "c.h5", dataset="d", class_names=CLASSES, layout="tiny") as writer,
    ):
        writer.add(**{**clip, "clip_id": "first"})
        writer.add(**{**clip, **change})
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        _example_logits(tmp_path / "file" / "l.h5")


def test_missing_clips_are_named(tmp_path: Path) -> None:
    _example_logits(tmp_path / "l.h5")
    store = read_logits(tmp_path / "l.h5")
    assert store.rows(["c499", "c0"]).tolist() == [499, 0]
    with pytest.raises(StoreError, match=r"lacks 2 of 3 clip\(s\): 'nobody', 'zz'"):
        store.rows(["c1", "nobody", "zz"])


@pytest.mark.parametrize("kind", [KeyError, OSError, RuntimeError])
def test_an_error_of_the_disk_is_not_told_as_damage(kind: type[Exception]) -> None:
    from mg_data.store.reading import guarded

    def read() -> None:
        raise kind(
            "Unable to open object (file read failed: time = Sat\n, errno = 5, error message = 'x', buf = 0)"
        )

    with pytest.raises(StoreError, match=r"^a\.h5: cannot be read: Input/output error$"):
        guarded("a.h5", read)
