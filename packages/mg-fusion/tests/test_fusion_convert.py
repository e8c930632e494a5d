"""Score files of other projects: read as they are, refused in one line, written for their readers."""

from __future__ import annotations

import csv
import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_toys import Talk
from hypothesis import given
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.labels import read_labels
from mg_data.store import read_logits, write_logits
from mg_fusion.commands.scores import from_scores, to_scores
from mg_fusion.convert.names import match_names, normalised
from mg_fusion.convert.read import read_score_file
from mg_fusion.convert.write import pickled

VALUES = np.array([[2.5, -1.0, 0.25], [0.0, 3.0, -2.0], [1.0, 1.5, 1.25], [-4.0, 0.5, 8.0]], dtype=np.float32)
NAMES = ["a/clip 1.avi", "a/clip_2.avi", "b/Ünter.avi", "b/4.avi"]
CLASSES = ("wave", "nod", "shrug")


def listed(path: Path, words: list[str] | tuple[str, ...]) -> Path:
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


def peer_file(folder: Path, form: str) -> Path:
    """Write a score file as the project itself does."""
    path = folder / f"result.{form}"
    if form == "npz":
        path = folder / "result.npz"
        np.savez(path, logits=VALUES, name=np.array(NAMES), label=np.array([0, 1, 2, -1]))
    elif form == "csv":
        lines = [",".join(map(str, [name, *row])) for name, row in zip(NAMES, VALUES.tolist(), strict=True)]
        path.write_text("id,wave,nod,shrug\n" + "\n".join(lines) + "\n", encoding="utf-8")
    else:
        value: Any = list(VALUES)
        if form == "mmaction2":
            value = [{"pred_score": row, "frame_dir": name, "gt_label": np.array([0])}
                     for row, name in zip(VALUES, NAMES, strict=True)]  # fmt: skip
        elif form == "ctr-gcn":
            value = OrderedDict(zip(NAMES, VALUES, strict=True))
        path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("form", ["npz", "csv", "pyskl", "mmaction2", "ctr-gcn"])
def test_a_score_file_becomes_a_store_and_goes_back(tmp_path: Path, form: str) -> None:
    file, out = peer_file(tmp_path, form), tmp_path / "scores.h5"
    names = listed(tmp_path / "names.txt", NAMES) if form == "pyskl" else None
    result = from_scores(
        console=Talk(),
        file=file,
        out=out,
        format=form,
        classes=listed(tmp_path / "classes.txt", CLASSES),
        names=names,
        branch="peer",
    )
    store = read_logits(out)
    assert (store.key, store.space, store.class_names, store.taint.known) == ("peer", "logit", CLASSES, False)
    rows = [store.clip_ids.tolist().index(name) for name in NAMES]
    np.testing.assert_array_equal(store.values[rows], VALUES)
    assert store.labels is None
    assert result.data["exact"] == 4
    back = tmp_path / f"back.{form}"
    ids = listed(tmp_path / "ids.txt", NAMES[::-1])
    to_scores(console=Talk(), store=out, out=back, format=form, ids=ids)
    again = read_score_file(back, form)
    np.testing.assert_array_equal(again.values, VALUES[::-1])
    assert again.names == (None if form == "pyskl" else tuple(NAMES[::-1]))


def test_pickles_are_written_for_numpy_1_and_2() -> None:
    value = [{"pred_score": VALUES[0], "frame_dir": "ü"}, {"pred_score": np.zeros(300, dtype=np.float32)}]
    content = pickled(value)
    assert b"numpy.core.multiarray" in content
    assert b"numpy._core" not in content
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pickle.loads(content)
    np.testing.assert_array_equal(found[0]["pred_score"], VALUES[0])
    assert found[0]["pred_score"].dtype == np.float32
    assert found[1]["pred_score"].shape == (300,)
    assert found[0]["frame_dir"] == "ü"


def test_labels_go_beside_the_store_and_never_into_it(tmp_path: Path) -> None:
    classes = listed(tmp_path / "classes.txt", CLASSES)
    options: dict[str, Any] = {"console": Talk(), "out": tmp_path / "s.h5", "classes": classes}
    labels = tmp_path / "labels.csv"
    from_scores(file=peer_file(tmp_path, "npz"), format="npz", labels_out=labels, **options)
    assert read_labels(labels) == dict(zip(NAMES, [0, 1, 2, -1], strict=True))
    assert read_logits(tmp_path / "s.h5").labels is None
    with pytest.raises(DataError, match="holds no labels"):
        options["out"] = tmp_path / "none.h5"
        from_scores(file=peer_file(tmp_path, "ctr-gcn"), format="ctr-gcn", labels_out=labels, **options)
    assert not (tmp_path / "none.h5").exists()


