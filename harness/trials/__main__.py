"""The process of one trial.

    python -m harness.trials train|adapt|measure|train_to RUN_DIR TRIAL_ID --cache DIR --threads N

With probe_training or probe_inference it is found out what those actions would take
(harness.experiments.estimate). A trial that needs a plug-in is given its file with --plugin;
RUN_DIR/plugins holds copies.

Prints one JSON line for each event ("epoch", "case", "end"); all other text goes to standard
error, also that of a plug-in's own processes and libraries. Results are on disk before they are
printed.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import IO

from harness.errors import StorageError
from harness.trials.parent_watch import end_with_parent
from harness.trials.task import Task
from harness.trials.trial import Event, perform


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the task in `arguments`; returns the exit code of the process."""
    task = Task.from_arguments(arguments)
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this one
    sys.stdout.flush()
    with open(os.dup(1), "w", encoding="utf-8") as events:  # no process started by this one has it
        os.dup2(2, 1)
        return _carry_out(task, events)


def _carry_out(task: Task, events: IO[str]) -> int:
    """Carry out the task, with a line in `events` for each event; returns the exit code."""

    def emit(event: Event) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:  # who started this one is gone: it is unfinished, not failed
            os._exit(1)

    try:
        reason = perform(task, emit)
    except StorageError as error:
        emit({"event": "storage", "message": f"{error.where}: {error.what}"})
        return error.exit_code
    emit({"event": "end", "reason": reason})
    return 0


if __name__ == "__main__":
    sys.exit(main())
