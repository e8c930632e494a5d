"""A request handler that does not print each request."""

from __future__ import annotations

from typing import Any

from werkzeug.serving import WSGIRequestHandler


class QuietHandler(WSGIRequestHandler):
    """Says nothing of requests; errors of the application are still logged."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""

    def version_string(self) -> str:
        """Return no versions of libraries."""
        return "mg-explore"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log errors alone."""
        if type == "error":
            super().log(type, message, *args)
