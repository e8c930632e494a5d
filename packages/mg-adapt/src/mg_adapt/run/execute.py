"""Run steps: those whose key did not change are skipped, independent ones run side by side.

A step's record is written after its outputs, so a run that was killed anywhere starts again at the first
step without a record; training itself resumes from its own state.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from mg_adapt.files import file_digest, file_stamp, is_unchanged
from mg_adapt.run.keys import paths, step_key
from mg_adapt.run.needs import dependencies
from mg_adapt.run.plan import Step
from mg_data.cli.build import run_params
from mg_data.cli.console import TerminalConsole
from mg_data.contract import Console, MgError, StoreError, UsageError
from mg_data.plugins import registry, resolve
from mg_data.store import publish_json


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context((folder / ".lock").open("w"))
        except OSError as error:
            reason = f"cannot be written: {error.strerror or error}"
            raise StoreError(folder, reason, "nothing was changed") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another 'mg run' is at work in this folder") from None
        except OSError:
            # A file system without locks: the user is trusted to start one run at a time.
            pass
        yield


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def start_worker(parent: int) -> None:
    """Let a worker end with its parent, even if that was killed."""
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def call_stage(stage: str, params: dict[str, Any], prefix: str, quiet: bool) -> dict[str, Any]:
    """Run one stage in a worker and return its result and how long it took."""
    began = time.monotonic()
    console = TerminalConsole(quiet=quiet, prefix=prefix, live=False)
    result = resolve(registry().get("stages", stage).factory)(console=console, **params)
    return {
        "data": dict(result.data) if result else {},
        "text": result.text if result else "",
        "seconds": round(time.monotonic() - began, 3),
    }


class Runner:
    """Runs the steps of one run folder."""

    def __init__(self, folder: Path, console: Console, jobs: int, force: bool = False) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs is {jobs}, wanted at least 1")
        self.folder = folder
        self.console = console
        self.jobs = jobs
        self.force = force
        self.known = registry()
        self.results: dict[str, dict[str, Any]] = {}
        self.skipped = 0
        self._prepared: dict[str, tuple[Any, dict[str, Any]]] = {}

    def record_path(self, step: Step) -> Path:
        """Return where a step's record stands."""
        return self.folder / "steps" / f"{step.name.replace('/', '.')}.json"

    def _prepare(self, step: Step) -> tuple[Any, dict[str, Any]]:
        if step.name not in self._prepared:
            spec = self.known.get("stages", step.stage)
            self._prepared[step.name] = (spec, run_params(spec, dict(step.params)))
        return self._prepared[step.name]

    def _outputs(self, step: Step) -> list[Path]:
        return [path for _, path in paths(*self._prepare(step), "output")]

    def finished(self, step: Step, key: str) -> dict[str, Any] | None:
        """Return the record of a step that needs no work: same key, and its outputs as they were.

        Outputs are looked for where the step would write them now: a run folder may be a moved or copied one.
        """
        try:
            record: dict[str, Any] = json.loads(self.record_path(step).read_text(encoding="utf-8"))
            if record["key"] != key:
                return None
            outputs, digests = self._outputs(step), list(record["outputs"].values())
            stamps = record.get("stamps") or [None] * len(digests)
            for path, digest, stamp in zip(outputs, digests, stamps, strict=True):
                if not is_unchanged(path, digest, stamp):
                    return None
            now = [file_stamp(path) for path in outputs]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MgError):
            return None
        if now != stamps:  # a store that was read whole need not be read again next time
            record |= {"outputs": dict(zip(map(str, outputs), digests)), "stamps": now}
            publish_json(self.record_path(step), record)
        return record

    def look(self, steps: Sequence[Step]) -> None:
        """Add the records of what an earlier call has finished, as all that it reads is; nothing is run.

        Args:
            steps: the whole plan, each step behind those that it reads.
        """
        needs = dependencies(steps, self.known)
        for step in steps:
            if step.name in self.results or not needs[step.name] <= self.results.keys():
                continue
            try:
                key = step_key(step, *self._prepare(step), self.known)
            except StoreError:  # an input is missing
                continue
            record = self.finished(step, key)
            if record is not None:
                self.results[step.name] = record

    def run(self, steps: Sequence[Step]) -> None:
        """Run all steps; ``results`` maps each step's name to its record.

        Raises:
            MgError: what the first failing step raised; steps at work are finished first.
            KeyboardInterrupt: likewise; a second one ends the steps at work.
        """
        needs = dependencies(steps, self.known)
        waiting = list(steps)
        running: dict[Future[dict[str, Any]], tuple[Step, str]] = {}
        failure: BaseException | None = None
        with ProcessPoolExecutor(
            self.jobs, mp_context=get_context("spawn"), initializer=start_worker, initargs=(os.getpid(),)
        ) as pool:
            while running or (waiting and failure is None):
                if failure is None:
                    try:
                        self._start_ready(pool, needs, waiting, running)
                    except MgError as error:  # what is at work is finished and recorded all the same
                        failure = error
                if not running:
                    continue
                try:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as error:
                    # Ctrl-C in a terminal reaches the workers too; one sent to this process alone does not.
                    if isinstance(failure, KeyboardInterrupt):
                        for worker in active_children():
                            worker.terminate()
                        raise
                    failure = error
                    self.console.warn(
                        "interrupted: steps at work are finished first; a second time ends them"
                    )
                    continue
                for future in done:
                    step, key = running.pop(future)
                    try:
                        self._finish(step, key, future.result())
                    except BrokenProcessPool:
                        failure = failure or MgError(
                            f"step '{step.name}': its process died (out of memory?); run again to resume"
                        )
                    except KeyboardInterrupt as error:
                        failure = failure or error
                    except BaseException as error:
                        self.console.warn(f"step '{step.name}' failed: {error}")
                        failure = failure or error
        if failure is not None:
            raise failure

    def _start_ready(
        self,
        pool: ProcessPoolExecutor,
        needs: dict[str, set[str]],
        waiting: list[Step],
        running: dict[Future[dict[str, Any]], tuple[Step, str]],
    ) -> None:
        progressed = True
        while progressed and len(running) < self.jobs:
            progressed = False
            for step in list(waiting):
                if not needs[step.name] <= self.results.keys():
                    continue
                waiting.remove(step)
                progressed = True
                spec, params = self._prepare(step)
                key = step_key(step, spec, params, self.known)
                record = None if self.force else self.finished(step, key)
                if record is not None:
                    self.results[step.name] = record
                    self.skipped += 1
                    self.console.say(f"{step.name}: unchanged, skipped")
                    continue
                self.console.say(f"{step.name}: started")
                # A stale record must not outlive the outputs it describes.
                try:
                    self.record_path(step).unlink(missing_ok=True)
                except OSError as error:
                    reason = f"cannot be removed: {error.strerror or error}"
                    raise StoreError(self.record_path(step), reason) from error
                quiet = self.console.quiet
                future = pool.submit(call_stage, step.stage, params, f"{step.name}: ", quiet)
                running[future] = (step, key)
                break
        if not progressed and not running and waiting:
            raise MgError(f"step '{waiting[0].name}' waits for a step that never ran")

    def _finish(self, step: Step, key: str, result: dict[str, Any]) -> None:
        spec, params = self._prepare(step)
        outputs = {str(path): file_digest(path) for path in self._outputs(step)}
        inputs = {
            str(path): file_digest(path)
            for path in map(Path, step.key_files or [item for _, item in paths(spec, params, "input")])
        }
        record = {
            "step": step.name,
            "stage": step.stage,
            "key": key,
            "from": self.known.version_of("stages", step.stage),
            "params": json.loads(json.dumps(params, default=str)),
            "inputs": inputs,
            "outputs": outputs,
            "stamps": [file_stamp(path) for path in map(Path, outputs)],
            **result,
        }
        publish_json(self.record_path(step), record)
        self.results[step.name] = record
        self.console.say(f"{step.name}: done in {result['seconds']:.1f} s")
        sys.stderr.flush()
