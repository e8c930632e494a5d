"""The report and the comparison in a real Chromium: what a reader sees and clicks, and what never happens.

Needs playwright (PyPI) and a Chromium of the system: ``apt install chromium``, or MG_CHROMIUM=/path/to/it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fusion_toys
import numpy as np
import pytest
from fusion_toys import Talk, make_run

from mg_fusion.commands.compare import compare
from mg_fusion.commands.report import report
from mg_fusion.report.clip_table import clip_table
from mg_fusion.report.comparison import STATES
from mg_fusion.report.run import Run, open_run
from mg_fusion.report.sections import SECTIONS

pytestmark = [pytest.mark.extended, pytest.mark.slow]

# Names that would do harm if any of them became markup.
HOSTILE = (
    "<script>window.hurt = 1</script>",
    "touch <ear> & nose",
    '"><img src=x onerror="window.hurt=1">',
    "</script><script>window.hurt = 1</script>",
    "fold arms' {{ 7*7 }}",
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTHS = (1200, 390, 360)


def chromium() -> str:
    """Return the Chromium of this machine; skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("MG_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: apt install chromium, or set MG_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion_toys, "CLASSES", HOSTILE)
        yield make_run(tmp_path_factory.mktemp("pages") / "run")


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, Path]:
    """Return the report and the comparison of the two rounds."""
    first, out = folder / "round1" / "target-fused.h5", folder.parent / "compare.html"
    compare(console=Talk(), first=first, second=folder, out=out)
    return {"report": Path(report(console=Talk(), run=folder).data["out"]), "compare": out}


class Visit:
    """A page that was opened, with all it said and asked for."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1200, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()

    def listed(self, section: str) -> list[list[str]]:
        """Return the cells of a section's list of clips."""
        rows = self.page.locator(f"#{section} .clips tr").all()
        return [row.locator("td").all_inner_texts() for row in rows[1:]]


