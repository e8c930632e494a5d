"""``mg explore``: the page is told what the stores say, and nothing else of the machine can be asked for."""

from __future__ import annotations

import csv
import io
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, StoreError, UsageError
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.prepare.synth import synth
from mg_data.store import open_clips, write_logits, write_probs

cv2 = pytest.importorskip("cv2")
pytest.importorskip("av")
pytest.importorskip("werkzeug")
from werkzeug.test import Client  # noqa: E402

from mg_data.explore.app import Explorer  # noqa: E402
from mg_data.explore.command import explore  # noqa: E402

QUIET = TerminalConsole(quiet=True)
BASE = "http://127.0.0.1:8765"
HEADER = {"X-Mg-Explore": "1"}


def _softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: a synthetic corpus and drawn scores of two branches and their vote in two rounds."""
    root = tmp_path_factory.mktemp("explore")
    corpus, data = root / "corpus", root / "run" / "data"
    data.mkdir(parents=True)
    synth(out=corpus, clips=12, subjects=2, videos_per_subject=1, size="96x128", seed=3, console=QUIET)
    import_data(
        name="synthetic", source=corpus, out=data / "clips.h5", labels=data / "labels.csv", console=QUIET
    )
    crop(
        clips=data / "clips.h5",
        root=corpus,
        out=data / "crops-person.h5",
        size=32,
        max_frames=4,
        console=QUIET,
    )
    clips = open_clips(data / "clips.h5")
    rng = np.random.default_rng(5)
    facts = {"clip_ids": clips.clip_ids, "class_names": clips.class_names}
    for number in (1, 2):
        place = root / "run" / f"round{number}"
        place.mkdir()
        logits = [3 * rng.standard_normal((len(clips), len(clips.class_names))) for _ in "ab"]
        for name, values in zip(("joint", "rgb"), logits, strict=True):
            present = np.ones(len(clips), bool)
            present[0] = name == "joint"
            write_logits(
                place / f"target-{name}.h5", values=values, model=name, modality="m", present=present, **facts
            )
        fused = _softmax(np.mean(logits, axis=0))
        write_probs(place / "target-fused.h5", values=fused / fused.sum(axis=1, keepdims=True), **facts)
    return root / "run"


@pytest.fixture
def client(made: Path) -> Client:
    """A client of an explorer whose corrections are empty."""
    (made / "corrections.csv").unlink(missing_ok=True)
    return Client(Explorer(made))


def _get(client: Client, path: str, code: int = 200, **asked: object) -> Any:
    answer = client.get(path, query_string={key: str(value) for key, value in asked.items()}, base_url=BASE)
    assert answer.status_code == code, answer.text
    return answer.json


def test_the_run_is_described(client: Client, made: Path) -> None:
    told = _get(client, "/api/run")
    assert told["columns"] == [
        *("joint, before", "rgb, before", "fused, before"),
        *("joint, after", "rgb, after", "fused, after"),
    ]
    assert told["columns"][told["decisive"]] == "fused, after"
    assert told["classes"] == list(open_clips(made / "data" / "clips.h5").class_names)
    assert (told["branches"], told["subsets"], told["has_truth"]) == (2, ["target"], True)


def test_filters_choose_what_they_say(client: Client) -> None:
    everything = _get(client, "/api/clips")
    clips = everything["clips"]
    assert everything["total"] == 12
    assert everything["right"] == sum(clip["right"] for clip in clips)
    wanted: dict[str, Any] = {
        "right=no": lambda clip: not clip["right"],
        f"subject={clips[0]['subject']}": lambda clip: clip["subject"] == clips[0]["subject"],
        f"truth={clips[3]['truth']}": lambda clip: clip["truth"] == clips[3]["truth"],
        f"prediction={clips[3]['prediction']}": lambda clip: clip["prediction"] == clips[3]["prediction"],
        "least=0.5": lambda clip: clip["confidence"] >= 0.5,
        "most=0.5": lambda clip: clip["confidence"] <= 0.5,
        "disagree=1": lambda clip: clip["disagreement"] >= 1,
        f"id={clips[5]['id'].upper()}": lambda clip: clips[5]["id"] in clip["id"],
        "subset=val": lambda clip: False,
    }
    for asked, holds in wanted.items():
        name, _, value = asked.partition("=")
        found = _get(client, "/api/clips", **{name: value})
        assert [clip["id"] for clip in found["clips"]] == [c["id"] for c in clips if holds(c)], asked
    sorted_ids = [clip["id"] for clip in sorted(clips, key=lambda clip: -clip["confidence"])]
    assert [clip["id"] for clip in _get(client, "/api/clips", sort="-confidence")["clips"]] == sorted_ids


def test_a_clip_shows_every_column(client: Client, made: Path) -> None:
    from mg_data.store import read_logits

    store = read_logits(made / "round1" / "target-joint.h5")
    told = _get(client, "/api/clip", id=store.clip_ids[0])
    assert told["probabilities"][0] == pytest.approx(_softmax(store.values[:1])[0], abs=1e-4)
    assert told["probabilities"][1] is None, "rgb had no answer for the first clip"
    assert told["streams"] == ["person"]
    assert told["stop"] > told["start"]


@pytest.mark.parametrize("stream", ["", "person"])
def test_frames_are_drawn(client: Client, stream: str) -> None:
    clip_id = _get(client, "/api/clips")["clips"][0]["id"]
    shown = []
    for overlay in ({}, {"skeleton": 0}, {"box": 0}, {"heatmap": 1}):
        asked = {"id": clip_id, "frame": 3, "size": 96, "stream": stream, **overlay}
        answer = client.get("/api/frame", query_string=asked, base_url=BASE)
        assert answer.mimetype == "image/jpeg"
        shown.append(cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR))
    assert shown[0].shape == (72, 96, 3)
    assert shown[3].shape == (72, 168, 3), "the heatmap stands beside the frame"
    assert all((shown[0] != other).any() for other in shown[1:3])


def test_crops_lie_where_they_were_cut(client: Client) -> None:
    clip_id = _get(client, "/api/clips")["clips"][0]["id"]
    bare = {"id": clip_id, "frame": 0, "size": 128, "skeleton": 0}
    pictures = [
        cv2.imdecode(
            np.frombuffer(client.get("/api/frame", query_string=asked, base_url=BASE).data, np.uint8), 1
        )
        for asked in ({**bare, "box": 0, "stream": "person"}, {**bare, "box": 1})
    ]
    # The crop's pixels fill the box that is drawn on the empty canvas, and nothing else.
    outline = np.argwhere(pictures[1][..., 1].astype(int) - pictures[1][..., 2] > 60)
    filled = np.argwhere(np.abs(pictures[0].astype(int) - 40).max(axis=-1) > 25)
    assert np.abs(outline.min(axis=0) - filled.min(axis=0)).max() <= 3
    assert np.abs(outline.max(axis=0) - filled.max(axis=0)).max() <= 3


def test_corrections_are_kept(client: Client, made: Path) -> None:
    told = _get(client, "/api/run")
    clip_id, name = _get(client, "/api/clips")["clips"][1]["id"], told["classes"][2]
    said = {"id": clip_id, "class_name": name, "flag": True, "note": "left,\n  hand"}
    assert client.post("/api/correction", json=said, headers=HEADER, base_url=BASE).status_code == 200
    text = client.get("/api/corrections.csv", base_url=BASE).text
    assert text == (made / "corrections.csv").read_text(encoding="utf-8")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {
        "clip_id": clip_id, "label": "2", "class_name": name, "flag": "1", "note": "left, hand"
    }  # fmt: skip
    again = Client(Explorer(made))
    assert [clip["id"] for clip in _get(again, "/api/clips", marked="yes")["clips"]] == [clip_id]
    back = {"id": clip_id, "class_name": "", "flag": False, "note": ""}
    client.post("/api/correction", json=back, headers=HEADER, base_url=BASE)
    assert Client(Explorer(made)).get("/api/corrections.csv", base_url=BASE).text.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ({"id": "nobody", "flag": True}, 400, "the id of a clip"),
        ({"class_name": "no such class"}, 400, "is none of the"),
        ({"flag": "yes"}, 400, "a flag true or false"),
        ({"note": "x" * 2001}, 400, "is too long"),
        ([1], 400, "JSON object"),
    ],
)
def test_bad_corrections_are_refused(client: Client, made: Path, said: Any, code: int, reason: str) -> None:
    if isinstance(said, dict):
        said = {"id": _get(client, "/api/clips")["clips"][0]["id"], **said}
    answer = client.post("/api/correction", json=said, headers=HEADER, base_url=BASE)
    assert answer.status_code == code
    assert reason in answer.json["error"]
    assert not (made / "corrections.csv").exists()


def test_other_sites_are_refused(client: Client) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example:8765", "evil.example:8765"):
        answer = client.get("/api/run", base_url=f"http://{host}")
        assert answer.status_code == 403, host
    clip_id = _get(client, "/api/clips")["clips"][0]["id"]
    forged = client.post("/api/correction", json={"id": clip_id, "flag": True}, base_url=BASE)
    assert forged.status_code == 403
    policy = client.get("/", base_url=BASE).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_nothing_beside_the_run_can_be_asked_for(client: Client) -> None:
    clip_id = _get(client, "/api/clips")["clips"][0]["id"]
    for path in ("/../corrections.csv", "/data/labels.csv", "/static/../app.py", "/api/../app.py"):
        assert client.get(path, base_url=BASE).status_code == 404, path
    _get(client, "/api/frame", 404, id=clip_id, stream="../../etc/passwd")
    _get(client, "/api/frame", 404, id="../x")
    _get(client, "/api/frame", 404, id=clip_id, frame=10_000)
    _get(client, "/api/frame", 400, id=clip_id, size=100_000)
    _get(client, "/api/frame", 400, id=clip_id, frame="one")
    _get(client, "/api/clips", 400, truth="no such class")
    _get(client, "/api/clips", 400, least="nan")
    _get(client, "/api/clips", 400, sort="password")


def test_what_cannot_be_explored_is_said(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        Explorer(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no logits or probs store"):
        Explorer(tmp_path)
    write_logits(
        tmp_path / "a.h5", clip_ids=["c"], values=[[0, 1]], class_names="xy", model="m", modality="m"
    )
    with pytest.raises(DataError, match="clips store is needed"):
        Explorer(tmp_path)
    write_logits(
        tmp_path / "b.h5", clip_ids=["c"], values=[[0, 1]], class_names="xz", model="m", modality="m"
    )
    with pytest.raises(StoreError, match=r"has other classes than a\.h5"):
        Explorer(tmp_path)


def test_a_taken_port_is_said(made: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken; give another --port"):
            explore(console=QUIET, run=made, port=port, browser=False)
    with pytest.raises(UsageError, match="give 0"):
        explore(console=QUIET, run=made, port=70000, browser=False)


def test_strange_corrections_are_not_overwritten(made: Path) -> None:
    path = made / "corrections.csv"
    for text, reason in (
        ("id,label\n", "wanted the header"),
        ("clip_id,label,class_name,flag,note\na,,,2,\n", "line 2"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=reason):
            Explorer(made)
        assert path.read_text(encoding="utf-8") == text
    path.unlink()