@pytest.mark.parametrize("first", ["clip_id,0,1,2", "name,3,1,2", "ID,1,2,3", "file,0,1,2", ",0,1,2"])
def test_classes_that_are_called_by_numbers_are_no_clip(tmp_path: Path, first: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(f"{first}\nx,0.5,0.25,0.25\ny,0.1,0.2,0.7\n")
    found = read_score_file(file, "csv")
    assert (found.names, found.class_names) == (("x", "y"), tuple(first.split(",")[1:]))
    result = from_scores(console=Talk(), file=file, out=tmp_path / "s.h5", format="csv")
    # The numbers of the header are no scores, by which these were no probabilities.
    assert (result.data["clips"], result.data["space"]) == (2, "prob")
    back = tmp_path / "back.csv"
    to_scores(console=Talk(), store=tmp_path / "s.h5", out=back, format="csv")
    assert read_score_file(back, "csv").names == ("x", "y")


@pytest.mark.parametrize("first", ["x,1,0", "x,0,1", "x,2,1,0", "7,0,1,2", "x,0.0,1.0,2.0"])
def test_whole_numbers_behind_a_name_are_scores(tmp_path: Path, first: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(f"{first}\n")
    found = read_score_file(file, "csv", classes=len(first.split(",")) - 1)
    assert (len(found.values), found.names, found.class_names) == (1, (first[0],), None)


def test_ids_of_a_store_are_matched_as_the_array_they_are() -> None:
    found = match_names(np.array(["Run", "jump"]), np.array(["jump", "run", "walk"]), "casefold")
    assert (found.ids, found.changed, found.lacking) == (("jump", "run"), (("Run", "run"),), ("walk",))
    assert {type(word) for word in (*found.ids, *found.changed[0], *found.lacking)} == {str}


def test_probabilities_are_seen_and_said(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("x,0.5,0.25,0.25\ny,0.1,0.2,0.7\n")
    talk = Talk()
    options: dict[str, Any] = {"file": file, "out": tmp_path / "s.h5", "format": "csv"}
    classes = listed(tmp_path / "classes.txt", CLASSES)
    from_scores(console=talk, classes=classes, **options)
    assert read_logits(tmp_path / "s.h5").space == "prob"
    assert any("space 'prob'" in text for text in talk.said)
    from_scores(console=talk, classes=classes, space="logit", **options)
    assert read_logits(tmp_path / "s.h5").space == "logit"


def test_columns_are_taken_by_the_name_of_their_class(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("id,shrug,wave,nod\nx,3,1,2\n")
    classes = listed(tmp_path / "classes.txt", CLASSES)
    talk = Talk()
    from_scores(console=talk, file=file, out=tmp_path / "s.h5", format="csv", classes=classes)
    assert read_logits(tmp_path / "s.h5").values.tolist() == [[1, 2, 3]]
    assert any("another order" in text for text in talk.said)


def test_annotations_of_pyskl_name_the_rows(tmp_path: Path) -> None:
    annotations = tmp_path / "ann.pkl"
    annotations.write_bytes(pickle.dumps({"split": {"val": NAMES, "train": []}, "annotations": []}))
    options: dict[str, Any] = {
        "console": Talk(),
        "file": peer_file(tmp_path, "pyskl"),
        "out": tmp_path / "s.h5",
        "format": "pyskl",
        "classes": listed(tmp_path / "classes.txt", CLASSES),
        "names": annotations,
    }
    from_scores(split="val", **options)
    assert set(read_logits(tmp_path / "s.h5").clip_ids) == set(NAMES)
    with pytest.raises(UsageError, match="say which --split the scores are of: val, train"):
        from_scores(split="test", **options)
    with pytest.raises(DataError, match=r"has 3 names, .* has 4 rows"):
        from_scores(**{**options, "names": listed(tmp_path / "n.txt", NAMES[:3])})


def against(folder: Path, ids: list[str]) -> Path:
    path = folder / "against.h5"
    write_logits(
        path,
        clip_ids=ids,
        values=np.zeros((len(ids), 3)),
        class_names=CLASSES,
        model="m",
        modality="x",
        dataset="toy",
        vocabulary="three",
    )
    return path


def test_a_match_says_what_it_joined_and_what_it_dropped(tmp_path: Path) -> None:
    other = against(tmp_path, ["a/clip 1.avi", "A/Clip-2.AVI", "b/ünter.avi", "c/5.avi"])
    file, out, report = peer_file(tmp_path, "ctr-gcn"), tmp_path / "s.h5", tmp_path / "r.csv"
    joined: dict[str, Any] = {}
    for match in ("exact", "casefold", "normalised"):
        talk = Talk()
        result = from_scores(
            console=talk, file=file, out=out, format="ctr-gcn", against=other, match=match, report=report
        )
        joined[match] = (
            result.data["exact"],
            result.data["changed"],
            result.data["dropped"],
            result.data["lacking"],
        )
        assert "b/4.avi" in result.data["dropped_names"]
        assert any("names are none of the ids wanted and are dropped" in text for text in talk.warned)
        assert any("ids wanted have no scores" in text for text in talk.warned)
        assert any(f"joined by rule '{match}' only" in text for text in talk.warned) == (match != "exact")
    assert joined == {"exact": (1, 0, 3, 3), "casefold": (1, 1, 2, 2), "normalised": (1, 2, 1, 1)}
    store = read_logits(out)
    assert (store.dataset, store.vocabulary, store.class_names) == ("toy", "three", CLASSES)
    place = store.clip_ids.tolist().index("A/Clip-2.AVI")
    np.testing.assert_array_equal(store.values[place], VALUES[1])
    with report.open(newline="", encoding="utf-8") as handle:
        rows = {row["name"] or row["clip_id"]: row["joined"] for row in csv.DictReader(handle)}
    assert rows["a/clip 1.avi"] == "exact"
    assert rows["a/clip_2.avi"] == "normalised"
    assert (rows["b/4.avi"], rows["c/5.avi"]) == ("dropped", "no scores")
    assert store.provenance.config["dropped"] == 1


@pytest.mark.parametrize(
    ("names", "wanted", "text"),
    [
        (["x!", "x?"], ["x."], "the names 'x!' and 'x\\?' are one under this rule"),
        (["x!"], ["x.", "x?"], "the ids 'x.' and 'x\\?' are one under this rule"),
        (["x"], ["y"], "none of the 1 names is one of the 1 ids wanted"),
        (["x", "x"], ["x"], "the name 'x' stands twice, in places 1 and 2"),
    ],
)
def test_ambiguous_names_are_refused(names: list[str], wanted: list[str], text: str) -> None:
    with pytest.raises(DataError, match=text):
        match_names(names, wanted, "normalised")


def test_equal_names_come_before_the_rule() -> None:
    # 'x!' and 'x?' are one under the rule, but nobody needs it.
    found = match_names(["x!", "x?"], ["x?", "x!"], "normalised")
    assert found.rows.tolist() == [1, 0]
    assert found.changed == ()


@given(st.text(max_size=12))
def test_normalising_twice_is_normalising_once(name: str) -> None:
    assert normalised(normalised(name)) == normalised(name)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def hostile(folder: Path, what: str) -> tuple[Path, str]:
    path = folder / "hostile"
    if what == "code":
        path.write_bytes(pickle.dumps([Bomb()]))
        return path, "pyskl"
    if what == "torch":
        torch = pytest.importorskip("torch")
        path.write_bytes(pickle.dumps([{"pred_score": torch.zeros(3)}]))
        return path, "mmaction2"
    if what == "repeated":  # one array, named a thousand times
        row = np.zeros(1000, dtype=np.float32)
        path.write_bytes(pickle.dumps([row] * 1000))
        return path, "pyskl"
    if what == "objects":
        np.savez(path.with_suffix(".npz"), logits=VALUES, name=np.array(NAMES, dtype=object))
        return path.with_suffix(".npz"), "npz"
    if what == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            data = io.BytesIO()
            np.save(data, np.zeros(100))
            archive.writestr("logits.npy", data.getvalue() + bytes(2**27))
        return path, "npz"
    if what == "cut":
        path.write_bytes(peer_file(folder, "npz").read_bytes()[:-40])
        return path, "npz"
    if what == "claimed":
        data = io.BytesIO()
        np.save(data, np.zeros((2, 3)))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("logits.npy", data.getvalue().replace(b"(2, 3)", b"(9, 3)"))
        return path, "npz"
    text = {
        "nan": "a,1,2,nan\n",
        "ragged": "a,1,2,3\nb,1,2\n",
        "words": "id,w,n,s\na,1,2,x\n",
        "twice": "id,w,n,s\na,1,2,3\na,1,2,3\n",
        "empty": "",
        "wide": "a,1,2,3,4,5\n",
    }[what]
    path.write_text(text)
    return path, "csv"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("code", "neither numpy's array nor its type"),
        ("torch", "holds torch tensors, .*cpu\\(\\).numpy\\(\\)"),
        ("repeated", "claims more scores than its .* bytes can hold"),
        ("objects", "save names as text"),
        ("bomb", "that is no table of scores"),
        ("cut", "cannot be read as npz"),
        ("claimed", "cannot be read as npz"),
        ("nan", "hold NaN or infinity, the first is 'a'"),
        ("ragged", "line 2 has 3 cells, the first has 4"),
        ("words", "line 2: 'x' is no number"),
        ("twice", "the name 'a' stands twice"),
        ("empty", "is empty"),
        ("wide", "has 6 columns and no header, wanted 3 scores"),
    ],
)
def test_hostile_files_end_in_one_line_that_names_them(
    tmp_path: Path, what: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, form = hostile(tmp_path, what)
    with pytest.raises(DataError, match=text) as caught:
        from_scores(
            console=Talk(),
            file=path,
            out=tmp_path / "s.h5",
            format=form,
            classes=listed(tmp_path / "classes.txt", CLASSES),
        )
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out
    assert not (tmp_path / "s.h5").exists()


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    classes = listed(tmp_path / "classes.txt", CLASSES)
    out = tmp_path / "s.h5"
    with pytest.raises(UsageError, match="names no classes; give --classes"):
        from_scores(console=Talk(), file=peer_file(tmp_path, "npz"), out=out, format="npz")
    with pytest.raises(UsageError, match="holds no names; give --names"):
        from_scores(
            console=Talk(), file=peer_file(tmp_path, "pyskl"), out=out, format="pyskl", classes=classes
        )
    with pytest.raises(UsageError, match="needs the ids to match with"):
        from_scores(
            console=Talk(),
            file=peer_file(tmp_path, "npz"),
            out=out,
            format="npz",
            classes=classes,
            match="normalised",
        )
    with pytest.raises(DataError, match="has no 'score', it holds 'logits', 'name', 'label'"):
        from_scores(
            console=Talk(),
            file=peer_file(tmp_path, "npz"),
            out=out,
            format="npz",
            classes=classes,
            keys={"scores": "score"},
        )
    with pytest.raises(DataError, match="has 3 scores a clip, but there are 2 class names"):
        from_scores(
            console=Talk(),
            file=peer_file(tmp_path, "npz"),
            out=out,
            format="npz",
            classes=listed(tmp_path / "two.txt", CLASSES[:2]),
        )
    write_logits(
        out,
        clip_ids=["x"],
        values=np.zeros((1, 3)),
        class_names=CLASSES,
        model="m",
        modality="y",
        present=[0],
    )
    with pytest.raises(DataError, match="1 clips have no answer"):
        to_scores(console=Talk(), store=out, out=tmp_path / "b.csv", format="csv")
    other = against(tmp_path, ["x"])
    with pytest.raises(UsageError, match="its order is all: give --ids"):
        to_scores(console=Talk(), store=other, out=tmp_path / "b.pkl", format="pyskl")
    with pytest.raises(StoreError):
        to_scores(console=Talk(), store=classes, out=tmp_path / "b.pkl", format="csv")


@pytest.mark.data
def test_differently_spelled_names_of_real_files_are_joined_on_request_only(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "dmcnet_hmdb51"
    classes = listed(tmp_path / "classes.txt", [f"class {index}" for index in range(51)])
    first = tmp_path / "iframe.h5"
    from_scores(console=Talk(), file=folder / "split1_iframe.npz", out=first, format="npz", classes=classes)
    options: dict[str, Any] = {
        "file": folder / "split1_mv.npz",
        "out": tmp_path / "mv.h5",
        "format": "npz",
        "against": first,
    }
    talk = Talk()
    assert from_scores(console=talk, **options).data["dropped"] == 351
    assert any(text.startswith("from-scores: 351 of 1530 names are none of the ids") for text in talk.warned)
    found = from_scores(console=talk, match="normalised", **options).data
    assert (found["exact"], found["changed"], found["dropped"], found["lacking"]) == (1179, 351, 0, 0)
    # 15 rows lie in another order, as the two spellings sort differently: position would mix clips up.
    with np.load(folder / "split1_mv.npz") as ours, np.load(folder / "split1_iframe.npz") as theirs:
        names, values, other = theirs["name"].tolist(), ours["logits"], ours["name"].tolist()
    store = read_logits(tmp_path / "mv.h5")
    place = {clip: row for row, clip in enumerate(store.clip_ids.tolist())}
    joined = store.values[[place[name] for name in names]]
    moved = np.flatnonzero((joined != values).any(axis=1))
    assert len(moved) == 15
    for row in moved:
        there = next(at for at, name in enumerate(other) if normalised(name) == normalised(names[row]))
        np.testing.assert_array_equal(joined[row], values[there])