def table(folder: Path) -> tuple[Run, dict[str, np.ndarray], np.ndarray]:
    """Return the run, the columns of its table of clips and the ids, from the stores."""
    run = open_run(folder)
    found = clip_table(run)
    columns = {column["key"]: np.array(column["values"]) for column in found["columns"]}
    return run, columns, np.array(found["ids"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_opens_in_silence_asks_for_nothing_and_fits(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    with Visit(browser, pages[name], width=width, color_scheme=scheme) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        if name == "report":
            for section in SECTIONS:
                part = visit.page.locator(f"section#{section.key}")
                assert part.locator("h2").inner_text() == section.title
                assert part.locator(".absent").count() == 0
        # Everything that opens or moves is opened and moved.
        for item in visit.page.locator("summary").all():
            item.click()
        for kind in ("[data-where]", "nav a"):
            visit.page.locator(kind).first.click()
        visit.page.mouse.move(200, 300)
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        assert (visit.said, visit.asked) == ([], [visit.url])


def test_a_click_on_a_cell_lists_its_clips(browser: Any, pages: dict[str, Path], folder: Path) -> None:
    run, columns, ids = table(folder)
    counts = np.array(run.scores["fused/after"]["confusion"])
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    truth, answer = divmod(int(wrong.argmax()), len(counts))
    rows = np.flatnonzero((columns["truth"] == truth) & (columns["fused/after"] == answer))
    assert len(rows) == counts[truth, answer] > 0
    with Visit(browser, pages["report"]) as visit:
        cell = visit.page.locator(f'#confusion g[data-where="truth:{truth} fused/after:{answer}"]')
        cell.click()
        listed = visit.listed("confusion")
        assert [line[0] for line in listed] == ids[rows].tolist()
        confidence = columns["fused/after:confidence"][rows]
        for line, share in zip(listed, confidence, strict=True):
            # id, truth, subject, answer, its confidence: as the stores have them.
            assert line[1] == HOSTILE[truth]
            assert line[3:5] == [f"✗ {HOSTILE[answer]}", f"{share / 100:.2f}"]
        # By keyboard too.
        right = visit.page.locator('#confusion g[data-where="truth:1 fused/after:1"]')
        right.focus()
        visit.page.keyboard.press("Enter")
        assert len(visit.listed("confusion")) == counts[1, 1]
        assert visit.page.evaluate("window.hurt") is None
        assert visit.said == []


def test_people_classes_and_ids_lead_to_their_clips(
    browser: Any, pages: dict[str, Path], folder: Path
) -> None:
    _, columns, ids = table(folder)
    with Visit(browser, pages["report"]) as visit:
        visit.page.locator("#subjects button.link", has_text="s3").click()
        assert [line[0] for line in visit.listed("subjects")] == ids[columns["group"] == 3].tolist()
        visit.page.locator("#classes button.link", has_text="touch <ear> & nose").click()
        assert [line[0] for line in visit.listed("classes")] == ids[columns["truth"] == 1].tolist()
        visit.page.locator("#confusion input.find").fill("TARGET11")
        assert [line[0] for line in visit.listed("confusion")] == [f"target11{n}" for n in range(10)]


def test_a_script_in_a_class_name_is_text(browser: Any, pages: dict[str, Path]) -> None:
    for path in pages.values():
        with Visit(browser, path) as visit:
            buttons = visit.page.locator("#classes button.link").all_inner_texts()
            assert sorted(buttons) == sorted(HOSTILE)
            assert visit.page.locator("main img, main script").count() == 0
            assert visit.page.evaluate("window.hurt") is None


def test_what_got_into_the_page_all_the_same_would_have_no_effect(
    browser: Any, pages: dict[str, Path]
) -> None:
    with Visit(browser, pages["report"]) as visit:
        visit.page.evaluate(
            """() => {
              document.body.insertAdjacentHTML("beforeend", '<img src="x" onerror="window.hurt=1">');
              const script = document.createElement("script");
              script.textContent = "window.hurt=1";
              document.body.append(script);
              return fetch("http://127.0.0.1:9/").catch(() => null);
            }"""
        )
        visit.page.wait_for_timeout(200)
        assert visit.page.evaluate("window.hurt") is None
        assert all("127.0.0.1" not in url for url in visit.asked)
        assert any("Content Security Policy" in text for text in visit.said)


def test_light_and_dark_follow_the_system_and_the_button(browser: Any, pages: dict[str, Path]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        with Visit(browser, pages["report"], color_scheme=scheme) as visit:
            seen[scheme] = visit.page.evaluate(ground)
            visit.page.locator("#theme").click()
            seen[f"{scheme}, changed"] = visit.page.evaluate(ground)
            visit.page.emulate_media(media="print")
            seen[f"{scheme}, printed"] = visit.page.evaluate(ground)
            # Paper shows what is folded away on the screen; every section is on it.
            assert len(visit.page.pdf()) > 50_000
    assert seen["light"] == seen["dark, changed"] == seen["light, printed"] == seen["dark, printed"]
    assert seen["dark"] == seen["light, changed"] != seen["light"]


def test_the_matrix_grows_and_changes_to_the_one_before(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["report"]) as visit:
        matrix = visit.page.locator("#confusion svg.matrix:visible")
        width = matrix.bounding_box()["width"]
        visit.page.locator("#confusion input.zoom").fill("2")
        assert matrix.bounding_box()["width"] == pytest.approx(2 * width)
        visit.page.locator("#confusion select.switch").select_option("before")
        assert matrix.count() == 1
        assert matrix.get_attribute("aria-label") == "Confusion, fused/before"


def test_a_class_can_be_brought_out_of_the_plane(browser: Any, pages: dict[str, Path], folder: Path) -> None:
    _, columns, ids = table(folder)
    with Visit(browser, pages["report"]) as visit:
        visit.page.locator("select.bring").select_option("2")
        assert visit.page.locator(".plane .points.front").count() == 1
        assert visit.page.locator(".plane .points.away").count() == 4
        # The pointer names the clip it is at, which is of this class.
        point = visit.page.evaluate(
            """() => {
              const [, x, y] = /^M([0-9]+) ([0-9]+)/.exec(
                document.querySelector(".plane .points.front path").getAttribute("d"));
              const chart = document.querySelector(".plane svg");
              chart.scrollIntoView({ block: "center", behavior: "instant" });
              const box = chart.getBoundingClientRect();
              const scale = box.width / chart.viewBox.baseVal.width;
              return [box.left + x * scale, box.top + y * scale];
            }"""
        )
        visit.page.mouse.move(*point)
        named = visit.page.locator(".nearest").inner_text()
        assert columns["truth"][ids.tolist().index(named)] == 2


def test_pointing_at_a_bar_shows_its_figure(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["report"]) as visit:
        visit.page.locator("#reliability svg rect").first.hover()
        assert "confidence" in visit.page.locator("#tip").inner_text()


def test_changes_of_a_comparison_lead_to_their_clips(
    browser: Any, pages: dict[str, Path], folder: Path
) -> None:
    _, columns, ids = table(folder)
    before, after = (columns[f"fused/{phase}"] == columns["truth"] for phase in ("before", "after"))
    assert (after & ~before).any()
    wanted = {"fixed": after & ~before, "broken": before & ~after, "both right": before & after}
    with Visit(browser, pages["compare"]) as visit:
        for state, rows in wanted.items():
            button = visit.page.locator(f'#changes [data-where="state:{STATES.index(state)}"]')
            assert button.inner_text() == str(rows.sum())
            button.click()
            assert [line[0] for line in visit.listed("changes")] == ids[rows].tolist()


def test_without_its_script_the_page_is_still_whole(browser: Any, pages: dict[str, Path]) -> None:
    with Visit(browser, pages["report"], java_script_enabled=False) as visit:
        for section in SECTIONS:
            assert visit.page.locator(f"section#{section.key}").is_visible()
        assert visit.page.locator("#theme").is_hidden()
        assert visit.page.locator("#confusion svg.matrix").first.is_visible()
