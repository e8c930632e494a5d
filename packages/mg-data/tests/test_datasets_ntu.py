"""Skeletons: axes and bodies of .skeleton text, joints in json, npy, npz and text, sizes never believed."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, UsageError
from mg_data.datasets.ntu.importer import import_ntu
from mg_data.datasets.ntu.joint_files import read_joint_file
from mg_data.datasets.ntu.skeleton import keep_persons, motion_order, read_skeleton
from mg_data.labels import read_labels
from mg_data.prepare.importing import import_data
from mg_data.store import open_clips

NAME = "S001C002P003R001A050"


def person(frames: int, *, moves: float, seed: int = 0) -> NDArray[np.float32]:
    """Return (T, 25, 3): a tall figure whose joints move by ``moves`` metres."""
    rng = np.random.default_rng(seed)
    figure = np.stack([rng.uniform(-0.2, 0.2, 25), np.linspace(-0.8, 0.8, 25), np.full(25, 2.5)], axis=1)
    return (figure + rng.normal(0, moves, (frames, 25, 3))).round(5).astype(np.float32)


def skeleton(bodies: dict[str, tuple[int, NDArray[np.float32]]], frames: int, values: int = 12) -> str:
    """Return the text of a file; a body is (first frame, its (T, 25, 3))."""
    lines = [str(frames)]
    for frame in range(frames):
        here = {
            name: points[frame - first]
            for name, (first, points) in bodies.items()
            if first <= frame < first + len(points)
        }
        lines.append(str(len(here)))
        for name, points in here.items():
            lines += [f"{name} 0 1 1 1 1 0 0.01 -0.2 2", "25"]
            lines += [" ".join([*map(repr, map(float, point)), *["1"] * (values - 3)]) for point in points]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("values", [11, 12])
def test_positions_and_frames_of_each_body(tmp_path: Path, values: int) -> None:
    one, two = person(6, moves=0.01), person(3, moves=0.1, seed=1)
    path = tmp_path / "a.skeleton"
    path.write_text(skeleton({"72057594037944738": (0, one), "7": (2, two)}, 8, values))
    joints = read_skeleton(path)
    assert joints.shape == (8, 2, 25, 3)
    np.testing.assert_array_equal(joints[:6, 0], one)
    np.testing.assert_array_equal(joints[2:5, 1], two)
    assert not joints[6:].any()
    assert not joints[:2, 1].any()


def test_the_one_who_moves_acts_and_furniture_does_not() -> None:
    still, lively = person(20, moves=0.001), person(20, moves=0.05, seed=1)
    wide = person(20, moves=0.5, seed=2)[..., [1, 0, 2]] * np.float32([3, 0.1, 1])
    short = np.zeros((20, 25, 3), np.float32)
    short[:4] = person(4, moves=1.0, seed=3)
    joints = np.stack([wide, still, short, lively], axis=1)
    assert motion_order(joints)[:2].tolist() == [3, 1]
    kept = keep_persons(joints, 2)
    np.testing.assert_array_equal(kept[:, 0], lively)
    np.testing.assert_array_equal(kept[:, 1], still)
    assert keep_persons(joints, 6).shape == (20, 6, 25, 3)
    assert not keep_persons(joints, 6)[:, 4:].any()


def test_names_tell_class_and_subject(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    lively = person(12, moves=0.05, seed=1)
    bodies = {"1": (0, person(12, moves=0.001)), "2": (0, lively)}
    (folder / "deep" / f"{NAME}.skeleton").write_text(skeleton(bodies, 12))
    (folder / "S001C001P001R001A001.skeleton").write_text(skeleton({}, 3))
    (folder / "notes.txt").write_text("hello")
    arguments: dict[str, Any] = {"out": tmp_path / "c.h5", "labels": tmp_path / "l.csv"}
    console = TerminalConsole(quiet=True)
    with pytest.raises(DataError, match="nobody is in any of its 3 frames"):
        import_data(name="ntu", source=folder, console=console, **arguments)
    result = import_data(name="ntu", source=folder, console=console, keep_going=True, **arguments)
    clips = open_clips(tmp_path / "c.h5")
    assert clips.clip_ids.tolist() == [f"deep/{NAME}"]
    assert clips.subject_ids.tolist() == ["P003"]
    assert (clips.layout, clips.columns, len(clips.class_names)) == ("ntu-25", ("x", "y", "z"), 60)
    assert clips.class_names[49] == "A050"
    assert read_labels(tmp_path / "l.csv") == {f"deep/{NAME}": 49}
    np.testing.assert_array_equal(clips.joints(0)[:, 0], lively)
    assert "1 .txt file(s)" in [item["what"] for item in result.data["dropped"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "ends where the number of frames is wanted: it is empty or cut off"),
        (lambda text: text[: len(text) // 2].rsplit("\n", 1)[0], "ends where .* is wanted|cut off"),
        (
            lambda text: text.replace("2\n", "200000000\n", 1),
            "line 1: claims 200000000 frames, 56 lines follow",
        ),
        (lambda text: text.replace("2\n", "-1\n", 1), "line 1: '-1' is not the number of frames"),
        (lambda text: text.replace("2\n", "2 3\n", 1), "line 1: '2 3' is not the number of frames"),
        (lambda text: text.replace("\n25\n", "\n24\n", 1), "line 4: a body has 24 joints, wanted 25"),
        (lambda text: text.replace(" 0.01 ", " "), "line 3: has 9 values, wanted the 10 of a body"),
        (lambda text: text.replace(" 2.5", " nan"), "position"),
        (lambda text: text.replace(" 2.5", " 1e99"), "a joint's position is not finite"),
        (lambda text: text.replace(" 2.5", " x"), "a joint's position is no number"),
        (lambda text: text + "0\n", "line 58: stands after the last of 2 frames"),
        (lambda text: "0\n", "holds no frame"),
        (lambda text: text + "\0", "holds a NUL byte"),
    ],
)
def test_a_skeleton_that_is_damaged_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "a.skeleton"
    path.write_text(change(skeleton({"1": (0, person(2, moves=0.0))}, 2)))
    with pytest.raises(DataError, match=message) as caught:
        read_skeleton(path)
    assert "\n" not in str(caught.value)


def test_frames_without_a_body_take_no_memory(tmp_path: Path) -> None:
    points = person(1, moves=0.0)
    text = skeleton({str(n): (0, points) for n in range(16)}, 1).split("\n", 1)[1] + "0\n" * 300_000
    path = tmp_path / "a.skeleton"
    path.write_text("300001\n" + text)
    with pytest.raises(DataError, match="claims 300001 frames of 16 bodies in far too few lines"):
        read_skeleton(path)


# --- files of joints


def joints_of(frames: int = 4, people: int = 2, points: int = 25) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(frames, people, points, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["json", "bare json", "npy", "fortran npy", "npz", "packed npz", "txt", "csv txt"]
)
def test_one_clip_in_each_kind_of_file(tmp_path: Path, kind: str) -> None:
    joints = joints_of()
    path = tmp_path / f"a.{kind.split()[-1]}"
    if path.suffix == ".json":
        value: Any = joints.tolist()
        path.write_text(
            json.dumps(value if kind == "bare json" else {"joints": value, "label": 3, "subject": 7})
        )
    elif path.suffix == ".npy":
        np.save(path, np.asfortranarray(joints) if "fortran" in kind else joints)
    elif path.suffix == ".npz":
        save = np.savez_compressed if "packed" in kind else np.savez
        save(path, joints=joints, label=np.int64(3), subject="7", other=np.zeros(3))
    else:
        np.savetxt(path, joints.reshape(4, -1), delimiter="," if "csv" in kind else " ", fmt="%.9e")
    found = read_joint_file(path, 25)
    np.testing.assert_allclose(found.joints, joints, rtol=1e-6)
    if kind in ("json", "npz", "packed npz"):
        assert (found.label, found.subject) == (3, "7")
    else:
        assert (found.label, found.subject) == (None, "")


def test_one_person_needs_no_axis(tmp_path: Path) -> None:
    joints = joints_of(people=1, points=17)
    np.save(tmp_path / "a.npy", joints[:, 0].astype(np.float64))
    data = import_ntu(tmp_path, layout="coco-17", persons=2)
    (clip,) = data.all_clips()
    assert (data.columns, clip.label) == (("x", "y", "confidence"), -1)
    assert clip.joints is not None
    assert clip.joints.shape == (4, 2, 17, 3)
    np.testing.assert_array_equal(clip.joints[:, :1], joints)
    with pytest.raises(DataError, match="name the layout with --option layout=NAME"):
        import_ntu(tmp_path)


def test_labels_in_files_make_the_classes(tmp_path: Path) -> None:
    for name, label in (("a", "wave"), ("b", "nod"), ("c", None)):
        content = {"joints": joints_of().tolist(), "label": label, "subject": "s1"}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    data = import_ntu(tmp_path)
    assert (data.class_names, data.layout) == (("nod", "wave"), "ntu-25")
    assert [(clip.label, clip.subject_id) for clip in data.all_clips()] == [(1, "s1"), (0, "s1"), (-1, "s1")]
    (tmp_path / "t.csv").write_text("video,label,subject\na,3,s9\n")
    data = import_ntu(tmp_path, clips=str(tmp_path / "t.csv"))
    with pytest.raises(DataError, match="its label 'nod' is none of the"):
        list(data.all_clips())
    (tmp_path / "classes.txt").write_text("sit\nnod\nwave\n")
    data = import_ntu(tmp_path, classes=str(tmp_path / "classes.txt"))
    assert [clip.label for clip in data.all_clips()] == [2, 1, -1]
    (tmp_path / "d.json").write_text(json.dumps({"joints": joints_of().tolist(), "label": 2}))
    with pytest.raises(DataError, match="its label is a number, but that of"):
        import_ntu(tmp_path)


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no clip"):
        import_ntu(tmp_path)
    (tmp_path / f"{NAME}.skeleton").write_text(skeleton({"1": (0, person(2, moves=0.1))}, 2))
    with pytest.raises(UsageError, match="option persons is 0"):
        import_ntu(tmp_path, persons=0)
    with pytest.raises(UsageError, match=r"but \.skeleton files are ntu-25"):
        import_ntu(tmp_path, layout="coco-17")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="is of class A050, there are 2 classes"):
        import_ntu(tmp_path, classes=str(tmp_path / "classes.txt"))


def npy(array: NDArray[Any], *, shape: str = "") -> bytes:
    """Return an npy file, its header claiming another shape if one is given."""
    file = io.BytesIO()
    np.save(file, array)
    content = file.getvalue()
    if not shape:
        return content
    (size,) = struct.unpack_from("<H", content, 8)
    text = (
        f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}".ljust(size - 1) + "\n"
    )
    return content[:8] + struct.pack("<H", len(text)) + text.encode() + content[10 + size :]


def npz(content: bytes, name: str = "joints.npy", claimed: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    data = bytearray(file.getvalue())
    if claimed:
        at = data.index(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", claimed)
    return bytes(data)


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


def _hostile() -> dict[str, bytes]:
    zeros = np.zeros((4, 25, 3), np.float32)
    objects = np.array([_Runs()], dtype=object)
    return {
        "a.npy": b"",
        "b.npy": npy(zeros, shape="(1000000000, 25, 3)"),
        "c.npy": npy(zeros, shape="(-4, 25, 3)"),
        "d.npy": npy(zeros, shape="(4, 25, 3, 99999999999999999999)"),
        "e.npy": npy(zeros)[:-1],
        "f.npy": npy(objects),
        "g.npy": npy(np.zeros((4, 20, 3))),
        "h.npy": npy(np.full((4, 25, 3), np.nan)),
        "i.npy": npy(np.array(["x"] * 4)),
        "j.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{",
        "k.npy": npy(zeros, shape="__import__('os').system('touch executed')"),
        "a.npz": b"PK\x03\x04 nonsense",
        "b.npz": npz(npy(zeros, shape="(1000000000, 25, 3)")),
        "c.npz": npz(npy(zeros), claimed=3 << 30),
        "d.npz": npz(npy(objects)),
        "e.npz": npz(npy(zeros), name="other.npy"),
        "g.npz": npz(npy(zeros))[:-30],
        "h.npz": npz(b"\x93NUMPY\x01\x00" + bytes(50)),
        "a.json": b"",
        "b.json": json.dumps({"joints": zeros.tolist()}).encode()[:-40],
        "c.json": b"[" * 200_000,
        "d.json": b'{"joints": [[[1, 2], [3]]]}',
        "e.json": b'{"joints": "text"}',
        "f.json": b'{"label": 1}',
        "g.json": json.dumps({"joints": zeros.tolist(), "label": [1]}).encode(),
        "h.json": json.dumps({"joints": zeros.tolist(), "label": 1.5}).encode(),
        "i.json": json.dumps({"joints": [[["1"] * 3] * 25]}).encode(),
        "j.json": json.dumps({"joints": [[[10**400] * 3] * 25]}).encode(),
        "k.json": json.dumps({"joints": zeros.tolist(), "subject": "a\nb"}).encode(),
        "l.json": b'{"joints": [[[NaN, 1, 2]]]}',
        "m.json": b'{"jo\\nints": 1}',
        "a.txt": b"",
        "b.txt": b"1 2 3\n4 5\n",
        "c.txt": b"hello\n",
        "d.txt": b"\xff\xfe",
    }


@pytest.mark.parametrize("name", list(_hostile()))
def test_hostile_files_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(_hostile()[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_joint_file(path, 25)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert peak < 64 << 20
    assert [item.name for item in tmp_path.iterdir()] == [name]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.sampled_from([npy(joints_of(1, 1)), npz(npy(joints_of(1, 1)))]),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_give_a_result_or_a_data_error(
    tmp_path: Path, content: bytes, flips: list[tuple[int, int]]
) -> None:
    changed = bytearray(content)
    for place, value in flips:
        changed[place % len(changed)] = value
    path = tmp_path / ("a.npz" if content.startswith(b"PK") else "a.npy")
    path.write_bytes(changed)
    message = ""
    try:
        found = read_joint_file(path, 25).joints
        assert found is None or np.isfinite(found).all()
    except DataError as error:
        message = str(error)
    assert "\n" not in message
