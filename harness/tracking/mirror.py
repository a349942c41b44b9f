"""MLflow as a mirror of the run folder, and the process that holds it up while a run goes on.

    python -m harness.tracking.mirror RUN_DIR --experiment NAME      # URI in MLFLOW_TRACKING_URI

One process writes, whatever the number of trials: a run is followed by one mirror, and
`pfbench mlflow sync` is the same thing once. Nothing here can stop or change a run.
"""

import argparse
import contextlib
import fcntl
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import harness
from harness.errors import PfbenchError, TrackingError, UsageError
from harness.runs.files import open_own, open_to_append
from harness.runs.redact import redact
from harness.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from harness.tracking.store import MlflowStore, Summary

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}
NO_PATH = re.compile(r"\?|%[0-9A-Fa-f]{2}")
EVERY_S = 3.0
SHARE = 0.05  # of one processor, at most, that looking may take
EXPERIMENT = "pfbench"


def default_uri(run_dir: Path) -> str:
    """The URI of the sqlite store in the run folder.

    Raises UsageError for a path with "?" or such as "%3F" in it, which a URI takes for another.
    """
    if found := NO_PATH.search(str(run_dir.absolute())):
        remedy = "another folder, --no-mlflow, or --tracking-uri with a store elsewhere"
        what = f"MLflow cannot keep a store below a folder with '{found[0]}' in its path"
        raise UsageError(what, where=str(run_dir), remedy=remedy, code="PFB-M11")
    return f"sqlite:///{run_dir.absolute() / 'mlflow.db'}"


def is_default(uri: str, run_dir: Path) -> bool:
    """Whether the URI is that of the store in the run folder."""
    return not NO_PATH.search(str(run_dir.absolute())) and uri == default_uri(run_dir)


def checked(uri: str) -> str:
    """The URI itself, checked. Raises UsageError for a kind of store that is not supported."""
    if urlsplit(uri).scheme not in SCHEMES:
        raise UsageError(
            f"'{redact(uri)}' is not a supported MLflow store",
            where="--tracking-uri",
            remedy=f"a URI that begins with {', '.join(f'{s}:' for s in SCHEMES)}",
            code="PFB-M11",
        )
    return uri


def sync_command(run_dir: Path, uri: str, experiment: str) -> str:
    """The command that copies the run to that store later; a password in the URI is left out."""
    words = ["pfbench", "mlflow", "sync", str(run_dir)]
    if not is_default(uri, run_dir):
        words += ["--tracking-uri", redact(uri)]
    if experiment != EXPERIMENT:
        words += ["--experiment", experiment]
    return shlex.join(words)


def mirror(run_dir: Path, uri: str, experiment: str) -> "Summary":
    """Bring the store to the state of the run folder; a second call adds nothing.

    An experiment that was deleted in MLflow is restored. Raises TrackingError (exit 8) when the
    store cannot be reached or written, StateError for a record of the run that is damaged.
    """
    return Synchroniser(run_dir, uri, experiment, restore=True).sync()


class Synchroniser:
    """Copies new results of a run folder to MLflow at each call; keeps the store between calls."""

    def __init__(self, run_dir: Path, uri: str, experiment: str, *, restore: bool) -> None:
        self.folder = RunFolder(run_dir)
        self.uri = checked(uri)
        self.experiment = experiment
        self.restore = restore
        self.store: MlflowStore | None = None
        self.turn = ""

    def sync(self) -> "Summary":
        """Copy new results to the store.

        Raises as `mirror` does; the next call then opens the store anew.
        """
        self.folder.manifest()
        with _alone(self.folder) as lock:
            lock.seek(0)
            if lock.read() != self.turn:  # another mirror of this run has written since
                self.store = None
            try:
                summary = self._open().sync()
                if self._open().displaced():
                    self.store = None
                    summary = self._open().sync()
            except PfbenchError:
                self.store = None
                raise
            except Exception as error:  # whatever MLflow or its database raise
                from harness.tracking.faults import told

                self.store = None
                again = sync_command(self.folder.path, self.uri, self.experiment)
                raise told(error, self.uri, again) from error
            self.turn = os.urandom(8).hex()
            lock.truncate(0)
            lock.write(self.turn)
            return summary

    def _open(self) -> "MlflowStore":
        if self.store is None:
            os.environ |= QUIET
            from harness.tracking.artifacts import home_of, refuse_linked_store
            from harness.tracking.faults import prepare_sqlite, sqlite_path
            from harness.tracking.store import MlflowStore

            path = sqlite_path(self.uri)
            if path is not None:
                if home_of(self.uri, self.folder.path):
                    refuse_linked_store(path)
                prepare_sqlite(path)
            self.store = MlflowStore(self.folder, self.uri, self.experiment, restore=self.restore)
        return self.store


