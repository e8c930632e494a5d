"""What the contract's errors and records do besides holding values."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mg_data.contract import ClipSource, DatasetImport, Dropped, InputSpec, RawClip, StoreError


def test_a_store_error_says_file_reason_and_what_to_do() -> None:
    assert str(StoreError("a.h5", "is no store")) == "a.h5: is no store"
    error = StoreError(Path("a.h5"), "is no store", "write it again")
    assert str(error) == "a.h5: is no store (write it again)"
    assert (error.path, error.reason, error.fix) == ("a.h5", "is no store", "write it again")
    assert StoreError("a.h5", "is no store").fix == ""


def test_a_store_error_comes_back_from_another_process_as_it_was() -> None:
    class OfThisTest(StoreError):
        pass

    error = StoreError("a.h5", "is no store", "write it again")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied)) == (StoreError, str(error))
    assert (copied.path, copied.reason, copied.fix) == (error.path, error.reason, error.fix)
    assert OfThisTest("a.h5", "r").__reduce__() == (OfThisTest, ("a.h5", "r", ""))


def test_what_a_sample_looks_like_survives_json() -> None:
    full = InputSpec(kind="keypoints", shape=(3, 16, 22), dtype="float16", layout="coco", extra={"fps": 25})
    value = json.loads(json.dumps(full.to_json()))
    assert value == {
        "kind": "keypoints",
        "shape": [3, 16, 22],
        "dtype": "float16",
        "layout": "coco",
        "extra": {"fps": 25},
    }
    assert InputSpec.from_json(value) == full


def test_a_sample_told_by_kind_and_shape_alone_is_float32_without_a_layout() -> None:
    assert InputSpec.from_json({"kind": "video", "shape": [3, 8]}) == InputSpec(kind="video", shape=(3, 8))
    plain = InputSpec(kind="video", shape=(3, 8))
    assert (plain.dtype, plain.layout, plain.extra) == ("float32", "", {})


def clip(name: str) -> RawClip:
    return RawClip(clip_id=name, subject_id="s", video_id="v", start=0, stop=1, joints=None)


def test_all_clips_are_those_at_hand_and_then_each_sources_and_what_is_dropped_is_told() -> None:
    lost = [Dropped(what="c2", why="no frames"), Dropped(what="c4", why="no frames")]
    data = DatasetImport(
        class_names=("a",),
        vocabulary="v",
        layout="",
        columns=("x", "y", "confidence"),
        image_size=(4, 4),
        clips=[clip("c0")],
        sources=[
            ClipSource(name="r1", read=lambda: ([clip("c1")], [lost[0]])),
            ClipSource(name="r2", read=lambda: ([clip("c3"), clip("c5")], [lost[1]])),
        ],
        dropped=[Dropped(what="notes.txt", why="another kind")],
    )
    assert [found.clip_id for found in data.all_clips()] == ["c0", "c1", "c3", "c5"]
    assert data.dropped[1:] == lost


def test_exit_codes_tell_whose_fault_it_was() -> None:
    from mg_data import contract

    codes = {name: getattr(contract, name).exit_code for name in contract.__all__ if name.endswith("Error")}
    assert codes == {
        "MgError": 1,
        "UsageError": 2,
        "StoreError": 3,
        "PluginError": 4,
        "DataError": 5,
        "TaintError": 5,
    }


@pytest.mark.parametrize("name", ["MgError", "UsageError", "StoreError", "PluginError", "DataError"])
def test_every_error_may_carry_the_result_of_work_that_was_done(name: str) -> None:
    from mg_data import contract

    assert getattr(contract, name).result is None
