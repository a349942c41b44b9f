"""`pfbench` with all that it imports: a fork server does so once for every command of a test."""

import sys

import harness.checks.verify.folder
import harness.experiments.run
import harness.trials.preload  # noqa: F401
from harness.cli import main as command_line


def main(arguments):
    """Do what `pfbench ARGUMENTS` does; returns its exit code."""
    # Python took the fork server's own streams for files, and these are a pipe and another file.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  open until the process ends
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["pfbench", *arguments]
    try:
        command_line()
    except SystemExit as ended:
        return ended.code or 0
