"""Files that are written whole or not at all, and read with an error that names them."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from harness.errors import StateError, StorageError
from harness.runs.crash_points import crash_while_writing

JsonObject = dict[str, Any]
"""The content of a JSON file whose top level is an object."""

LARGEST = 512 << 20
"""Bytes of a record or table, at most: what stands in a run folder may come from anybody."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def write_bytes(path: Path, content: bytes) -> None:
    """Write all of `content` to the file, or leave the earlier file unchanged.

    Raises StorageError naming path and bytes when the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_own(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        crash_while_writing(path, named=False)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # on a read-only disk that fails, too
            temporary.unlink(missing_ok=True)
        raise storage_error(error, path, len(content)) from error
    crash_while_writing(path, named=True)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk: only then is the name of a new file in it on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, text: str) -> None:
    """Add text to the end of a log. Raises StorageError as `write_bytes` does."""
    content = text.encode()
    try:
        with open_own(path, "ab") as file:
            file.write(content)
    except OSError as error:
        raise storage_error(error, path, len(content)) from error


def open_to_append(path: Path, mode: str) -> IO[Any]:
    """Open a file that grows. Raises StorageError when the disk has no room for even its name."""
    try:
        return open_own(path, mode)
    except OSError as error:
        raise storage_error(error, path, 0) from error


def remove_temporary(*folders: Path) -> None:
    """Remove temporary files of writers that were killed before they gave their file its name."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def open_own(path: Path, mode: str, encoding: str | None = None) -> IO[Any]:
    """Open a file of the run folder for writing.

    Raises StorageError for a symbolic link, and for a file that has another name elsewhere.
    """

    def opener(name: str, flags: int) -> int:
        handle = os.open(name, (flags | os.O_NOFOLLOW) & ~os.O_TRUNC, 0o600)
        if os.fstat(handle).st_nlink > 1:
            os.close(handle)
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        if flags & os.O_TRUNC:
            os.ftruncate(handle, 0)
        return handle

    try:
        return open(path, mode, encoding=encoding, opener=opener)
    except OSError as error:
        if error.errno == errno.EMLINK:
            raise _linked(path) from error
        if error.errno != errno.ELOOP:
            raise
        what = "is a link; what it points to is not written"
        raise StorageError(what, where=str(path), remedy="remove it", code="PFB-S02") from error


def refuse_linked(paths: Iterable[Path]) -> None:
    """Raise StorageError for a file with a second name, which writing would change elsewhere."""
    for path in paths:
        known = path.lstat()
        if stat.S_ISREG(known.st_mode) and known.st_nlink > 1:
            raise _linked(path)


def _linked(path: Path) -> StorageError:
    what = "has another name elsewhere (a hard link), and what is there is not written"
    remedy = "copy the folder (cp -r), and use the copy"
    return StorageError(what, where=str(path), remedy=remedy, code="PFB-S02")


def refuse_foreign(folder: Path) -> None:
    """Raise StateError for a link below `folder` that leads out of it, and for pipes and devices.

    What a folder from elsewhere holds is read and written in that folder alone.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place, name)
            what = ""
            if path.is_symlink():
                outside = not path.resolve().is_relative_to(root)
                what = "is a link that leads out of the folder" if outside else ""
            elif name in files and not path.is_file():
                what = "is neither a file nor a folder"
            if what:
                remedy = "remove it; a run folder may lie anywhere, as a whole"
                raise StateError(what, where=str(path), remedy=remedy, code="PFB-K12")


def storage_error(error: OSError, path: Path, size: int) -> Exception:
    """A StorageError for a disk that is full or read-only, otherwise the given error itself."""
    if error.errno in FULL or isinstance(error, PermissionError):
        done = f"cannot write {size:,} bytes" if size else "cannot be made"
        what = f"{done}: {os.strerror(error.errno or errno.EIO)}"
        remedy = "free space or pass another --out; the same command continues this run"
        if error.errno == errno.EROFS:
            remedy = "a copy of the folder on a disk that can be written, or --out elsewhere"
        return StorageError(what, where=str(path), remedy=remedy, code="PFB-S01")
    return error


def write_json(path: Path, content: object) -> None:
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


class Incomplete(StateError, KeyError):
    """A record lacks a key."""


class _Record(JsonObject):
    """The content of a JSON file; looking up a missing key raises an error that blames the file."""

    def __init__(self, content: JsonObject, path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise damaged(self.path, f"lacks '{key}'", Incomplete)


def read_json(path: Path) -> JsonObject:
    """Read the object in the JSON file `path`.

    Raises StateError when the file is missing or damaged, and later when a key of it is missing.

    The keys of the object itself raise it when they are looked up, those of objects in it do not.
    """
    try:
        refuse_unfit(path)
        content = json.loads(path.read_bytes(), object_pairs_hook=_each_once)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except _Twice as error:
        raise damaged(path, f"has the key {error} twice") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise damaged(path, "is not readable JSON") from error
    if not isinstance(content, dict):
        raise damaged(path, "does not hold a JSON object")
    return _Record(content, path)


class _Twice(Exception):
    """The error for a key that an object has twice, of which readers take either."""


def _each_once(pairs: list[tuple[str, Any]]) -> JsonObject:
    content: JsonObject = {}
    for key, value in pairs:
        if key in content:
            raise _Twice(ascii(key[:60]))
        content[key] = value
    return content


def refuse_unfit(path: Path) -> None:
    """Raise StateError for a record or table that is no file, or larger than any that a run writes.

    To open a pipe would be to wait for somebody who writes into it.
    """
    known = path.stat()
    if not stat.S_ISREG(known.st_mode):
        raise damaged(path, "is no file")
    if known.st_size > LARGEST:
        size, most = known.st_size >> 20, LARGEST >> 20
        raise damaged(path, f"has {size:,} MiB, and no record or table has {most}")


@contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Let whatever a reader raises in the block say that the file is damaged.

    Raises StateError that names the file; those raised in the block pass.
    """
    try:
        yield
    except StateError:
        raise
    except Exception as error:  # damage has no limits: zlib, tokenize, memory
        raise StateError(what, where=str(path), remedy=remedy, code="PFB-K08") from error


def damaged(path: Path, what: str, kind: type[StateError] = StateError) -> StateError:
    remedy = f"remove {path.name}; the same `pfbench run` or `tune` then makes it anew"
    return kind(what, where=str(path), remedy=remedy, code="PFB-K08")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
