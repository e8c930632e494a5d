"""``mg explore``: serve a run folder to the browser of this machine."""

from __future__ import annotations

import contextlib
import webbrowser
from pathlib import Path

from mg_data.contract import Console, StageResult, UsageError
from mg_data.prepare.extras import require

HOST = "127.0.0.1"


def explore(*, console: Console, run: Path, port: int = 8765, browser: bool = True) -> StageResult:
    """Serve until interrupted.

    Raises:
        UsageError: the extra is missing, or the port is taken. DataError, StoreError: nothing to explore.
    """
    require("explore", "werkzeug", "cv2", extra="explore")
    if not 0 <= port <= 65535:
        raise UsageError(f"explore --port is {port}; give 0 (any free one) to 65535")
    from werkzeug.serving import make_server

    from mg_data.explore.app import Explorer
    from mg_data.explore.quiet import QuietHandler

    application = Explorer(run)
    try:
        server = make_server(HOST, port, application, threaded=True, request_handler=QuietHandler)
    except (OSError, SystemExit) as error:
        raise UsageError(f"explore: port {port} is taken; give another --port (0: a free one)") from error
    address = f"http://{HOST}:{server.server_port}/"
    console.say(f"{run} is shown at {address} (Ctrl+C ends)")
    if browser:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()
    corrections = len(application.corrections)
    return StageResult(
        data={"run": str(run), "corrections": corrections},
        text=f"{corrections} correction(s) in {application.corrections.path}" if corrections else "",
    )
