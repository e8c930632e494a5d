"""The web application: a page, its data as JSON, frames as JPEG. Only for the machine it runs on.

No path comes from the browser: clips, streams and classes are looked up by name among those of the run. The
page sets every text of the data as text, and its policy allows no script but its own file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from mg_data.contract import MgError
from mg_data.explore.answers import Answers, read_answers
from mg_data.explore.corrections import Corrections, as_json
from mg_data.explore.listing import Listing
from mg_data.explore.pictures import Overlay, Pictures

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_LARGEST_BODY = 64 * 1024
_SIZES = (64, 1200)
# Sent by the page's own script alone: a form or a link of another site cannot.
_HEADER = "X-Mg-Explore"
_ASSETS = {
    "index.html": "text/html; charset=utf-8",
    "explore.js": "text/javascript; charset=utf-8",
    "explore.css": "text/css; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ROUTES = Map(
    [
        Rule("/", endpoint="index"),
        Rule("/explore.js", endpoint="script"),
        Rule("/explore.css", endpoint="style"),
        Rule("/favicon.ico", endpoint="icon"),
        Rule("/api/run", endpoint="run"),
        Rule("/api/clips", endpoint="clips"),
        Rule("/api/clip", endpoint="clip"),
        Rule("/api/frame", endpoint="frame"),
        Rule("/api/correction", endpoint="correct", methods=["POST"]),
        Rule("/api/corrections.csv", endpoint="corrections"),
    ]
)


class Explorer:
    """A WSGI application over one run folder.

    Args:
        folder: what ``mg run -o`` wrote: ``data/clips.h5``, crop stores, ``data/labels.csv`` and the score
            stores of its rounds.

    Raises:
        DataError, StoreError: there is nothing to explore, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.answers: Answers = read_answers(folder)
        self.pictures = Pictures(folder)
        self.corrections = Corrections(folder, self.answers.class_names)
        self._place = {str(clip_id): place for place, clip_id in enumerate(self.answers.clip_ids)}
        self._subjects = [self.pictures.subject(clip_id) for clip_id in self._place]
        self._listing = Listing(self.answers, self._subjects, self.corrections)
        self._views: Mapping[str, Callable[[Request], Response]] = {
            "index": lambda request: _asset("index.html"),
            "script": lambda request: _asset("explore.js"),
            "style": lambda request: _asset("explore.css"),
            "icon": lambda request: Response(status=204),
            "run": self._run,
            "clips": lambda request: _as_json(self._listing.page(request.args.to_dict())),
            "clip": self._clip,
            "frame": self._frame,
            "correct": self._correct,
            "corrections": self._corrections,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        request = Request(environ)
        request.max_content_length = _LARGEST_BODY
        response = self._answer(request)
        response.headers.extend(_HEADERS)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            # Another name that leads here is another site's (DNS rebinding).
            host = request.environ.get("HTTP_HOST", "").rpartition(":")
            if (host[0] if host[1] and host[2].isdecimal() else host[2]) not in _HOSTS:
                raise Forbidden("this server answers its own machine alone")
            endpoint, _ = _ROUTES.bind_to_environ(request.environ).match()
            return self._views[endpoint](request)
        except HTTPException as error:
            return _as_json({"error": error.description or error.name}, error.code or 500)
        except MgError as error:
            return _as_json({"error": str(error)}, 400)

    def _run(self, request: Request) -> Response:
        answers = self.answers
        return _as_json(
            {
                "name": answers.name,
                "dataset": self.pictures.clips.dataset,
                "classes": answers.class_names,
                "subjects": sorted(set(self._subjects)),
                "subsets": sorted({str(name) for name in answers.subsets} - {""}),
                "columns": [_column_name(item.branch, item.round) for item in answers.columns],
                "decisive": answers.decisive,
                "branches": len({item.branch for item in answers.columns if not item.is_vote}),
                "has_truth": bool((answers.truth >= 0).any()),
                "can_draw": self.pictures.can_draw,
                "layout": self.pictures.clips.layout,
                "corrections": len(self.corrections),
            }
        )

    def _clip(self, request: Request) -> Response:
        clip_id = self._known(request)
        place = self._place[clip_id]
        facts = self.pictures.facts(clip_id) if clip_id in self.pictures else {}
        return _as_json(
            {
                **self._listing.row(place),
                **facts,
                "correction": as_json(self.corrections.of(clip_id)),
                "probabilities": [
                    None
                    if np.isnan(item.probs[place, 0])
                    else [round(float(value), 4) for value in item.probs[place]]
                    for item in self.answers.columns
                ],
            }
        )

    def _frame(self, request: Request) -> Response:
        clip_id, asked = self._known(request), request.args
        try:
            number, size = int(asked.get("frame", "0")), int(asked.get("size", "480"))
        except ValueError:
            raise BadRequest("frame and size are whole numbers") from None
        if not _SIZES[0] <= size <= _SIZES[1]:
            raise BadRequest(f"size is {size}, wanted {_SIZES[0]} to {_SIZES[1]}")
        overlay = Overlay(
            stream=asked.get("stream", ""),
            skeleton=asked.get("skeleton", "1") == "1",
            box=asked.get("box", "1") == "1",
            heatmap=asked.get("heatmap", "0") == "1",
            size=size,
        )
        try:
            return Response(self.pictures.jpeg(clip_id, number, overlay), mimetype="image/jpeg")
        except (KeyError, IndexError) as error:
            raise NotFound(f"no such frame: {error}") from None

    def _correct(self, request: Request) -> Response:
        if request.headers.get(_HEADER) != "1":
            raise Forbidden(f"corrections are made by the page itself (header {_HEADER})")
        given: Any = request.get_json(silent=True)
        if not isinstance(given, dict) or given.get("id") not in self._place:
            raise BadRequest("wanted a JSON object with the id of a clip of this run")
        said = self.corrections.put(str(given["id"]), given)
        return _as_json({"correction": as_json(said), "corrections": len(self.corrections)})

    def _corrections(self, request: Request) -> Response:
        named = {"Content-Disposition": 'attachment; filename="corrections.csv"'}
        return Response(self.corrections.text(), mimetype="text/csv", headers=named)

    def _known(self, request: Request) -> str:
        clip_id = request.args.get("id", "")
        if clip_id not in self._place:
            raise NotFound("this run has no such clip")
        return clip_id


def _column_name(branch: str, number: int) -> str:
    return {0: branch, 1: f"{branch}, before"}.get(number, f"{branch}, after")


def _asset(name: str) -> Response:
    text = (files("mg_data.explore") / "static" / name).read_bytes()
    return Response(text, content_type=_ASSETS[name])


def _as_json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, allow_nan=False), status=status, mimetype="application/json")
