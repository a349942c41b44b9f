"""Watch one trial's process: pass on what it reports, and say what happened when it dies.

A crash (a signal, an exit without a word) is tried once more from the last checkpoint; a trial
that says why it failed is not. The process is a child of this process's zygote, which has
imported `harness.trials.trial` or was forked from one that has.
"""

import atexit
import json
import os
import select
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import harness
from harness.errors import StorageError
from harness.runs.run_folder import RunFolder, TrialFolder, open_to_append
from harness.trials.fork_server import Call, Lost, Zygote
from harness.trials.shared_fork_server import connected

ATTEMPTS = 2
TRIAL = "harness.trials.preload:main"
Report = Callable[[dict[str, Any]], None]
_zygote: Zygote | None = None


class Silence(Exception):
    """The trial said nothing for longer than allowed."""


def supervise(payload: dict[str, Any], report: Report, function: str = TRIAL) -> dict[str, Any]:
    """Run the task of `payload` to its end; returns {"reason": "ok" | why not}.

    `payload`: action, run, trial, cache, threads, silence_s, node; plugins, the files that the
    trial needs, where it needs any; and, of a rehearsal, until. Runs where Ray put it; `function`
    is what the process calls, given the arguments of `python -m harness.trials.trial`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        report({"event": "start", "attempt": attempt})
        try:
            reason, detail, final = _attempt(payload, report, function)
        except StorageError as error:
            return {"reason": "storage", "detail": f"{error.where}: {error.what}"}
        if final:
            return {"reason": reason, "detail": detail}
    return _fail(payload, reason, detail)


def _fail(payload: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
    """Record the failure, unless the process died after it had recorded its end."""
    folder = _folder(payload)
    folder.write_failure(payload["action"], reason, detail)
    ended = folder.end(payload["action"]) or {}
    return {"reason": ended.get("reason") or "ok", "detail": ended.get("detail", "")}


def _attempt(payload: dict[str, Any], report: Report, function: str) -> tuple[str, str, bool]:
    """Reason, detail, and whether that is the last word."""
    folder = _folder(payload)
    call = Call(function, _arguments(payload), str(folder.path), trial_environment())
    silence_s = payload["silence_s"]
    with open_to_append(folder.path / "stderr.log", "ab") as log:
        try:
            with _living_zygote(log).child(call, log, silence_s) as child:
                for event in _events(child.output, silence_s):
                    if event["event"] == "end":
                        return event["reason"], "", True
                    if event["event"] == "storage":
                        return "storage", event["message"], True
                    report(event)
        except Silence:
            ended = _fail(payload, "timeout", f"no report for {silence_s:g} s")
            return ended["reason"], ended["detail"], True
        except Lost as lost:
            return "crash", str(lost), False
    return "crash", child.ending, False


def _folder(payload: dict[str, Any]) -> TrialFolder:
    return RunFolder(Path(payload["run"])).trial(payload["trial"])


def _living_zygote(log: IO[bytes]) -> Zygote:
    """The zygote of this process: begun with its first task, and again when it has died."""
    global _zygote
    if _zygote and not _zygote.alive:
        _zygote.close()
        _zygote = None
    if _zygote is None:
        connection = connected()
        _zygote = Zygote(connection) if connection else Zygote.begun(trial_environment(), log)
        atexit.register(_zygote.close)
    return _zygote


def _arguments(payload: dict[str, Any]) -> list[str]:
    places = [payload["action"], payload["run"], payload["trial"], "--cache", payload["cache"]]
    optional = [(f"--{name}", str(payload[name])) for name in ("node", "until") if name in payload]
    optional += [("--plugin", path) for path in payload.get("plugins", ())]
    return [*places, "--threads", str(payload["threads"]), *chain.from_iterable(optional)]


def trial_environment() -> dict[str, str]:
    """Ours is found from any folder; sums on CPU and cuBLAS come out the same each time."""
    home = str(Path(harness.__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**os.environ, **fixed}


def _events(output: IO[bytes], silence_s: float) -> Iterator[dict[str, Any]]:
    """The JSON lines that the process prints; raises Silence when none comes for too long."""
    pending = b""
    while True:
        ready, _, _ = select.select([output], [], [], silence_s)
        if not ready:
            raise Silence
        chunk = os.read(output.fileno(), 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines)
