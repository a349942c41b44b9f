"""The imports of trials, once for all commands of a session that measure or probe inline."""

import atexit
import os
from contextlib import ExitStack
from functools import cache

from harness.trials.shared_fork_server import PLACE, shared_fork_server
from harness.trials.supervise import TRIAL, trial_environment


@cache
def environment() -> dict[str, str]:
    """The variable by which a command finds them; they end with this process."""
    begun = ExitStack()
    begun.enter_context(shared_fork_server(TRIAL, trial_environment()))
    place = os.environ[PLACE]

    def end() -> None:
        os.environ[PLACE] = place  # which the context takes away again
        begun.close()

    atexit.register(end)
    return {PLACE: os.environ.pop(PLACE)}
