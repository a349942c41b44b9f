"""`pfbench` with all that it imports: a fork server does so once for every command of a test."""

import sys

import harness.checks.verify.folder  # noqa: F401
import harness.commands.requests  # noqa: F401
import harness.experiments.run  # noqa: F401
import harness.report.write  # noqa: F401
import harness.trials.preload  # noqa: F401
from harness.cli import main as command_line


def main(arguments):
    """Do what `pfbench ARGUMENTS` does; returns its exit code."""
    # Python took the fork server's own streams for files, and these are a pipe and another file.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  open until the process ends
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["pfbench", *arguments]
    try:
        command_line()
    except SystemExit as ended:
        return ended.code or 0
