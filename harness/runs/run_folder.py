"""The run folder: the one truth, from which tables, reports and MLflow are derived.

    RUN/run.json                 what was asked, and the trials that belong to it
    RUN/split.json               which case trains, validates, tests
    RUN/plugins/<name>-<hash>.py source of plug-ins that were used; never executed from here unasked
    RUN/trials/<id>/spec.json    everything that determines the trial; <id> is its hash
                    attempts.csv                     a line for each start, before it starts
                    history.csv, checkpoints/        while it trains
                    weights.safetensors, cases.csv, masks/<case>.npz   when it is done
                    result.json                      last: its presence means finished
                    measurement.json                 time and memory, from a phase of their own
    RUN/table.csv, table.md      derived

Every file is written whole or not at all: temporary file, fsync, rename.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.data.case import valid_case_id
from harness.data.layout import unusable_id
from harness.errors import ClusterError, StateError, StorageError, UsageError
from harness.runs import plugins as registry
from harness.runs import suite_file
from harness.runs.crash_points import crash_point, crash_while_writing
from harness.runs.spec import TrialSpec

SCHEMA = 3  # of run.json
State = Literal["new", "interrupted", "ok", "failed"]
Action = Literal["train", "adapt", "measure", "rehearse", "probe_training", "probe_inference"]
RECORDS: dict[Action, str] = {
    "measure": "measurement.json",
    "probe_training": "probe_training.json",
    "probe_inference": "probe_inference.json",
}
"""Where a trial's folder tells how these actions ended; the others have made its result."""
PATIENCE_S = 60.0  # with a process that still works on a trial
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def write_bytes(path: Path, content: bytes) -> None:
    """Write all of `content` or leave what was there.

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
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path, len(content)) from error
    crash_while_writing(path, named=True)


def _sync_folder(folder: Path) -> None:
    """A new name, too, is on disk only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, text: str) -> None:
    """Add lines to a log. Raises StorageError as `write_bytes` does."""
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
    """What writers left behind that were killed before they gave their file its name."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def open_own(path: Path, mode: str, encoding: str | None = None) -> IO[Any]:
    """Open a file of the run folder to write: never through a link that somebody left there."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o600)

    try:
        return open(path, mode, encoding=encoding, opener=opener)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        what = "is a link; what it points to is not written"
        raise StorageError(what, where=str(path), remedy="remove it", code="PFB-S02") from error


def storage_error(error: OSError, path: Path, size: int) -> Exception:
    """StorageError for a disk that is full or read-only, else the error itself."""
    if error.errno in FULL or isinstance(error, PermissionError):
        done = f"cannot write {size:,} bytes" if size else "cannot be made"
        what = f"{done}: {os.strerror(error.errno or errno.EIO)}"
        remedy = "free space or pass another --out; the same command continues this run"
        return StorageError(what, where=str(path), remedy=remedy, code="PFB-S01")
    return error


def write_json(path: Path, content: object) -> None:
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


class Incomplete(StateError, KeyError):
    """A record lacks a key."""


class _Record(dict[str, Any]):
    """What a JSON file holds; a key that it lacks is the file's fault, not ours."""

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise _damaged(self.path, f"lacks '{key}'", Incomplete)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; StateError when the file, or later a key of it, is missing or damaged.

    The keys of the object itself raise it when they are looked up, those of objects in it do not.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "is not readable JSON") from error
    if not isinstance(content, dict):
        raise _damaged(path, "does not hold a JSON object")
    return _Record(content, path)


def _outcome(path: Path) -> dict[str, Any] | None:
    """A record that says how something ended; None while there is none."""
    if not path.exists():
        return None
    content = read_json(path)
    if content["status"] not in ("ok", "failed"):
        raise _damaged(path, f"has status {content['status']!r}, neither ok nor failed")
    return content


def _damaged(path: Path, what: str, kind: type[StateError] = StateError) -> StateError:
    remedy = f"remove {path.name}; the same `pfbench run` or `tune` then makes it anew"
    return kind(what, where=str(path), remedy=remedy, code="PFB-K08")


