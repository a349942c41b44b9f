"""A process that imports a task's code once and forks a child for each task (a fork server).

    owner                      fork server                   child
      call, output, errors ────►   import, fork ──────────►   function(arguments)
      pid                  ◄────
      end                  ────►   kill, wait
      exit code            ◄────

Importing torch takes seconds, a fork milliseconds. The fork server does nothing but import: it has
one thread, ran no parallel region and never touched CUDA, so its children can do all of that. It
has one child at a time. When the owner is gone its socket closes, and fork server and child end;
when the fork server is gone the child notices and ends.

Runs as `python -m harness.trials.fork_server`, with one end of a Unix socket pair as its standard
input.
"""

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import IO, NoReturn, Self

from harness.trials.parent_watch import end_with_parent

NUMBER = struct.Struct("!i")
END = NUMBER.pack(0)  # in place of the length of a call
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Environment that keeps numpy, scipy and pyarrow from starting threads when they are imported."""


class Lost(Exception):
    """The error for a fork server that ended, and its child with it; the text names the cause."""


@dataclass(frozen=True)
class Call:
    """A call for a child: `function`, "module:name", gets `arguments` and returns an exit code."""

    function: str
    arguments: list[str]
    cwd: str
    environment: dict[str, str]


@dataclass
class Child:
    """A child process that carries out a call."""

    pid: int
    output: IO[bytes]
    """The standard output of the child."""
    ending: str = ""
    """After the end of the child, the cause of the end in words."""


class ForkServer:
    """The owner's side of a fork server: a socket, and the process where the owner started it."""

    def __init__(
        self, connection: socket.socket, process: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self._socket = connection
        self._process = process

    @classmethod
    def begun(cls, environment: Mapping[str, str], errors: IO[bytes]) -> Self:
        """Start a fork server that has to import first; `errors` gets the fault of an import."""
        mine, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.trials.fork_server"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**environment, **ONE_THREAD},
            )
        return cls(mine, process)

    @property
    def pid(self) -> int | None:
        """The id of the fork server process, where the owner started it; None for a shared one."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        if self._socket.fileno() < 0:
            return False  # it was found dead, and closed
        ended, _, _ = select.select([self._socket], [], [], 0)  # it never speaks first
        return not ended

    def close(self) -> None:
        """End the fork server and its child."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    @contextmanager
    def child(self, call: Call, errors: IO[bytes], patience_s: float) -> Iterator[Child]:
        """Start a child that carries out `call`; the end of the block kills it.

        Raises Lost when none can be started; the first has to wait for the imports, at most
        `patience_s` seconds.
        """
        self._socket.settimeout(patience_s)
        output, theirs = os.pipe()
        with open(output, "rb", buffering=0) as reader:
            try:
                pid = self._start(call, theirs, errors.fileno())
            finally:
                os.close(theirs)
            child = Child(pid, reader)
            try:
                yield child
            finally:
                child.ending = self._end(pid)

    def _start(self, call: Call, output: int, errors: int) -> int:
        content = json.dumps(asdict(call)).encode()
        with self._or_lost():
            socket.send_fds(self._socket, [NUMBER.pack(len(content))], [output, errors])
            self._socket.sendall(content)
            return self._answer()

    def _end(self, pid: int) -> str:
        try:
            with self._or_lost():
                self._socket.sendall(END)
                return f"the process {_what_happened(self._answer())}"
        except Lost as lost:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it would end by itself, unless it hangs
            return str(lost)

    def _answer(self) -> int:
        answer = self._socket.recv(NUMBER.size)
        if not answer:
            raise ConnectionError
        return int(NUMBER.unpack(answer)[0])

    @contextmanager
    def _or_lost(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            self.close()
            raise Lost("the process that starts trials does not answer") from error
        except ConnectionError as error:
            how = _what_happened(self._process.wait()) if self._process else "is gone"
            self.close()
            raise Lost(f"the process that starts trials {how}") from error


def _what_happened(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no word; see stderr.log"
    hint = " (often the system's memory ran out)" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"


def main() -> int:
    """Run as the fork server, and as each of its children; returns the exit code."""
    gc.disable()  # while importing, the collector would take a fifth of the time and find nothing
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this one
    owner = socket.socket(fileno=os.dup(0))
    with open(os.devnull, encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 0)
    return live(owner)


def live(owner: socket.socket) -> int:
    """Serve as a fork server until the owner is gone; in a child, carry out the call."""
    task = None
    with suppress(ConnectionError):  # the owner is gone
        task = _serve(owner)
    return task() if task else 0


def _serve(owner: socket.socket) -> Callable[[], int] | None:
    """Serve the requests of the owner until it ends; in a child, returns the call to do."""
    while True:
        length, handles, _, _ = socket.recv_fds(owner, NUMBER.size, 2)
        if not length:
            return None
        [size] = NUMBER.unpack(length)
        call = Call(**json.loads(owner.recv(size, socket.MSG_WAITALL)))
        function = pkgutil.resolve_name(call.function)
        gc.freeze()  # the children's collector need not look at what was imported
        server, child = os.getpid(), os.fork()
        if not child:
            owner.close()
            _settle(call, handles, server)
            return partial(function, call.arguments)
        for handle in handles:
            os.close(handle)
        with suppress(OSError):  # the child does the same
            os.setpgid(child, child)
        owner.sendall(NUMBER.pack(child))
        told = owner.recv(NUMBER.size)
        os.killpg(child, signal.SIGKILL)  # and what it started
        _, status = os.waitpid(child, 0)
        if told:
            owner.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _settle(call: Call, handles: list[int], server: int) -> None:
    """Give a fresh child the state of a process that was started with this call."""
    os.setpgid(0, 0)
    end_with_parent(server)
    for handle, standard in zip(handles, (1, 2), strict=True):
        os.dup2(handle, standard)
        os.close(handle)
    os.chdir(call.cwd)
    os.environ.clear()
    os.environ.update(call.environment)
    gc.enable()


def leave(code: int) -> NoReturn:
    """End this process at once; Python itself would spend a second on freeing the modules."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
