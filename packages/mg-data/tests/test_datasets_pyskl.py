"""Pyskl pickles: what numpy wrote comes back, anything else is refused, and nothing is executed."""

from __future__ import annotations

import builtins
import gzip
import os
import pickle
import random
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, UsageError
from mg_data.datasets.pyskl.importer import import_pyskl
from mg_data.labels import read_labels
from mg_data.pickles import PickledArray, load_pickle
from mg_data.prepare.importing import import_data
from mg_data.prepare.split import split
from mg_data.store import open_clips, read_split

QUIET = TerminalConsole(quiet=True)


def annotation(name: str, *, people: int = 1, frames: int = 4, label: int = 0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(len(name) + frames + people)
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": (1080, 1920),
        "original_shape": (1080, 1920),
        "total_frames": frames,
        "keypoint": rng.uniform(0, 1000, (people, frames, 17, 2)).astype(np.float16),
        "keypoint_score": rng.uniform(0.1, 1, (people, frames, 17)).astype(np.float16),
        **more,
    }


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def plain(value: Any) -> Any:
    """Return what load_pickle gave with arrays in place."""
    if isinstance(value, PickledArray):
        return value.read()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value


# --- what an honest file holds


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_and_arrays_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    content = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(24).reshape(4, 6)[::2],
        "big endian": np.arange(4, dtype=">f4"),
        "empty": np.empty((0, 3)),
        "flags": np.array([True, False]),
        "long": np.arange(1000, dtype=np.uint8),
        "scalar": np.float32(1.5),
        "number": np.int64(-3),
        "plain": [1, -70000, 2**40, 1.5, None, True, "é", b"b", (1, 2, 3, 4), ()],
        "ordered": OrderedDict(a=1),
    }
    back = plain(load_pickle(write(tmp_path / "a.pkl", content, protocol)))
    assert list(back) == list(content)
    for name in ("half", "fortran", "strided", "big endian", "empty", "flags", "long"):
        assert back[name].dtype == content[name].dtype
        np.testing.assert_array_equal(back[name], content[name])
    assert (back["scalar"], back["number"], back["plain"]) == (1.5, -3, content["plain"])
    assert back["ordered"] == {"a": 1}


def test_clips_are_the_annotations(tmp_path: Path) -> None:
    entries = [annotation("S001C001P003R001A001", people=2, label=1), annotation("b", frames=6, label=2)]
    entries[0]["keypoint_score"][0, 0, 0] = 0
    data = import_pyskl(write(tmp_path / "a.pkl", {"split": {}, "annotations": entries}))
    assert (data.layout, data.columns, data.image_size) == ("coco-17", ("x", "y", "confidence"), (1920, 1080))
    assert data.class_names == ("class 0", "class 1", "class 2")
    one, two = data.all_clips()
    assert (one.clip_id, one.subject_id, one.label, one.start, one.stop) == (
        "S001C001P003R001A001",
        "P003",
        1,
        0,
        4,
    )
    assert one.joints is not None
    assert two.joints is not None
    assert one.joints.shape == (4, 2, 17, 3)
    assert two.joints.shape == (6, 2, 17, 3)
    assert one.joints[3, 1, 16, 0] == np.float32(entries[0]["keypoint"][1, 3, 16, 0])
    assert one.joints[2, 1, 5, 2] == np.float32(entries[0]["keypoint_score"][1, 2, 5])
    assert one.joints[0, 0, 0].tolist() == [0, 0, 0]
    assert not two.joints[:, 1].any()
    assert two.subject_id == ""
    assert data.dropped == []


def test_a_bare_list_and_three_dimensions(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(2, 3, 25, 3)).astype(np.float16)
    path = write(tmp_path / "a.pkl", [{"frame_dir": "a", "label": 0, "total_frames": 3, "keypoint": points}])
    data = import_pyskl(path, persons=1)
    (clip,) = data.all_clips()
    assert (data.layout, data.columns) == ("ntu-25", ("x", "y", "z"))
    np.testing.assert_array_equal(clip.joints, points[:1].transpose(1, 0, 2, 3).astype(np.float32))
    assert data.dropped[0].what == "further people"


def test_without_scores_a_point_that_is_not_zero_is_seen(tmp_path: Path) -> None:
    entry = annotation("a")
    del entry["keypoint_score"]
    entry["keypoint"][0, 1, 2] = 0
    (clip,) = import_pyskl(write(tmp_path / "a.pkl", [entry])).all_clips()
    assert clip.joints is not None
    assert clip.joints[1, 0, 2].tolist() == [0, 0, 0]
    assert clip.joints[..., 2].sum() == 4 * 17 - 1


