"""MLflow as a mirror of the run folder: look at what the store has, add what is missing.

    python -m harness.tracking RUN_DIR --experiment NAME      # URI in MLFLOW_TRACKING_URI

One process writes, whatever the number of trials: a run is followed by one mirror, and
`pfbench mlflow sync` is the same thing once. Nothing here can stop or change a run.
"""

import argparse
import contextlib
import fcntl
import math
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import harness
from harness.errors import TrackingError, UsageError
from harness.ledger import RunFolder
from harness.mirrored import Child, Parent, children_of, metric, parent_of
from harness.redact import redact

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
EVERY_S = 3.0
BATCH = 900  # MLflow takes 1000 metrics at a time


def default_uri(run_dir: Path) -> str:
    """sqlite in the run folder."""
    return f"sqlite:///{run_dir.absolute() / 'mlflow.db'}"


def checked(uri: str) -> str:
    """The URI itself; UsageError for a kind of store that is not supported."""
    if urlsplit(uri).scheme not in SCHEMES:
        raise UsageError(
            f"'{redact(uri)}' is not a supported MLflow store",
            where="--tracking-uri",
            remedy=f"a URI that begins with {', '.join(f'{s}:' for s in SCHEMES)}",
            code="PFB-M11",
        )
    return uri


@dataclass(frozen=True)
class Summary:
    """What one look at the run folder brought over."""

    trials: int
    created: int
    metrics: int

    def __str__(self) -> str:
        return f"{self.trials} trials in MLflow: {self.created} new, {self.metrics} values added"


