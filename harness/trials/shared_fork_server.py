"""The imports of trials, begun before there is a worker to ask for them, and once for all workers.

    driver                    shared fork server              worker
      begin, listen  ────────►   import
      start Ray                  fork  ◄──────────────────   connect
                                   a fork server of the worker's own, see harness.trials.fork_server

Ray takes as long to start as torch to be imported, and each of its phases has new workers. Those
find the socket by an environment variable that they inherit, so on the driver's machine alone; it
lies in a folder that only its user may enter. A worker that finds none has a fork server of
its own imported. The shared one ends with the driver, those that it forked with their workers.

Runs as `python -m harness.trials.shared_fork_server FUNCTION`, with the listening socket as
standard input and the driver's as standard output.
"""

import gc
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.trials.fork_server import ONE_THREAD, leave, live

PLACE = "PFBENCH_FORK_SERVER"
SHORT = 64  # of the hundred or so bytes that the address of a socket has


@contextmanager
def shared_fork_server(function: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Start a shared fork server with `function` imported, for the processes begun in the block."""
    mine, theirs = socket.socketpair()
    usual = tempfile.gettempdir()
    short = usual if len(usual) < SHORT else "/tmp"  # where Ray has its sockets, too
    with mine, tempfile.TemporaryDirectory(prefix="pfbench-fork-", dir=short) as folder:
        place = str(Path(folder) / "socket")
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place)
            listener.listen()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.trials.shared_fork_server", function],
                stdin=listener.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,  # a worker's own will say the same to its log
                env={**environment, **ONE_THREAD},
            )
        os.environ[PLACE] = place
        try:
            yield
        finally:
            del os.environ[PLACE]
            process.kill()
            process.wait()


def connected() -> socket.socket | None:
    """The socket of a fork server of the caller's own; None without a shared one to fork it."""
    place = os.environ.get(PLACE)
    if not place:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(place)
    except OSError:
        connection.close()
        return None
    return connection


def main() -> int:
    """Run as the shared fork server, as those that it forks, and as each of their children."""
    gc.disable()  # see harness.trials.fork_server
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this one
    listener, driver = (socket.socket(fileno=os.dup(standard)) for standard in (0, 1))
    with open(os.devnull, "r+b") as nothing:
        for standard in (0, 1):
            os.dup2(nothing.fileno(), standard)
    pkgutil.resolve_name(sys.argv[1])
    gc.freeze()
    owner = _next_owner(listener, driver)
    if owner:
        return live(owner)
    shutil.rmtree(Path(listener.getsockname()).parent)  # the driver was killed
    return 0


def _next_owner(listener: socket.socket, driver: socket.socket) -> socket.socket | None:
    """The owner of a forked fork server; None in the shared one, when the driver is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are forked
    while True:
        ready, _, _ = select.select([listener, driver], [], [])
        if driver in ready:
            return None
        owner, _ = listener.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            driver.close()
            return owner
        owner.close()


if __name__ == "__main__":
    leave(main())
