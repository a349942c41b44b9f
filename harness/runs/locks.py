"""A lock file that admits one process at a time; the kernel frees it when its holder dies."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from harness.errors import ClusterError
from harness.runs.files import open_to_append, storage_error


@contextmanager
def held(path: Path, patience_s: float, remedy: str) -> Iterator[None]:
    """Hold the lock file `path` for this process; the kernel frees the lock when the holder dies.

    Raises ClusterError naming the host and process that holds it for longer than `patience_s`.
    """
    with open_to_append(path, "a+") as file:
        deadline = time.monotonic() + patience_s
        while not _locked(file):
            if time.monotonic() >= deadline:
                what = f"in use by {_holder(file)}"
                raise ClusterError(what, where=str(path.parent), remedy=remedy, code="PFB-K10")
            time.sleep(0.1)
        holder = f"host {socket.gethostname()}, process {os.getpid()}\n".encode()
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), holder)
        except OSError as error:
            raise storage_error(error, path, len(holder)) from error
        yield


def _holder(file: IO[str]) -> str:
    """Return who holds the lock, by the kernel's list where there is one, else by its own word.

    One who only reads the folder, as `pfbench verify` does, writes no word.
    """
    file.seek(0)
    said = file.read().strip() or "another process"
    inode = os.fstat(file.fileno()).st_ino
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5].endswith(f":{inode}") and int(words[4]) > 0:
                how = ", which reads it" if words[3] == "READ" else ""
                return f"host {socket.gethostname()}, process {words[4]}{how}"
    return said


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
