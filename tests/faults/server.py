"""A process that forks a child for each ``mg`` command, and then imports what that child had to import.

From the second time on a kill costs the command's own time, not the seconds in which torch is imported. The
child is a process like any other: its memory, files and locks are its own, and SIGKILL leaves of it what it
leaves of any. What differs from ``mg`` in a shell: modules are loaded already, and exit handlers do not run.

A request is a line of JSON, an answer another; started with LD_PRELOAD of shim.c it arms the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

MODES = {"count": 1, "kill": 2, "calls": 3, "bytes": 4, "reads": 5}


def _shim() -> Any:
    """Return the preloaded shim, or None."""
    library = ctypes.CDLL(None)
    try:
        library.fault_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_char_p]
        library.fault_clock.argtypes = [ctypes.c_double]
    except AttributeError:
        return None
    return library


def _child(request: dict[str, Any], shim: Any) -> int:
    for number, name in ((1, "stdout"), (2, "stderr")):
        path = request.get(name) or f"{request['talk']}.{name}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.update(request.get("environment", {}))
    from mg_data.cli.main import run

    if request.get("no_locks"):
        shim.fault_no_locks()
    if request.get("clock"):
        shim.fault_clock(request["clock"])
    if request.get("mode"):
        folder = request["folder"].encode()
        shim.fault_arm(MODES[request["mode"]], request.get("at", 0), request.get("error", 0), folder)
    known = set(sys.modules)
    code = run(request["words"])
    with contextlib.suppress(OSError):
        Path(f"{request['talk']}.modules").write_text("\n".join(sorted(set(sys.modules) - known)))
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return code


def _start(request: dict[str, Any], shim: Any) -> int:
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        code = _child(request, shim)
    except BaseException:
        import traceback

        with contextlib.suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _import_alike(talk: str) -> None:
    """Import what a child had to import, so that the next one need not."""
    path = Path(f"{talk}.modules")
    if path.exists():
        for name in path.read_text().splitlines():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        path.unlink()


def _wait(process: int, began: float, kill_after: float | None, limit: float) -> dict[str, Any]:
    deadline = began + (limit if kill_after is None else kill_after)
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        now = time.monotonic()
        if found:
            return {"code": os.waitstatus_to_exitcode(status), "seconds": now - began}
        if now >= deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            if kill_after is None:
                return {"code": None, "seconds": now - began}
            return {"code": -signal.SIGKILL, "seconds": now - began}
        time.sleep(0.001)


def main() -> None:
    """Answer requests until the input ends."""
    shim = _shim()
    from mg_data.plugins import registry

    registry()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers on the pipe
    running: dict[int, tuple[float, str]] = {}
    print(json.dumps({"shim": shim is not None}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            process = _start(request, shim)
            running[process] = time.monotonic(), request["talk"]
            answer: dict[str, Any] = {"process": process}
        else:
            process = request["process"]
            began, talk = running.pop(process)
            answer = _wait(process, began, request.get("kill_after"), request.get("limit", 120.0))
            _import_alike(talk)
            if shim is not None:
                answer |= {"calls": shim.fault_calls(), "bytes": shim.fault_bytes()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