@contextlib.contextmanager
def _alone(folder: RunFolder) -> Iterator[IO[str]]:
    """Hold the lock of the mirror: one mirror of a run at a time; another one waits."""
    with open_to_append(folder.path / "mlflow.lock", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


class Mirror:
    """The driver's handle on the process that follows a run."""

    def __init__(self, process: "subprocess.Popen[bytes] | None", log: Path, again: str) -> None:
        self.process = process
        self.log = log
        self.again = again
        """The command that copies later the results that this mirror could not copy."""

    def late(self, timeout_s: float = 120) -> TrackingError | None:
        """Let the mirror finish; returns an error to show or raise if results are missing then."""
        why = self.finish(timeout_s)
        if not why:
            return None
        what = f"MLflow could not be brought up to date: {why}"
        return TrackingError(what, remedy=self.again, code="PFB-M02")

    def finish(self, timeout_s: float) -> str:
        """Let the mirror copy a last time and end; returns the reason of a failure, or ""."""
        if self.process is None:
            return "its process could not be started"
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"it took more than {timeout_s:.0f} s"
        except KeyboardInterrupt:  # nobody waits for it any longer
            self.process.kill()
            raise
        if code == 0:
            return ""
        return f"its process was ended by signal {-code}" if code < 0 else self._last_words()

    def _last_words(self) -> str:
        lines = (
            self.log.read_text(errors="replace", encoding="utf-8").split("\n")
            if self.log.exists()
            else []
        )
        said = [line for line in lines if line.startswith("error[")]
        return said[-1].partition(". Try: ")[0] if said else f"see {self.log}"


def environment(uri: str) -> dict[str, str]:
    """The environment of a process that opens the store: our packages are found, MLflow is quiet.

    The URI, which may hold a password, goes by it and not by the command line.
    """
    home = str(Path(harness.__file__).parent.parent)
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": paths}


def start(run_dir: Path, uri: str, experiment: str) -> Mirror:
    """Follow `run_dir` until `finish` is called or this process ends.

    A machine that has no room for one more process has a run without a mirror.
    """
    checked(uri)
    log = run_dir / "mlflow.log"
    process = None
    with contextlib.suppress(OSError), open_own(log, "ab") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "harness.tracking.mirror",
                str(run_dir),
                "--experiment",
                experiment,
            ],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=environment(uri),
            start_new_session=True,  # Ctrl-C is for the driver; it then ends this one in order
        )
    return Mirror(process, log, sync_command(run_dir, uri, experiment))


def follow(run_dir: Path, uri: str, experiment: str) -> int:
    """Mirror every few seconds until standard input closes, then once more.

    Gives way to trials: the lowest priority, and a pause that grows with what a look has cost.
    """
    closed = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    os.nice(19)
    synchroniser = Synchroniser(run_dir, uri, experiment, restore=False)
    pause, said = EVERY_S, ""
    while True:
        last = closed.is_set()
        if last:
            synchroniser.store = None  # what was deleted in MLflow meanwhile is made again
        began = time.process_time()
        try:
            synchroniser.sync()
            pause = max(EVERY_S, (time.process_time() - began) / SHARE)
        except PfbenchError as error:
            if str(error) != said:
                print(error, file=sys.stderr, flush=True)
                said = str(error)
            pause = min(2 * pause, 60)
            if last:
                return error.exit_code
        if last:
            return 0
        closed.wait(pause)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.tracking.mirror", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--experiment", default=EXPERIMENT)
    options = parser.parse_args()
    return follow(options.run_dir, os.environ["MLFLOW_TRACKING_URI"], options.experiment)


if __name__ == "__main__":
    sys.exit(main())
