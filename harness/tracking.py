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
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import harness
from harness.errors import TrackingError, UsageError
from harness.ledger import RunFolder, TrialFolder
from harness.systems import system

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
DERIVED = ("table.csv", "table.md", "figures/*.png", "figures/*.svg")
EVERY_S = 3.0
BATCH = 900  # MLflow takes 1000 metrics at a time
METRICS = ("dice", "jaccard", "hd95_mm", "hd95_max_mm", "hd95_voxels")
MEASURED = {
    "inference_s_p50": "perf/inference_s.p50",
    "inference_s_p90": "perf/inference_s.p90",
    "inference_peak_mib": "mem/inference_peak_mib",
}
SIZES = {
    "parameters": "model/parameters",
    "parameters_inference": "model/parameters_inference",
    "gflops_per_volume": "model/gflops_per_volume",
}


def default_uri(run_dir: Path) -> str:
    """sqlite in the run folder."""
    return f"sqlite:///{run_dir.absolute() / 'mlflow.db'}"


def redact(text: str) -> str:
    """`text` without the user and password of a URI in it."""
    return re.sub(r"(\w+://)[^/\s@]*@", r"\1***@", text)


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
        self.run = folder.read()
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
        children = self._children()
        for trial in self.folder.trials():
            self._trial(trial, parent, children.get(trial.id))
        self._finish_parent(parent)
        return Summary(len(self.run["trials"]), self.created, self.metrics)

    def _tags(self) -> dict[str, str]:
        return {
            "pfbench.run_id": self.run["run_id"],
            "pfbench.suite": " ".join(self.run["suites"]),
            "pfbench.dataset": self.run["dataset"],
            "pfbench.profile": self.run["profile"],
            "pfbench.protocol": self.run["protocol_hash"],
        }

    def _search(self, kind: str) -> list[Any]:
        mine = f"tags.`pfbench.run_id` = '{self.run['run_id']}'"
        query = f"{mine} and tags.`pfbench.kind_of_run` = '{kind}'"
        return list(self.client.search_runs([self.experiment], query, max_results=5000))

    def _parent(self) -> str:
        found = self._search("suite")
        if found:
            return found[0].info.run_id
        name = f"{' '.join(self.run['suites'])} {self.run['dataset']} {self.run['profile']}"
        tags = {**self._tags(), "pfbench.kind_of_run": "suite", "mlflow.runName": name}
        tags["pfbench.command"] = redact(self.run["command"])
        return self.client.create_run(self.experiment, tags=tags).info.run_id

    def _children(self) -> dict[str, Any]:
        return {run.data.tags["pfbench.trial_id"]: run for run in self._search("trial")}

    def _trial(self, trial: TrialFolder, parent: str, run: Any) -> None:
        if run is None:
            run = self._create_child(trial, parent)
        self._history(trial, run)
        result = trial.result()
        if result is None:
            return
        run_id = run.info.run_id
        measurement = trial.measurement() or {}
        self._finals(trial, run, final_metrics(result, measurement))
        known = run.data.tags
        tags = {"pfbench.status": result["status"], "pfbench.reason": result["reason"]}
        for key, value in tags.items():
            if known.get(key) != value:
                self.client.set_tag(run_id, key, value)
        status = "FINISHED" if result["status"] == "ok" else "FAILED"
        if run.info.status != status:
            for name in ("cases.csv", "history.csv"):
                if (trial.path / name).exists():
                    self.client.log_artifact(run_id, str(trial.path / name))
            self.client.set_terminated(run_id, status)

    def _create_child(self, trial: TrialFolder, parent: str) -> Any:
        spec = trial.spec()
        tags = {
            **self._tags(),
            "pfbench.kind_of_run": "trial",
            "pfbench.trial_id": trial.id,
            "pfbench.model": spec.system,
            "pfbench.kind": system(spec.system).kind,
            "pfbench.seed": str(spec.seed),
            "pfbench.fold": str(spec.fold),
            "pfbench.status": "running",
            "mlflow.parentRunId": parent,
            "mlflow.runName": self.run["names"][trial.id],
        }
        run = self.client.create_run(self.experiment, tags=tags)
        self.created += 1
        from mlflow.entities import Param

        params = flat(spec.model_dump(mode="json"))
        entries = [Param(key, str(value)[:6000]) for key, value in params.items()]
        for first in range(0, len(entries), 100):
            self.client.log_batch(run.info.run_id, params=entries[first : first + 100])
        return run

    def _history(self, trial: TrialFolder, run: Any) -> None:
        """Every epoch after the last one that the store has."""
        path = trial.path / "history.csv"
        if not path.exists():
            return
        import pandas as pd

        steps = [m.step for m in self.client.get_metric_history(run.info.run_id, "train/loss")]
        last = max(steps, default=0)
        for row in pd.read_csv(path).to_dict("records"):
            if row["epoch"] > last:
                values = {_metric(str(key)): value for key, value in row.items() if key != "epoch"}
                self._log(run.info.run_id, values, int(row["epoch"]))

    def _finals(self, trial: TrialFolder, run: Any, values: dict[str, float]) -> None:
        missing = {k: v for k, v in values.items() if k not in run.data.metrics}
        self._log(run.info.run_id, missing, 0)

    def _log(self, run_id: str, values: dict[str, Any], step: int) -> None:
        """All values of a step in one batch; what is no number is left out."""
        from mlflow.entities import Metric

        stamp = _now_ms()
        entries = [
            Metric(key, float(value), stamp, step)
            for key, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        # Written in this order: an epoch counts as there when its loss is.
        entries.sort(key=lambda metric: metric.key == "train/loss")
        for first in range(0, len(entries), BATCH):
            self.client.log_batch(run_id, metrics=entries[first : first + BATCH])
        self.metrics += len(entries)

    def _finish_parent(self, parent: str) -> None:
        """Tables and pictures, whenever one of them is not what the store has."""
        run = self.client.get_run(parent)
        derived = self._derived()
        state = self._state(derived)
        if self.run["status"] == "running" or run.data.tags.get("pfbench.state") == state:
            return
        for path in derived:
            place = path.parent.relative_to(self.folder.path).as_posix()
            self.client.log_artifact(parent, str(path), None if place == "." else place)
        table = self.folder.path / "table.md"
        if table.exists():
            self.client.set_tag(parent, "mlflow.note.content", table.read_text()[:8000])
        for key, value in self._tags().items():
            self.client.set_tag(parent, key, value)
        self.client.set_terminated(parent, "FINISHED")
        self.client.set_tag(parent, "pfbench.state", state)

    def _derived(self) -> list[Path]:
        """What the run folder holds for people to look at."""
        return sorted(path for kind in DERIVED for path in self.folder.path.glob(kind))

    def _state(self, derived: Sequence[Path]) -> str:
        """Changes whenever one of the derived files does."""
        total = 0
        for path in derived:
            total = zlib.crc32(path.name.encode() + path.read_bytes(), total)
        return f"{total:08x}"


def final_metrics(result: dict[str, Any], measurement: dict[str, Any]) -> dict[str, float]:
    """The names under which MLflow shows a finished trial; none of a failed one."""
    if result["status"] != "ok":
        return {}
    values: dict[str, float] = {}
    for name in METRICS:
        for part in ("mean", "std"):
            values[f"test/{name}.{part}"] = result["metrics"][f"{name}_{part}"]
    values |= {new: result[old] for old, new in SIZES.items() if old in result}
    values |= {f"mem/{name}": mib for name, mib in result["memory"].items()}
    values |= {new: measurement[old] for old, new in MEASURED.items() if old in measurement}
    return values


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as MLflow takes them: keys joined by dots."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = re.sub(r"[^\w\-. :/]", "_", f"{prefix}{key}")
        result |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return result


def _metric(column: str) -> str:
    return "val/dice" if column == "val_dice" else f"train/{column}"


def _now_ms() -> int:
    import time

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