@contextmanager
def _held(path: Path, patience_s: float, remedy: str) -> Iterator[None]:
    """Hold the lock file `path` for this process; the lock of a dead process is no lock.

    Raises ClusterError naming the host and process that holds it for longer than `patience_s`.
    """
    with open_to_append(path, "a+") as file:
        deadline = time.monotonic() + patience_s
        while not _locked(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                what = f"in use by {file.read().strip() or 'another process'}"
                raise ClusterError(what, where=str(path.parent), remedy=remedy, code="PFB-K10")
            time.sleep(0.1)
        holder = f"host {socket.gethostname()}, process {os.getpid()}\n".encode()
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), holder)
        except OSError as error:
            raise storage_error(error, path, len(holder)) from error
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TrialFolder:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @property
    def id(self) -> str:
        return self.path.name

    def write_spec(self, spec: TrialSpec) -> None:
        """Write the spec once; it never changes, because the folder's name is its hash."""
        if not (self.path / "spec.json").exists():
            write_json(self.path / "spec.json", spec.model_dump(mode="json"))

    def spec(self) -> TrialSpec:
        """What the trial is; StateError when spec.json is not what the folder is named after."""
        path = self.path / "spec.json"
        try:
            spec = TrialSpec.model_validate(read_json(path))
        except ValidationError as error:
            raise _damaged(path, f"is no specification ({error.error_count()} faults)") from error
        if spec.id != self.id:
            raise StateError(
                f"describes trial {spec.id}, not {self.id}",
                where=str(path),
                remedy="remove the folder of this trial; the same command makes it anew",
                code="PFB-K09",
            )
        return spec

    def result(self) -> dict[str, Any] | None:
        """The final result, or None while there is none."""
        return _outcome(self.path / "result.json")

    def measurement(self) -> dict[str, Any] | None:
        """Time and memory, or None while they were not measured."""
        return _outcome(self.path / "measurement.json")

    def end(self, action: Action) -> dict[str, Any] | None:
        """How `action` ended, or None while it did not."""
        return _outcome(self._record(action))

    def _record(self, action: Action) -> Path:
        return self.path / RECORDS.get(action, "result.json")

    @contextmanager
    def alone(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Hold the trial for one process, and remove what one that was killed left unfinished.

        A driver that dies takes its trials with it, but not at once: its successor waits here.
        Raises ClusterError naming the process that holds the trial for longer.
        """
        remedy = "end that process, then the same command with --retry-failed"
        with _held(self.path / "trial.lock", patience_s, remedy):
            remove_temporary(self.path, self.checkpoints, self.path / "masks")
            yield

    def begin(self, action: Action) -> int:
        """Write down that `action` starts; the number of this start, counted from 1."""
        path = self.path / "attempts.csv"
        lines = path.read_text() if path.exists() else "action,attempt,started\n"
        attempt = self.starts(action) + 1
        line = f"{action},{attempt},{time.strftime('%Y-%m-%dT%H:%M:%S')}\n"
        write_bytes(path, (lines + line).encode())
        return attempt

    def starts(self, action: Action) -> int:
        """How often `action` was started."""
        path = self.path / "attempts.csv"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(line.startswith(f"{action},") for line in lines)

    def write_mask(self, case: str, mask: NDArray[np.bool_]) -> None:
        """Keep the mask (D, H, W) that is scored for `case`."""
        content = io.BytesIO()
        np.savez_compressed(content, mask=mask)
        write_bytes(self.mask_path(case), content.getvalue())

    def mask(self, case: str) -> NDArray[np.bool_]:
        """The mask (D, H, W) that was scored for `case`; StateError when it is not there."""
        path = self.mask_path(case)
        try:
            with np.load(path, allow_pickle=False) as content:
                return content["mask"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            remedy = "remove the folder of this trial; the same command makes it anew"
            what = "has no readable mask"
            raise StateError(what, where=str(path), remedy=remedy, code="PFB-K08") from error

    def mask_path(self, case: str) -> Path:
        """Where the mask of `case` is; DataError for a name that could lead out of the folder."""
        if not valid_case_id(case):
            raise unusable_id(case)
        return self.path / "masks" / f"{case}.npz"

    def sums(self) -> dict[str, str]:
        """SHA-256 of what a finished trial consists of: name below the folder -> digits."""
        names = ("history.csv", "weights.safetensors", "cases.csv")
        files = [*(self.path / name for name in names), *sorted(self.path.glob("masks/*.npz"))]
        return {
            path.relative_to(self.path).as_posix(): sha256(path) for path in files if path.exists()
        }

    def state(self) -> State:
        result = self.result()
        if result is not None:
            return "ok" if result["status"] == "ok" else "failed"
        return "interrupted" if self.checkpoints.exists() else "new"

    def write_failure(self, action: Action, reason: str, detail: str) -> None:
        """Record why there are no numbers: a row of the table with a reason and no metrics.

        What has ended already stays as it is.
        """
        if self.end(action):
            return
        record = {"schema": 1, "status": "failed", "reason": reason, "detail": detail}
        write_json(self._record(action), record | {"attempts": self.starts(action)})

    def forget_failure(self) -> None:
        """Let a failed trial run again; what it reported is kept beside."""
        for name in ("result.json", "measurement.json"):
            path = self.path / name
            if path.exists() and read_json(path)["status"] != "ok":
                number = len(list(self.path.glob("failure-*.json"))) + 1
                path.rename(self.path / f"failure-{number}.json")
                crash_point("failure-set-aside")


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.path / "trials" / trial_id)

    def read(self) -> dict[str, Any]:
        """run.json; StateError when this is no run folder."""
        if not (self.path / "run.json").exists():
            remedy = "pass the folder that `pfbench run` printed as its output"
            what = "is not a run folder"
            raise StateError(what, where=str(self.path), remedy=remedy, code="PFB-K02")
        content = read_json(self.path / "run.json")
        if content.get("schema") != SCHEMA:
            what = f"was written by another version (schema {content.get('schema')}, not {SCHEMA})"
            raise StateError(what, where=str(self.path / "run.json"), remedy="another --out",
                             code="PFB-K07")  # fmt: skip
        self._tell_of_plugins(content)
        return content

    def _tell_of_plugins(self, content: dict[str, Any]) -> None:
        """Names and titles of what plug-ins brought to the run; none of their code."""
        try:
            registry.tell(content.get("plugins", []))
            suite_file.tell(content.get("suite_files", {}))
        except (ValidationError, TypeError, AttributeError) as error:
            what = "says nothing sensible of plug-ins or suites"
            raise _damaged(self.path / "run.json", what) from error

    def write(self, content: dict[str, Any]) -> None:
        write_json(self.path / "run.json", {**content, "schema": SCHEMA})

    def trials(self) -> list[TrialFolder]:
        """The trials of the run, in the order of its table."""
        return [self.trial(trial_id) for trial_id in self.read()["trials"]]

    def create(self) -> None:
        """Make the folder, readable by its owner only: it may hold what patients' data tell."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            shown = ascii(str(self.path))
            raise UsageError("is no name in UTF-8", where=shown, remedy="another --out",
                             code="PFB-C18") from error  # fmt: skip
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            is_file = isinstance(error, FileExistsError)
            why = os.strerror(error.errno or errno.EIO).lower()
            raise self._unusable(
                "is a file, not a folder" if is_file else f"cannot be created: {why}"
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._unusable("is not writable")

    def _unusable(self, what: str) -> StorageError:
        remedy = "pass --out with a folder that you may write to"
        return StorageError(what, where=str(self.path), remedy=remedy, code="PFB-S02")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one driver; the lock of a dead process is no lock.

        Raises ClusterError naming the host and process that holds it.
        """
        with _held(self.path / "driver.lock", 0, "wait for it to end, or pass another --out"):
            crash_point("locked")
            remove_temporary(self.path)
            yield
