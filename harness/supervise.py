"""Watch one trial's process: pass on what it reports, and say what happened when it dies.

A crash (a signal, an exit without a word) is tried once more from the last checkpoint; a trial
that says why it failed is not.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
from harness.ledger import RunFolder, TrialFolder

ATTEMPTS = 2
Report = Callable[[dict[str, Any]], None]


class Silence(Exception):
    """The trial said nothing for longer than allowed."""


def supervise(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run the task of `payload` to its end; returns {"reason": "ok" | why not}.

    `payload`: action, run, trial, cache, threads, silence_s. Runs where Ray put it.
    """
    for attempt in range(1, ATTEMPTS + 1):
        report({"event": "start", "attempt": attempt})
        reason, detail, final = _attempt(payload, report)
        if final:
            return {"reason": reason, "detail": detail}
    _folder(payload).write_failure(payload["action"], reason, detail)
    return {"reason": reason, "detail": detail}


def _attempt(payload: dict[str, Any], report: Report) -> tuple[str, str, bool]:
    """Reason, detail, and whether that is the last word."""
    folder = _folder(payload)
    with open(folder.path / "stderr.log", "ab") as log:
        process = subprocess.Popen(
            _command(payload),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder.path,
            env=_environment(),
        )
        try:
            for event in _events(process, payload["silence_s"]):
                if event["event"] == "end":
                    return event["reason"], "", True
                if event["event"] == "storage":
                    return "storage", event["message"], True
                report(event)
        except Silence:
            limit = payload["silence_s"]
            detail = f"no report for {limit:g} s"
            folder.write_failure(payload["action"], "timeout", detail)
            return "timeout", detail, True
        finally:
            process.kill()
            process.wait()
    return "crash", _cause_of_death(process.returncode), False


def _folder(payload: dict[str, Any]) -> TrialFolder:
    return RunFolder(Path(payload["run"])).trial(payload["trial"])


def _command(payload: dict[str, Any]) -> list[str]:
    places = [payload["action"], payload["run"], payload["trial"], "--cache", payload["cache"]]
    return [sys.executable, "-m", "harness.trial", *places, "--threads", str(payload["threads"])]


def _environment() -> dict[str, str]:
    """Ours is found from any folder; sums on CPU and cuBLAS come out the same each time."""
    home = str(Path(harness.__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**os.environ, **fixed}


def _events(process: subprocess.Popen[bytes], silence_s: float) -> Iterator[dict[str, Any]]:
    """The JSON lines that the process prints; raises Silence when none comes for too long."""
    assert process.stdout is not None
    pending = b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], silence_s)
        if not ready:
            raise Silence
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            process.wait()
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _cause_of_death(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code} and no word; see stderr.log"
    name = signal.Signals(-code).name
    hint = " (often the system's memory ran out)" if -code == signal.SIGKILL else ""
    return f"the process was killed by {name}{hint}"
