"""The entry point of `pfbench`: all commands in one program, and the exit codes of errors."""

import atexit
import gc
import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from harness.commands.checks import doctor, verify
from harness.commands.data import data_app, list_
from harness.commands.experiments import plan, run, tune
from harness.commands.plugins import check_plugin, init
from harness.commands.results import claims, compare, figures, mlflow_app, predict, report, ui
from harness.commands.scoring import export_app, score
from harness.errors import INTERRUPTED, PfbenchError
from harness.runs.torch_cache import torch_cache
from harness.trials.fork_server import leave

LAST_S = 30  # seconds that what asked to be done at the end has, Ray's own end among it

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    epilog="Start with: pfbench run --suite table5",
)
COMMANDS = (
    run, plan, tune, report, compare, figures, claims, predict, score, ui, verify, doctor,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.command("list")(list_)
app.command("check-plugin")(check_plugin)
app.command()(init)
app.add_typer(data_app, name="data")
app.add_typer(mlflow_app, name="mlflow")
app.add_typer(export_app, name="export")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from harness.runs.spec import code_version

        print(code_version())
        raise typer.Exit


@app.callback()
def pfbench(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            help="Print the version, as runs record it: with a hash of the code of the numbers.",
        ),
    ] = False,
) -> None:
    """Compare patch-free and patch-based 3D medical image segmentation under one protocol."""


def main() -> None:
    """Run one command; an error that a user can cause ends as one line and an exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONSAFEPATH"] = "1"  # no process of ours imports from where the user stands
    os.umask(0o077)
    os.environ |= torch_cache()
    _seldom_collect()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale without ↑ or a name in no encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except PfbenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def entry() -> NoReturn:
    """Run one command as a process of its own, which ends with it.

    Python itself would wait for every thread that a plug-in has left running, and for what a
    plug-in asked to be done at the end.
    """
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    else:
        code = 0
    signal.signal(signal.SIGALRM, lambda *_: leave(code))
    signal.alarm(LAST_S)
    atexit._run_exitfuncs()
    leave(code)


def _seldom_collect() -> None:
    """Make Python's full garbage collections rare: they are slow, as each scans all of torch.

    They would take an eighth of the time to start, and two seconds at the end.

    Reference counts free the volumes; what is left to collections is small.
    """
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    atexit.register(gc.freeze)


if __name__ == "__main__":
    entry()
