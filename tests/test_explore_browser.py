"""``mg explore`` in a real browser: depth video plays with its skeleton, filters work, texts stay texts."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.store import open_clips, write_logits, write_probs

pytestmark = [pytest.mark.slow, pytest.mark.extended]
playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("werkzeug")

CLIPS = ("a1_s1_t1", "a1_s2_t1", "a22_s8_t1", "a27_s3_t2")
QUIET = TerminalConsole(quiet=True)
SCRIPT = "<script>document.title='broken'</script><img src=x onerror=alert(1)>"
# Chromium without what it would ask of the network on its own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: four recordings of UTD-MHAD, cropped depth, drawn scores; one class is a script."""
    root = tmp_path_factory.mktemp("explore")
    tree, data = root / "tree", root / "run" / "data"
    data.mkdir(parents=True)
    for part, ending in (("Depth", "depth"), ("Skeleton", "skeleton")):
        (tree / part).mkdir(parents=True)
        for clip in CLIPS:
            source = shared_data / "utd_mhad" / part / f"{clip}_{ending}.mat"
            (tree / part / source.name).symlink_to(source)
    import_data(
        name="utd-mhad", source=tree, out=data / "clips.h5", labels=data / "labels.csv", console=QUIET
    )
    crop(
        clips=data / "clips.h5",
        root=tree,
        out=data / "crops-depth.h5",
        stream="depth",
        size=96,
        console=QUIET,
    )
    clips = open_clips(data / "clips.h5")
    names = (SCRIPT, *clips.class_names[1:])
    rng = np.random.default_rng(0)
    for number in (1, 2):
        place = root / "run" / f"round{number}"
        place.mkdir()
        values = rng.standard_normal((2, len(clips), len(names)))
        values[:, :, 0] += 3  # the class that is a script is always the answer
        facts: dict[str, Any] = {"clip_ids": clips.clip_ids, "class_names": names}
        for branch, logits in zip(("joint", "depth"), values, strict=True):
            write_logits(place / f"target-{branch}.h5", values=logits, model="m", modality="m", **facts)
        raised = np.exp(values.mean(axis=0))
        write_probs(place / "target-fused.h5", values=raised / raised.sum(axis=1, keepdims=True), **facts)
    return root / "run"


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    from werkzeug.serving import make_server

    from mg_data.explore.app import Explorer
    from mg_data.explore.quiet import QuietHandler

    server = make_server("127.0.0.1", 0, Explorer(run), threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("MG_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium here (Debian's package chromium, or MG_CHROMIUM)")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened; at the end it has said nothing on the console and asked no other machine."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append("dialog") or dialog.dismiss())
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("#probabilities tbody tr")
    yield opened
    assert said == []
    assert [url for url in asked if not url.startswith((address, "blob:"))] == []
    context.close()


def _pixels(page: Any) -> np.ndarray[Any, Any]:
    """Return the shown frame, (H, W, 4) uint8, once it is loaded."""
    values = page.evaluate(
        """async () => {
            const image = document.getElementById("frame");
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.height, canvas.width, Array.from(pixels)];
        }"""
    )
    return np.array(values[2], np.uint8).reshape(values[0], values[1], 4)


def test_a_script_in_a_class_name_is_text(page: Any) -> None:
    assert page.title() != "broken"
    assert page.locator("#rows td").filter(has_text=SCRIPT).count() > 0
    assert page.locator("main img, main script").count() == 1  # the frame, and nothing of the class name
    assert SCRIPT in page.locator("#probabilities tbody").inner_text()


def test_depth_video_plays_with_its_skeleton(page: Any) -> None:
    with_skeleton = _pixels(page)
    assert page.locator("#stream").input_value() == "depth"
    with page.expect_response("**/api/frame*"):
        page.uncheck("#skeleton")
    without = _pixels(page)
    assert with_skeleton.shape == without.shape
    changed = np.abs(with_skeleton.astype(int) - without).max(axis=-1) > 60
    assert 0.002 < changed.mean() < 0.2, "the skeleton is lines, not the whole picture"
    page.click("#play")
    playwright.expect(page.locator("#number")).to_have_text(re.compile(r"^[5-9] /"))
    page.click("#play")
    moved = _pixels(page)
    assert (np.abs(moved.astype(int) - without).max(axis=-1) > 30).any(), "the person moves"


def test_filters_and_keys_lead_to_clips(page: Any) -> None:
    ids = page.locator("#rows tr td:first-child").all_inner_texts()
    assert ids == sorted(CLIPS)
    with page.expect_response("**/api/clips*"):
        page.select_option("[name=subject]", "s8")
    playwright.expect(page.locator("#rows tr")).to_have_count(1)
    assert page.locator("#rows tr td:first-child").inner_text() == "a22_s8_t1"
    page.click("#rows tr")
    playwright.expect(page.locator("#clip")).to_have_text("a22_s8_t1")
    with page.expect_response("**/api/clips*"):
        page.click("button[type=reset]")
    playwright.expect(page.locator("#rows tr")).to_have_count(4)
    page.locator("body").press("k")
    playwright.expect(page.locator("#clip")).to_have_text("a1_s2_t1")


def test_a_correction_is_written(page: Any, run: Path) -> None:
    page.check("#correction [name=flag]")
    page.fill("#correction [name=note]", '=1+1,"x"')
    page.click("#correction button")
    playwright.expect(page.locator("#saved")).to_have_text("saved")
    lines = (run / "corrections.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1] == 'a1_s1_t1,,,1,"=1+1,""x"""'


def test_a_phone_shows_it_without_scrolling_sideways(browser: Any, address: str) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
        opened = context.new_page()
        opened.goto(address)
        opened.wait_for_selector("#probabilities tbody tr")
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390
        context.close()
