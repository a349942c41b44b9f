"""Watch the parent process and end with it: no trial outlives its driver."""

import os
import select
import threading
import time
from contextlib import suppress


def end_with_parent(parent: int | None = None) -> None:
    """Watch the parent process from a thread, and exit with code 1 when it is gone.

    `parent` is its process id where this process was forked a moment ago and the parent may be
    gone already; the present parent without it.
    """
    expected = os.getppid() if parent is None else parent

    def watch() -> None:
        with suppress(AttributeError, OSError):  # macOS has no descriptors of processes
            handle = os.pidfd_open(expected)
            if os.getppid() == expected:
                select.select([handle], [], [])  # until it ends, at once
                os._exit(1)
        while os.getppid() == expected:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