def test_the_table_never_takes_the_place_of_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", {"split": {"xsub_train": ["p0"]}, "annotations": [annotation("p0")]})
    names = tmp_path / "names.txt"
    names.write_text("sit\n")
    before = path.read_bytes()
    for file in (path, names):
        with pytest.raises(UsageError, match=f"option table_out is .*{file.name}, which is read"):
            import_pyskl(path, classes=str(names), table_out=str(tmp_path / "." / file.name), scheme="xsub")
    assert (path.read_bytes(), names.read_text()) == (before, "sit\n")


def test_import_and_split_by_the_files_own_lists(tmp_path: Path) -> None:
    entries = [annotation(f"p{i}", label=i % 2) for i in range(6)]
    lists = {"xsub_train": ["p0", "p1", "p2"], "xsub_test": ["p3", "p4", "p5"], "xview_train": ["p3", "p0"]}
    path = write(tmp_path / "a.pkl", {"split": lists, "annotations": entries})
    with pytest.raises(UsageError, match="no split begins with 'xset_'"):
        import_pyskl(path, table_out=str(tmp_path / "t.csv"), scheme="xset")
    options = {"table_out": str(tmp_path / "t.csv"), "scheme": "xsub", "subject_pattern": "(p[0-9])"}
    out, labels = tmp_path / "c.h5", tmp_path / "labels.csv"
    import_data(name="pyskl", source=path, out=out, labels=labels, options=options, console=QUIET)
    assert open_clips(out).subject_ids.tolist() == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert read_labels(labels)["p3"] == 1
    split(clips=out, labels=labels, out=tmp_path / "s.h5", table=tmp_path / "t.csv", console=QUIET)
    names = read_split(tmp_path / "s.h5")
    assert sorted(names.clip_ids[names.names == "target"].tolist()) == ["p3", "p4", "p5"]
    notes = import_pyskl(path).dropped
    assert "split 'xsub_train' of 3 clips" in [note.what for note in notes]


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (
            ("xsub_train", "xview_val"),
            r"kind with --option scheme=NAME \(such as 'xsub', 'xview'\)",
        ),
        (("train1", "test2"), "do not begin with a scheme's, such as xsub_train: leave table_out out"),
    ],
)
def test_splits_of_several_schemes_are_told_apart_where_they_can_be(
    tmp_path: Path, names: tuple[str, str], advice: str
) -> None:
    content = {"split": {name: ["p0"] for name in names}, "annotations": [annotation("p0")]}
    with pytest.raises(UsageError, match=advice):
        import_pyskl(write(tmp_path / "a.pkl", content), table_out=str(tmp_path / "t.csv"))
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"total_frames": 9}, "its total_frames is 9, but keypoint has 4 frames"),
        ({"keypoint": [[1, 2]]}, "its keypoint is no numpy array"),
        ({"keypoint": np.zeros((4, 17, 2))}, "its keypoint has shape (4, 17, 2) of float64"),
        ({"keypoint_score": np.zeros((1, 5, 17))}, "its keypoint_score has shape (1, 5, 17)"),
        ({"keypoint": np.full((1, 4, 17, 2), np.nan)}, "its keypoints hold NaN or infinity"),
        ({"keypoint": np.full((1, 4, 17, 2), 1e300)}, "its keypoints hold NaN or infinity"),
        ({"keypoint": np.ones((1, 4, 13, 2)), "keypoint_score": None}, "wanted (M, T, 17, 2)"),
        ({"frame_dir": ""}, "it has no frame_dir"),
        ({"frame_dir": "a\nb"}, "holds a control character"),
        ({"frame_dir": "good"}, "an earlier annotation has the same frame_dir"),
        ({"label": "wave"}, "its label is no whole number"),
        ({"img_shape": (0, 5)}, "its img_shape is (0, 5), wanted pixels"),
    ],
)
def test_an_annotation_that_does_not_hold_together_is_left_out(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    entries = [annotation("good"), annotation("fine"), {**annotation("bad"), **change}]
    data = import_pyskl(write(tmp_path / "a.pkl", {"annotations": entries}))
    assert data.dropped == []
    assert [clip.clip_id for clip in data.all_clips()] == ["good", "fine"]
    assert len(data.dropped) == 1
    assert why in data.dropped[0].why


def test_options_are_checked_against_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", [annotation("a", label=3)])
    (tmp_path / "classes.txt").write_text("x\ny\n")
    with pytest.raises(DataError, match=r"annotation 'a' has label 3, .* has classes 0\.\.1"):
        import_pyskl(path, classes=str(tmp_path / "classes.txt"))
    with pytest.raises(UsageError, match="layout ntu-25 has 25 keypoints"):
        import_pyskl(path, layout="ntu-25")
    with pytest.raises(UsageError, match="subject_pattern has 0 groups, wanted one"):
        import_pyskl(path, subject_pattern="a")
    with pytest.raises(UsageError, match="subject_pattern is no regular expression"):
        import_pyskl(path, subject_pattern="(")
    with pytest.raises(UsageError, match="option persons is -1"):
        import_pyskl(path, persons=-1)
    path = write(tmp_path / "b.pkl", [annotation("a", people=17)])
    with pytest.raises(DataError, match="a clip has 17 people"):
        import_pyskl(path)


# --- what a hostile file holds


class _Runs:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def _hostile(mark: Path) -> dict[str, bytes]:
    """Return pickles that would create ``mark``, or do other harm, if anything in them were executed."""
    command = f"touch {mark}"
    array = np.array([_Runs(os.system, command)], dtype=object)
    text = f"open({str(mark)!r}, 'w')"
    getattr_chain = (
        b"\x80\x02c__builtin__\ngetattr\nc__builtin__\n__import__\nX\x02\x00\x00\x00os\x85RX\x06\x00\x00\x00system"
        b"\x86RX" + struct.pack("<I", len(command)) + command.encode() + b"\x85R."
    )
    return {
        "os.system": pickle.dumps({"annotations": _Runs(os.system, command)}),
        "eval": pickle.dumps([_Runs(builtins.eval, text)]),
        "exec": pickle.dumps([_Runs(builtins.exec, text)]),
        "getattr chain": getattr_chain,
        "object array": pickle.dumps({"annotations": array}),
        "object array 5": pickle.dumps({"annotations": array}, protocol=5),
        "np.load": pickle.dumps([_Runs(np.load, "x.npy", None, True)]),
        "np.memmap": pickle.dumps([_Runs(np.memmap, str(mark), "u1", "w+", 0, (4,))]),
        "numpy.f2py": b"\x80\x02cnumpy.f2py.diagnose\nrun\n)R.",
        "numpy.testing": b"\x80\x02cnumpy.testing._private.utils\nrunstring\nX\x01\x00\x00\x00a}\x86R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
        "call of a class": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
        "new object": b"\x80\x02cnumpy\nndarray\nK\x05\x85\x81.",
        "old instance": b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.",
        "state of a global": b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.",
        "persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "extension": b"\x80\x02\x82\x01.",
        "buffer": b"\x80\x05\x97.",
        "type by eval": b"\x80\x02cnumpy\ndtype\nX\x09\x00\x00\x00(2,)O,f4 \x85R.",
        "object type": b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
        "huge whole number": b"\x80\x02\x8b\x00\x00\x00\x7f.",
        "nested key": b"\x80\x02}K\x01\x85K\x01s.",
        "not utf-8": b"\x80\x02X\x01\x00\x00\x00\xff.",
    }


@pytest.mark.parametrize("name", list(_hostile(Path("x"))))
def test_nothing_is_executed(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "executed"
    path = tmp_path / "a.pkl"
    path.write_bytes(_hostile(mark)[name])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as caught:
        import_pyskl(path)
    assert str(caught.value).startswith(f"{path}: byte ")
    assert "\n" not in str(caught.value)
    assert "only pickles of dictionaries, lists and numpy arrays" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    """The pickle module does execute them: what is refused above is no straw man."""
    for name in ("os.system", "eval", "getattr chain", "object array"):
        mark = tmp_path / name.replace(" ", "_")
        pickle.loads(_hostile(mark)[name])
        assert mark.exists()


def _claims() -> dict[str, bytes]:
    """Return small files that claim gigabytes."""
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
    kind = (
        b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03X\x01\x00\x00\x00<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    huge = struct.pack("<i", 2**31 - 1)
    return {
        "bytes": b"\x80\x04B" + struct.pack("<I", 3 << 30) + b"x.",
        "bytes 8": b"\x80\x04\x8e" + struct.pack("<Q", 3 << 30) + b"x.",
        "bytes 64": b"\x80\x04\x8e" + struct.pack("<Q", 2**64 - 1) + b"x.",
        "byte array": b"\x80\x05\x96" + struct.pack("<Q", 3 << 30) + b"x.",
        "text": b"\x80\x04X" + struct.pack("<I", 3 << 30) + b"x.",
        "negative": b"\x80\x02T" + struct.pack("<i", -5) + b"x.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 3 << 30) + b"K\x01.",
        "shape": head + b"J" + huge + b"J" + huge + b"\x86" + kind + b"\x89C\x04abcdtb.",
        "many zeros": head + b"J" + huge + b"K\x00\x86" + kind + b"\x89C\x04abcdtb.",
        "memo": b"\x80\x02" + b"".join(b"]r" + struct.pack("<I", 0x7FFFFFFF) for _ in range(3)) + b".",
        "laughs": b"\x80\x04]\x94"
        + b"".join(
            b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(60)
        )
        + b".",
        "nesting": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "deep tuple": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    }


@pytest.mark.parametrize("name", list(_claims()))
def test_claims_take_no_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(_claims()[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            import_pyskl(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 64 << 20


def test_one_array_in_many_annotations_is_refused(tmp_path: Path) -> None:
    shared = np.ones((1, 1000, 17, 2), np.float32)
    entries = [
        {"frame_dir": f"c{number}", "label": 0, "keypoint": shared, "total_frames": 1000}
        for number in range(50)
    ]
    path = write(tmp_path / "a.pkl", entries)
    with pytest.raises(DataError, match="its annotations claim 6800000 bytes of keypoints in a file of"):
        import_pyskl(path)


def test_one_text_is_not_made_into_bytes_again_and_again(tmp_path: Path) -> None:
    text = (
        b"X"
        + struct.pack("<I", 5000)
        + b"a" * 5000
        + b"q\x01"
        + b"c_codecs\nencode\nq\x02X\x06\x00\x00\x00latin1q\x03"
    )
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02" + text + b"h\x02h\x01h\x03\x86R" * 100 + b".")
    with pytest.raises(DataError, match="one value copied again and again"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, wanted a pickle"),
        (gzip.compress(pickle.dumps([1]), mtime=0), "is compressed (gzip), wanted a pickle: unpack it first"),
        (b"PK\x03\x04abc", "is compressed (zip)"),
        (b"\x89HDF\r\n\x1a\n", "is no pickle of protocol 2 to 5 (it begins with byte 0x89)"),
        (pickle.dumps([1], protocol=0), "is no pickle of protocol 2 to 5"),
        (b"\x80\x06.", "protocol 6, wanted 2 to 5"),
        (pickle.dumps({"a": 1}), "holds no list 'annotations', found 'a'"),
        (pickle.dumps({"a\nb": 1}), r"found 'a\nb'"),
        (pickle.dumps(5), "is neither a dictionary with 'annotations' nor a list"),
        (pickle.dumps([]), "lists no annotation"),
        (pickle.dumps([1, 2]), "not one of 2 annotations can be used, the first: it is no dictionary"),
        (pickle.dumps({"annotations": [annotation("a")], "split": [1]}), "its 'split' is not name -> list"),
    ],
)
def test_what_is_no_annotation_pickle(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        import_pyskl(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


HONEST = pickle.dumps(
    {"split": {"train": ["a"]}, "annotations": [annotation("a"), annotation("b", people=2)]}
)
HONEST_2 = pickle.dumps([annotation("a"), annotation("b", people=2)], protocol=2)


def _try(path: Path, content: bytes) -> None:
    """Read it: a result or a DataError of one line, nothing else."""
    path.write_bytes(content)
    try:
        data = import_pyskl(path)
        for clip in data.all_clips():
            assert clip.joints is not None
            assert np.isfinite(clip.joints).all()
        lines = [f"{item.what}{item.why}" for item in data.dropped]
    except (DataError, UsageError) as error:
        lines = [str(error)]
    assert not any("\n" in line for line in lines)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    for length in [*range(1, 300), *range(300, len(HONEST), 17)]:
        path.write_bytes(HONEST[:length])
        with pytest.raises(DataError):
            import_pyskl(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.sampled_from([HONEST, HONEST_2]),
    flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_give_a_result_or_a_data_error(
    tmp_path: Path, content: bytes, flips: list[tuple[int, int]]
) -> None:
    changed = bytearray(content)
    for place, value in flips:
        changed[place % len(changed)] = value
    _try(tmp_path / "a.pkl", bytes(changed))


def test_every_single_byte_of_the_structure(tmp_path: Path) -> None:
    """Arrays fill most of the file; here each byte outside of them is changed, to random other values."""
    rng = random.Random(0)
    places = [place for place in range(len(HONEST)) if place < 420 or place > len(HONEST) - 60]
    for place in places:
        changed = bytearray(HONEST)
        changed[place] = rng.randrange(256)
        _try(tmp_path / "a.pkl", bytes(changed))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_noise_is_refused(tmp_path: Path, content: bytes) -> None:
    _try(tmp_path / "a.pkl", b"\x80\x04" + content)
