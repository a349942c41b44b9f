"""Watch the process of one trial: pass its events on, and report the cause when it dies.

A crash (a signal, an exit without a word) is tried once more from the last checkpoint; a trial
that says why it failed is not. The process is a child of this process's fork server, which has
imported `harness.trials` or was forked from one that has.
"""

import atexit
import json
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import harness
from harness.errors import StorageError
from harness.runs.events import Event
from harness.runs.files import open_to_append
from harness.runs.records import Failed
from harness.runs.torch_cache import torch_cache
from harness.trials.fork_server import Call, Child, ForkServer, Lost
from harness.trials.shared_fork_server import connected
from harness.trials.task import Task

ATTEMPTS = 2
TRIAL = "harness.trials.preload:main"
Report = Callable[[Event], None]
_fork_server: ForkServer | None = None
"""The fork server of this process: the children of all supervised trials share its imports."""


class Silence(Exception):
    """The error for a trial that has reported no event for longer than allowed."""


def supervise(task: Task, report: Report, node: str = "", function: str = TRIAL) -> Event:
    """Run the task to its end; returns {"reason": "ok" | why not, "detail": one line}.

    `node` is the machine on which Ray put this call. `function` ("module:name") is called by the
    process of the trial, with the arguments of `python -m harness.trials`.
    """
    task = replace(task, node=node or task.node)
    outcome = _supervise(task, report, function)
    while task.action == "measure" and outcome["reason"] == "ok" and not task.folder.measurement():
        outcome = _supervise(task, report, function)  # the next of the processes that measure
    return outcome


def _supervise(task: Task, report: Report, function: str) -> Event:
    """Run one process for the task, and a second one where the first dies."""
    for attempt in range(1, ATTEMPTS + 1):
        report({"event": "start", "attempt": attempt})
        try:
            reason, detail, final = _attempt(task, report, function)
        except StorageError as error:
            return {"reason": "storage", "detail": f"{error.where}: {error.what}"}
        if final:
            return {"reason": reason, "detail": detail}
    return _fail(task, reason, detail)


def _fail(task: Task, reason: str, detail: str) -> Event:
    """Record the failure, unless the process died after it had recorded its end."""
    task.folder.write_failure(task.action, reason, detail)
    ended = task.folder.end(task.action)
    if isinstance(ended, Failed):
        return {"reason": ended.reason, "detail": ended.detail}
    return {"reason": "ok", "detail": ""}


def _attempt(task: Task, report: Report, function: str) -> tuple[str, str, bool]:
    """Run one process for the task; returns reason, detail, and whether the outcome is final."""
    place = task.folder.path
    call = Call(function, task.to_arguments(), str(place), trial_environment())
    with open_to_append(place / "stderr.log", "ab") as log:
        try:
            with _living_fork_server(log).child(call, log, task.silence_s) as child:
                for event in _events(child, task.silence_s):
                    if event["event"] == "end":
                        return event["reason"], "", True
                    if event["event"] == "storage":
                        return "storage", event["message"], True
                    report(event)
        except Silence:
            ended = _fail(task, "timeout", f"no report for {task.silence_s:g} s")
            return ended["reason"], ended["detail"], True
        except Lost as lost:
            return "crash", str(lost), False
    return "crash", child.ending, False


def _living_fork_server(log: IO[bytes]) -> ForkServer:
    """The fork server of this process, started with its first task, and again when it has died."""
    global _fork_server
    if _fork_server and not _fork_server.alive:
        _fork_server.close()
        _fork_server = None
    if _fork_server is None:
        connection = connected()
        _fork_server = (
            ForkServer(connection) if connection else ForkServer.begun(trial_environment(), log)
        )
        atexit.register(_fork_server.close)
    return _fork_server


def trial_environment() -> dict[str, str]:
    """The environment of a trial: our packages are found, sums on CPU and cuBLAS repeatable."""
    home = str(Path(harness.__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**torch_cache(), **os.environ, **fixed}


def _events(child: Child, silence_s: float) -> Iterator[Event]:
    """The events that the process prints as JSON lines; raises Silence after too long a wait.

    They end with the process, also where a process that it left behind keeps its output open.
    """
    pending = b""
    with _end_of(child.pid) as ended:
        while True:
            output = child.output.fileno()
            ready, _, _ = select.select([output, *ended], [], [], silence_s)
            if not ready:
                raise Silence
            chunk = os.read(output, 65536) if output in ready else b""
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from filter(None, map(_event, lines))


@contextmanager
def _end_of(pid: int) -> Iterator[list[int]]:
    """A descriptor that can be read once the process has ended; none where the system has none."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # macOS
        yield []
        return
    try:
        yield [handle]
    finally:
        os.close(handle)


def _event(line: bytes) -> Event | None:
    """The event in a line; None for what is no event, whoever wrote it."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