def mirror(run_dir: Path, uri: str, experiment: str) -> Summary:
    """Bring the store to the state of the run folder; done twice, the second adds nothing.

    Raises TrackingError (exit 8) when the store cannot be reached or written.
    """
    checked(uri)
    folder = RunFolder(run_dir)
    folder.read()
    os.environ |= QUIET
    with _alone(folder):
        try:
            return _Mirror(folder, uri, experiment).bring_over()
        except Exception as error:  # whatever MLflow or its database raise
            text = redact(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise TrackingError(
                f"MLflow cannot be written ({type(error).__name__}: {text[:300]})",
                where=redact(uri),
                remedy=f"pfbench mlflow sync {run_dir}",
                code="PFB-M01",
            ) from error


@contextlib.contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """One mirror of a run at a time; another one waits."""
    with open(folder.path / "mlflow.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Mirror:
    def __init__(self, folder: RunFolder, uri: str, experiment: str) -> None:
        from mlflow.tracking import MlflowClient

        self.folder = folder
        self.parent = parent_of(folder)
        self.client = MlflowClient(uri)
        self.experiment = self._experiment(uri, experiment)
        self.created = self.metrics = 0

    def _experiment(self, uri: str, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = None
        if uri.startswith("sqlite:///"):
            place = Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts"
        return self.client.create_experiment(name, None if place is None else place.as_uri())

    def bring_over(self) -> Summary:
        parent = self._parent()
        known = {run.data.tags["pfbench.trial_id"]: run for run in self._search("trial")}
        children = list(children_of(self.folder))
        for child in children:
            self._child(child, known.get(child.id) or self._create_child(child, parent))
        self._finish_parent(parent)
        return Summary(len(children), self.created, self.metrics)

    def _search(self, kind: str) -> list[Any]:
        mine = f"tags.`pfbench.run_id` = '{self.parent.id}'"
        query = f"{mine} and tags.`pfbench.kind_of_run` = '{kind}'"
        return list(self.client.search_runs([self.experiment], query, max_results=5000))

    def _parent(self) -> str:
        found = self._search("suite")
        if found:
            return found[0].info.run_id
        tags = {**self.parent.tags, "pfbench.kind_of_run": "suite"}
        tags["mlflow.runName"] = self.parent.name
        return self.client.create_run(self.experiment, tags=tags).info.run_id

    def _child(self, child: Child, run: Any) -> None:
        self._history(child, run)
        run_id = run.info.run_id
        missing = {k: v for k, v in child.finals.items() if k not in run.data.metrics}
        self._log(run_id, missing, 0, child.marker)
        for key, value in child.outcome.items():
            if run.data.tags.get(key, "") != value:
                self.client.set_tag(run_id, key, value)
        status = {"ok": "FINISHED", "failed": "FAILED"}.get(child.status)
        if status and run.info.status != status:
            for path in child.artifacts:
                self.client.log_artifact(run_id, str(path))
            self.client.set_terminated(run_id, status)

    def _create_child(self, child: Child, parent: str) -> Any:
        from mlflow.entities import Param

        tags = {
            **child.tags,
            "pfbench.kind_of_run": "trial",
            "pfbench.trial_id": child.id,
            "mlflow.parentRunId": parent,
            "mlflow.runName": child.name,
        }
        run = self.client.create_run(self.experiment, tags=tags)
        self.created += 1
        entries = [Param(key, str(value)[:6000]) for key, value in child.params.items()]
        for first in range(0, len(entries), 100):
            self.client.log_batch(run.info.run_id, params=entries[first : first + 100])
        return run

    def _history(self, child: Child, run: Any) -> None:
        """Every epoch after the last one that the store has."""
        if not child.history.exists():
            return
        import pandas as pd

        steps = [m.step for m in self.client.get_metric_history(run.info.run_id, child.marker)]
        last = max(steps, default=0)
        for row in pd.read_csv(child.history).to_dict("records"):
            if row["epoch"] > last:
                values = {metric(str(key)): value for key, value in row.items() if key != "epoch"}
                self._log(run.info.run_id, values, int(row["epoch"]), child.marker)

    def _log(self, run_id: str, values: dict[str, Any], step: int, marker: str) -> None:
        """All values of a step in one batch, the marker last; what is no number is left out."""
        from mlflow.entities import Metric

        stamp = _now_ms()
        entries = [
            Metric(key, float(value), stamp, step)
            for key, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        entries.sort(key=lambda entry: entry.key == marker)
        for first in range(0, len(entries), BATCH):
            self.client.log_batch(run_id, metrics=entries[first : first + BATCH])
        self.metrics += len(entries)

    def _finish_parent(self, run_id: str) -> None:
        """Tables and pictures, whenever one of them is not what the store has."""
        run = self.client.get_run(run_id)
        state = _state(self.parent)
        if not self.parent.finished or run.data.tags.get("pfbench.state") == state:
            return
        for path in self.parent.artifacts:
            place = path.parent.relative_to(self.folder.path).as_posix()
            self.client.log_artifact(run_id, str(path), None if place == "." else place)
        tags = {**self.parent.tags, "mlflow.note.content": self.parent.description[:8000]}
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)
        self.client.set_terminated(run_id, "FINISHED")
        self.client.set_tag(run_id, "pfbench.state", state)


def _state(parent: Parent) -> str:
    """Changes whenever one of the derived files does."""
    total = 0
    for path in parent.artifacts:
        total = zlib.crc32(path.name.encode() + path.read_bytes(), total)
    return f"{total:08x}"


def _now_ms() -> int:
    return int(time.time() * 1000)


class Mirror:
    """The process that follows a run; the driver's handle on it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def finish(self, timeout_s: float) -> bool:
        """Let it look a last time and end; False when it could not bring everything over."""
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            return self.process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            return False


def start(run_dir: Path, uri: str, experiment: str) -> Mirror:
    """Follow `run_dir` until `finish` is called or this process ends.

    The URI, which may hold a password, goes by the environment and not by the command line.
    """
    checked(uri)
    home = str(Path(harness.__file__).parent.parent)
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(run_dir / "mlflow.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.tracking", str(run_dir), "--experiment", experiment],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **QUIET, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the driver; it then ends this one in order
        )
    return Mirror(process)


def follow(run_dir: Path, uri: str, experiment: str) -> int:
    """Mirror every few seconds until standard input closes, then once more."""
    closed = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    pause = EVERY_S
    while True:
        last = closed.is_set()
        try:
            mirror(run_dir, uri, experiment)
            pause = EVERY_S
        except TrackingError as error:
            print(error, file=sys.stderr, flush=True)
            pause = min(2 * pause, 60)
            if last:
                return error.exit_code
        if last:
            return 0
        closed.wait(pause)


def ui(uri: str, port: int) -> int:
    """MLflow's own pages on 127.0.0.1 until interrupted; returns its exit code."""
    place = f"http://127.0.0.1:{port}"
    print(f"MLflow on {place}")
    print("compare trials: filter by  tags.`pfbench.kind_of_run` = 'trial'  and press Compare")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, **QUIET, "MLFLOW_BACKEND_STORE_URI": checked(uri)}
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.tracking", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--experiment", default="pfbench")
    options = parser.parse_args()
    return follow(options.run_dir, os.environ["MLFLOW_TRACKING_URI"], options.experiment)


if __name__ == "__main__":
    sys.exit(main())
