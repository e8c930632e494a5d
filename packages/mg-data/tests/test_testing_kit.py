"""Every check finds the fault it is made for: a plugin with one planted fault fails that check."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.plugin_check import check as check_command
from mg_data.contract import (
    AdapterSpec,
    ClipSource,
    DataError,
    DatasetImport,
    DatasetSpec,
    FuserSpec,
    InputSpec,
    LayoutSpec,
    ModalitySpec,
    PluginError,
    PoseEstimatorSpec,
    PseudoLabels,
    RawClip,
    StoreError,
    TrackerSpec,
    hookimpl,
)
from mg_data.plugins import use_plugins
from mg_data.store import read_features
from mg_data.testing import checks_of, parametrize_with_checks, run_checks, write_fake_features
from mg_data.testing.runner import as_text, verdict

NAME = "planted_faults"
Register = Callable[..., dict[str, str]]


@pytest.fixture
def faults() -> Iterator[Register]:
    """Register records of a made-up plugin; return the failed checks of it with their texts."""
    module = ModuleType(NAME)
    sys.modules[NAME] = module

    def register(kind: str, *records: Any, **members: Any) -> dict[str, str]:
        for name, member in members.items():
            setattr(module, name, member)
        setattr(module, f"mg_register_{kind}", hookimpl(lambda: records))
        use_plugins(module)
        # A module that is no file cannot be imported in another process.
        checks = [check for check in checks_of(NAME) if check.name != "loads-without-heavy-libraries"]
        return {o.check.name: o.message for o in run_checks(checks) if not o.good}

    yield register
    del sys.modules[NAME]
    use_plugins()


# --- records


TRACKER = TrackerSpec(name="t", summary="a tracker", factory=f"{NAME}:Track")


class Track:
    def __init__(self, folder: Path, *, rate: int = 1) -> None:
        self.open = True

    def scalars(self, epoch: int, values: dict[str, float]) -> None:
        assert self.open

    def close(self) -> None:
        self.open = False


def test_a_good_record_has_no_fault(faults: Register) -> None:
    assert faults("trackers", TRACKER, Track=Track) == {}


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        ({"name": "My Tracker"}, "name-is-legal", "name 'My Tracker', wanted small letters"),
        ({"summary": "two\nlines"}, "fields-are-valid", "wanted one line of text"),
        ({"options": [1]}, "fields-are-valid", r"field options is [1] (list), wanted Mapping"),
        ({"factory": f"{NAME}:Nothing"}, "factories-resolve", "has no 'Nothing'"),
        (
            {"options": {"speed": 1}},
            "factory-takes-its-options",
            "got an unexpected keyword argument 'speed'",
        ),
        ({"options": {"rate": object()}}, "options-are-json", "options is no JSON value"),
    ],
)
def test_faults_of_records(faults: Register, change: dict[str, Any], check: str, text: str) -> None:
    found = faults("trackers", replace(TRACKER, **change), Track=Track)
    assert text in found[check]


def test_a_name_registered_twice(faults: Register) -> None:
    assert (
        "registers trackers 't' twice"
        in faults("trackers", TRACKER, TRACKER, Track=Track)["names-are-its-own"]
    )


# --- layouts

LAYOUT = LayoutSpec(
    name="figure-5",
    summary="a trunk and two arms",
    names=("neck", "left_hand", "right_hand", "nose", "hip"),
    edges=((0, 1), (0, 2), (0, 3), (0, 4)),
    pairs=((1, 2),),
    centre=0,
    parents=(0, 0, 0, 0, 0),
)


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        ({"edges": LAYOUT.edges[:-1]}, "graph-is-connected", "1 keypoints hang on nothing: hip"),
        (
            {"edges": (*LAYOUT.edges[:-1], (1, 4))},
            "flip-maps-edges-to-edges",
            "edge left_hand-hip is mirrored to",
        ),
        ({"pairs": ((1, 2), (2, 3))}, "flip-is-an-involution", "the flip of ['left_hand'"),
        (
            {"names": ("neck", "left_hand", "left_foot", "nose", "hip")},
            "sides-are-named",
            "swaps with 'left_foot'",
        ),
        ({"parents": (0, 0, 0, 0)}, "record-is-consistent", "parents must be one for each keypoint"),
    ],
)
def test_faults_of_layouts(faults: Register, change: dict[str, Any], check: str, text: str) -> None:
    assert faults("layouts", LAYOUT) == {}
    assert text in faults("layouts", replace(LAYOUT, **change))[check]


# --- modalities

MODALITY = ModalitySpec(name="sig", summary="a signal", factory=f"{NAME}:Signal", store_kind="features")


class Signal:
    """The first eight samples of a signal; subclasses plant a fault."""

    def __init__(self, path: Path) -> None:
        self.store = read_features(path)
        self.clip_ids = self.store.clip_ids
        self.input = InputSpec(kind="signal", shape=(6, 8))

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Any:
        if clip_id not in self.clip_ids:
            raise StoreError(self.store.path, f"holds no clip '{clip_id}'")
        sample = self.store.signal("inertial", int(self.store.rows([clip_id])[0]))[:8].T.copy()
        return sample if rng is None else sample + rng.normal(size=sample.shape).astype(np.float32)

    def views(self, clip_id: str) -> list[Any]:
        return [self.sample(clip_id, None)]

    def flip(self, sample: Any) -> Any:
        return -sample


class OtherShape(Signal):
    def views(self, clip_id: str) -> list[Any]:
        return [self.sample(clip_id, None)[:, :4]]


class Forgetful(Signal):
    calls = 0

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Any:
        self.calls += 1
        return super().sample(clip_id, rng) + np.float32(self.calls if rng is None else 0)


class GlobalDraw(Signal):
    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Any:
        sample = super().sample(clip_id, None)
        return sample if rng is None else sample + np.float32(np.random.random())  # noqa: NPY002


class InPlace(Signal):
    def flip(self, sample: Any) -> Any:
        sample *= -1
        return sample


class HalfFlip(Signal):
    def flip(self, sample: Any) -> Any:
        return np.roll(sample, 1, axis=1)


class FirstRow(Signal):
    def sample(self, clip_id: str, rng: np.random.Generator | None) -> Any:
        return super().sample(str(self.clip_ids[0]), rng)


class Handle(Signal):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.read = lambda: None


@pytest.mark.parametrize(
    ("fault", "check", "text"),
    [
        (
            OtherShape,
            "input-describes-samples",
            "view 0 of clip 'c3' is ((6, 4), 'float32'), input announces",
        ),
        (Forgetful, "test-sample-never-changes", "differs at the second call"),
        (GlobalDraw, "draws-depend-on-the-generator-alone", "differ for generators of one seed"),
        (InPlace, "flip-is-an-involution", "in place: work on a copy"),
        (HalfFlip, "flip-is-an-involution", "twice does not give it back"),
        (FirstRow, "clips-differ", "is the row looked up by clip id?"),
        (FirstRow, "unknown-clip-is-named", "'no-such-clip' was accepted"),
        (Handle, "can-be-pickled", "local object"),
    ],
)
def test_faults_of_modalities(faults: Register, fault: type[Signal], check: str, text: str) -> None:
    assert text in faults("modalities", MODALITY, Signal=fault)[check]


def test_a_modality_is_checked_on_its_own_example(faults: Register) -> None:
    def example(folder: Path) -> Path:
        return write_fake_features(folder / "own.h5")

    good = replace(MODALITY, example=f"{NAME}:example")
    assert faults("modalities", good, Signal=Signal, example=example) == {}
    wrong = replace(good, store_kind="clips")
    found = faults("modalities", wrong, Signal=Signal, example=example)
    assert (
        "its example is a store of kind 'features', the record names 'clips'"
        in found["store-kind-is-the-one-named"]
    )


# --- fusers

FUSER = FuserSpec(name="f", summary="a fuser", factory=f"{NAME}:fuse")


def mean(logits: Any, present: Any) -> Any:
    probs = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    shares = present / present.sum(axis=0)
    return (shares[..., None] * probs).sum(axis=0)


def absent_too(logits: Any, present: Any) -> Any:
    return mean(logits, np.ones_like(present))


def first_counts_double(logits: Any, present: Any) -> Any:
    return mean(np.concatenate([logits, logits[:1]]), np.concatenate([present, present[:1]]))


def tilted(logits: Any, present: Any) -> Any:
    return mean(logits + 0.1 * np.arange(logits.shape[2]), present)


def whitened(logits: Any, present: Any) -> Any:
    return mean(logits - logits.mean(axis=1, keepdims=True), present)


def scaling(logits: Any, present: Any) -> Any:
    logits *= 0.5
    return mean(logits, present)


@pytest.mark.parametrize(
    ("fuse", "check", "text"),
    [
        (lambda logits, present: 2 * mean(logits, present), "rows-are-probabilities", "a row's sum is off 1"),
        (absent_too, "missing-scores-are-not-read", "absent scores are read"),
        (first_counts_double, "order-of-models-does-not-matter", "the models' order decides"),
        (tilted, "order-of-classes-does-not-matter", "the classes' order decides"),
        (whitened, "a-clip-alone-gets-its-answer", "clip 0 alone"),
        (scaling, "scores-stay-as-they-were", "changed in place"),
    ],
)
def test_faults_of_fusers(faults: Register, fuse: Any, check: str, text: str) -> None:
    assert faults("fusers", FUSER, fuse=mean) == {}
    assert text in faults("fusers", FUSER, fuse=fuse)[check]


# --- adapters

ADAPTER = AdapterSpec(name="a", summary="an adapter", factory=f"{NAME}:adapt")


def sure(scores: Any) -> PseudoLabels:
    rows = np.flatnonzero(scores.probs.max(axis=1) > 0.6)
    return PseudoLabels(
        rows=rows, labels=scores.probs[rows].argmax(axis=1), confidence=scores.probs[rows].max(axis=1)
    )


def peeking(scores: Any) -> PseudoLabels:
    Path("labels.csv").read_text(encoding="utf-8")
    return sure(scores)


def first_half(scores: Any) -> PseudoLabels:
    found = sure(scores)
    keep = found.rows < 30
    return PseudoLabels(rows=found.rows[keep], labels=found.labels[keep], confidence=found.confidence[keep])


def overconfident(scores: Any) -> PseudoLabels:
    found = sure(scores)
    return replace(found, confidence=found.confidence + 1)


@pytest.mark.parametrize(
    ("adapt", "check", "text"),
    [
        (peeking, "target-labels-are-not-read", "opened labels.csv: an adapter sees nothing but the scores"),
        (first_half, "order-of-clips-does-not-matter", "clips get another label in another order"),
        (overconfident, "labels-are-valid", "a confidence lies outside [0, 1]"),
    ],
)
def test_faults_of_adapters(faults: Register, adapt: Any, check: str, text: str) -> None:
    def peek_if_there(scores: Any) -> PseudoLabels:
        return adapt(scores) if adapt is not peeking or Path("labels.csv").exists() else sure(scores)

    assert faults("adapters", ADAPTER, adapt=sure) == {}
    assert text in faults("adapters", ADAPTER, adapt=peek_if_there)[check]


# --- data sets

DATASET = DatasetSpec(name="d", summary="a data set", factory=f"{NAME}:open_it", example=f"{NAME}:example")


def raw(name: str) -> RawClip:
    joints = np.full((4, 1, 17, 3), len(name), np.float32)
    return RawClip(clip_id=name, subject_id="s", video_id=name, start=0, stop=4, joints=joints, label=0)


def read(name: str) -> Any:
    return [raw(name)], []


def opened(source: Path, **changes: Any) -> DatasetImport:
    names = sorted(path.stem for path in Path(source).glob("*.clip"))
    if not names:
        raise DataError(f"{source}: holds no .clip file")
    sources = [ClipSource(name=name, read=partial(read, name)) for name in names]
    facts: dict[str, Any] = {
        "class_names": ("nod",),
        "vocabulary": "d",
        "layout": "coco-17",
        "columns": ("x", "y", "confidence"),
        "image_size": (64, 64),
        "sources": sources,
    }
    return DatasetImport(**{**facts, **changes})


def example(folder: Path) -> Path:
    for name in ("one", "three", "five", "sixteen"):
        (folder / f"{name}.clip").touch()
    return folder


def numbered(source: Path) -> DatasetImport:
    """Ids that depend on what was read before: shards then give a clip other ids."""
    count = iter(range(99))

    def read_next() -> Any:
        return [raw(f"c{next(count)}")], []

    units = [ClipSource(name=unit.name, read=read_next) for unit in opened(source).sources]
    return opened(source, sources=units)


def careless(source: Path) -> DatasetImport:
    return opened(source) if any(Path(source).glob("*.clip")) else opened(source, clips=1 / 0)


@pytest.mark.parametrize(
    ("open_it", "check", "text"),
    [
        (numbered, "units-can-be-pickled", "cannot be sent to another process"),
        (numbered, "shards-merged-equal-one-import", "duplicate|common|c0"),
        (lambda source: opened(source, layout="ntu-25"), "clips-are-valid", "wanted (4, 1, 25, 3)"),
        (lambda source: opened(source, class_names=()), "clips-are-valid", "class_names are ()"),
        (careless, "other-folder-is-refused", "raised ZeroDivisionError"),
    ],
)
def test_faults_of_importers(faults: Register, open_it: Any, check: str, text: str) -> None:
    assert faults("datasets", DATASET, open_it=opened, example=example) == {}
    found = faults("datasets", DATASET, open_it=open_it, example=example)
    assert any(part in found[check] for part in text.split("|"))


def test_an_importer_without_an_example_cannot_be_checked(faults: Register) -> None:
    found = faults("datasets", replace(DATASET, example=""), open_it=opened)
    assert (
        "its record has no example: name a function that writes a tiny raw tree"
        in found["example-can-be-imported"]
    )


# --- pose estimators


def test_faults_of_pose_estimators(faults: Register) -> None:
    class Nobody:
        def estimate(self, frames: Any, fps: float) -> Any:
            return (np.zeros((0, 17, 3), np.float32) for _ in frames)

    class TooFew:
        def estimate(self, frames: Any, fps: float) -> Any:
            return (np.zeros((1, 16, 3), np.float32) for _ in frames)

    spec = PoseEstimatorSpec(name="p", summary="nobody", factory=f"{NAME}:Pose", layout="coco-17")
    assert faults("pose_estimators", spec, Pose=Nobody) == {}
    found = faults("pose_estimators", spec, Pose=TooFew)
    assert "a frame gives float32 (1, 16, 3), wanted float32 (P, 17, 3)" in found["points-follow-the-layout"]


# --- how it is reported


def test_a_plugin_is_not_good_unless_something_ran() -> None:
    assert verdict([]) == "no check ran: the plugin registers nothing that could be checked"


def test_the_command_counts_and_fails_with_the_report(faults: Register) -> None:
    found = faults("trackers", replace(TRACKER, name="My Tracker"), Track=Track)
    assert list(found) == ["name-is-legal"]
    with pytest.raises(PluginError, match=r"does not keep the contract: [12] of 11 checks failed") as caught:
        check_command(distribution=NAME, level="api", console=TerminalConsole(quiet=True))
    assert (caught.value.result.data["ran"], caught.value.result.data["good"]) == (11, False)
    assert "FAILED tracker My Tracker: name-is-legal" in caught.value.result.text


def test_an_api_check_that_could_not_be_made_counts_as_failed(faults: Register) -> None:
    faults("datasets", replace(DATASET, example=""), open_it=opened)
    outcomes = run_checks(checks_of(NAME))
    assert "API check(s) could not be made" in verdict(outcomes)
    assert "its record has no example" in as_text(outcomes)


def test_an_expected_failure_must_name_a_check_and_is_strict(faults: Register) -> None:
    faults("trackers", TRACKER, Track=Track)
    with pytest.raises(ValueError, match="names 'tracker t: speed', which is no check of planted_faults"):
        parametrize_with_checks(NAME, expected_failed_checks={"tracker t: speed": "slow"})
    reasons = {"tracker t: takes-scalars": "writes to a server"}
    mark = parametrize_with_checks(NAME, expected_failed_checks=reasons)
    marked = {param.id: param.marks for param in mark.args[1]}
    (xfail,) = marked["tracker t: takes-scalars"]
    assert (xfail.name, xfail.kwargs) == ("xfail", {"strict": True, "reason": "writes to a server"})
    assert sum(bool(marks) for marks in marked.values()) == 1


def test_fakes_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (read_features(write_fake_features(tmp_path / name)) for name in ("a.h5", "b.h5"))
    assert first.digest == second.digest
    assert pickle.loads(pickle.dumps(first)).signal("inertial", 0).shape == (38, 6)
