"""The page as text: templates, style, script and data put together under a strict content security policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mg_data.contract import UsageError
from mg_fusion import __version__
from mg_fusion.report.clip_table import clip_table
from mg_fusion.report.embed import Method
from mg_fusion.table import percent


def inline_json(value: Any) -> str:
    """Return JSON that can stand inside a script element: no text of it can end the element.

    >>> inline_json(["</script>"])
    '["\\\\u003c/script\\\\u003e"]'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _asset(name: str) -> str:
    return resources.files("mg_fusion.report").joinpath("assets", name).read_text(encoding="utf-8").strip()


def _allowed(text: str) -> str:
    """Return the source expression that allows this very text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def chance(value: float) -> str:
    """Return a p-value; one too small for a number is not 0.

    >>> chance(0.04521), chance(0.0)
    ('0.0452', '< 1e-300')
    """
    return f"{value:.3g}" if value > 1e-300 else "< 1e-300"


class Pages:
    """Renders the templates of the pages.

    Raises:
        UsageError: jinja2 is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("jinja2") is None:
            raise UsageError("report: jinja2 is not installed; pip install 'mg-fusion[report]'")
        import jinja2

        self._undefined: type[Exception] = jinja2.UndefinedError
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("mg_fusion.report", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["percent"] = percent
        self._environment.filters["chance"] = chance

    def section(self, name: str, part: Mapping[str, Any]) -> str:
        """Return one section.

        Raises:
            ValueError: what it shows is not there.
        """
        try:
            return self._environment.get_template(f"sections/{name}.html.j2").render(part=part)
        except self._undefined as error:
            raise ValueError(str(error)) from error

    def page(self, template: str, contents: Sequence[Any], clips: Mapping[str, Any], **context: Any) -> str:
        """Return a whole page.

        Args:
            contents: sections with ``key`` and ``title``. clips: the table behind lists of clips.
        """
        style, script = _asset("page.css"), _asset("page.js")
        # Nothing is loaded, and of what stands in the page only this style and this script have an effect.
        policy = (
            f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; "
            "base-uri 'none'; form-action 'none'"
        )
        return self._environment.get_template(template).render(
            policy=policy,
            style=style,
            script=script,
            clips=inline_json(clips),
            version=__version__,
            contents=contents,
            **context,
        )


def render(folder: Path, embedding: Method = "auto") -> str:
    """Return the report of a run folder as one HTML page.

    Raises:
        UsageError: no such folder, jinja2 is not installed, or t-SNE is asked for without scikit-learn.
    """
    from mg_fusion.report.run import open_run
    from mg_fusion.report.sections import SECTIONS, Section

    if not folder.is_dir():
        raise UsageError(f"report: {folder} is no folder; give the run folder that mg run wrote")
    if embedding == "tsne" and importlib.util.find_spec("sklearn") is None:
        raise UsageError("report: t-SNE needs scikit-learn; pip install 'mg-fusion[embed]'")
    pages, run = Pages(), open_run(folder, embedding)
    planes: dict[str, Any] = {}

    def build(section: Section) -> str:
        part = section.build(run)
        text = pages.section(section.key, part)
        planes.update({plot["id"]: plot["points"] for plot in part.get("plots", ())})
        return text

    parts = {section.key: run.guard(section.key, functools.partial(build, section)) for section in SECTIONS}
    clips = run.guard("clips", lambda: clip_table(run)) or {"ids": []}
    return pages.page(
        "report.html.j2",
        SECTIONS,
        {**clips, "planes": planes},
        run=run,
        problems=run.problems,
        parts=parts,
    )
