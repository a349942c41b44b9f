"""Ctrl-C and SIGTERM: the first ends a command in good order, the second ends it at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import ClusterError
from harness.runs.screen import Screen

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """An interruption by a signal; `exit_code` is 130 after SIGINT, 143 after SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def carry_on(work: Callable[[], int], command: str, screen: Screen) -> int:
    """The exit code of `work` or its interruption; prints how to continue after the latter.

    Raises ClusterError, also after having said so.
    """
    how = f"to continue, repeat: {command}"
    try:
        with _stoppable():
            return work()
    except Stopped as stopped:
        screen.say("interrupted")
        screen.tell(how)
        return stopped.exit_code
    except ClusterError:
        screen.tell(how)
        raise


@contextmanager
def _stoppable() -> Iterator[None]:
    """Raise Stopped in the block at the first signal; at the second, exit the process at once.

    What the process started ends with it: Ray's processes, trials and mirror watch for that. In a
    thread that hears no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _first) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, _second)
    print("stopping in good order; a second time ends at once", file=sys.stderr, flush=True)
    raise Stopped(number)


def _second(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
