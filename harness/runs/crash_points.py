"""Named places where a run can be made to die, to show that it loses nothing there.

    PFBENCH_CRASH_AT=checkpoint            right after the file got its name
    PFBENCH_CRASH_AT=checkpoint:unnamed    right before: its temporary file is whole
    PFBENCH_CRASH_AT=checkpoint@2          when this process comes there for the second time

The process kills itself as the system would. Without the variable, nothing is looked at.
"""

import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "PFBENCH_CRASH_AT"
FILES = {
    "split": "split.json",
    "data": "data.json",
    "spec": "trials/*/spec.json",
    "run": "run.json",
    "attempts": "trials/*/attempts.csv",
    "checkpoint": "checkpoints/epoch-*.pt",
    "checkpoint-sum": "checkpoints/epoch-*.sha256",
    "history": "trials/*/history.csv",
    "weights": "trials/*/weights.safetensors",
    "mask": "masks/*.npz",
    "cases": "trials/*/cases.csv",
    "result": "trials/*/result.json",
    "measurement": "trials/*/measurement.json",
    "table-csv": "table.csv",
    "table-md": "table.md",
    "report": "report.html",
}
"""The files of a run that are written whole, by short name, in the order of their first appearance.
"""
STEPS = ("locked", "volume", "old-sum-removed", "failure-set-aside")
"""Crash points between two writes, where something other than a write is done."""
POINTS = (*STEPS, *FILES, *(f"{name}:unnamed" for name in FILES))

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process if PFBENCH_CRASH_AT names this crash point."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    place, _, time = wanted.partition("@")
    _passed[name] += name == place
    if _passed[name] == int(time or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def crash_while_writing(path: Path, *, named: bool) -> None:
    """Kill this process before or after a file gets its name, if PFBENCH_CRASH_AT names it."""
    if VARIABLE in os.environ:
        for name, pattern in FILES.items():
            if path.match(pattern):
                crash_point(name if named else f"{name}:unnamed")
