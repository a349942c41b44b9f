"""The command line in a process of its own, as its user starts it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parents[1]


class Done(NamedTuple):
    stdout: str
    peak_mib: float
    """Of the largest of its processes."""
    processor_s: float
    """Of all of its processes that have ended before it."""


def pfbench(*arguments: str, top: Path = TOP) -> Done:
    """Run `pfbench` of the checkout `top`; RuntimeError with its last words when it fails."""
    command = [sys.executable, "-m", "harness.cli", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, cwd=top, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for said in (out, err):
            said.seek(0)
        stdout = out.read().decode()
        if process.returncode:
            raise RuntimeError((stdout + err.read().decode())[-2000:])
    return Done(stdout, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)
