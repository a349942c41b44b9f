"""What the harness adds to trials: start, makespan of many on two cores, reports, imports.

A trial's process is forked from one that has imported torch; the peer starts Python for each
trial. The time of Ray's own start is left out on both sides, and with it that of our imports, which
begin with it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness.trials.preload  # noqa: F401  so that what is forked is as large as for a real trial
from benchmarks.timing import Row
from harness.trials.execute import ray_with_imports
from harness.trials.supervise import supervise
from harness.trials.task import Task
from tuning.launch import Cluster, Job, run_jobs

CORES = 2
STARTS, PEER_STARTS = 100, 8
BURNS, BURN_S = 8, 20
REPORTS, MLFLOW_REPORTS, IMPORTS = 500, 100, 3
TERMS = ("loss", "loss_ust", "loss_srt", "loss_sgl", "loss_tel", "loss_ssl", "lr", "seconds")
EPOCH = {name: 0.123456789 for name in TERMS}
Work = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]


def rows() -> Iterator[Row]:
    with ray_with_imports(Cluster(max_concurrent=CORES)):
        forked = partial(supervise, function=f"{__name__}:do_nothing")
        ours = _makespan_s(STARTS, forked) / STARTS
        peer = _makespan_s(PEER_STARTS, start_python) / PEER_STARTS
        yield Row("trial that does nothing", "0.25 s", 1000 * ours, 250, 1)
        yield Row("trial that does nothing", "a process each", 1000 * ours, 1000 * peer)
        ours = _makespan_s(BURNS, partial(supervise, function=f"{__name__}:burn"))
        ideal = BURNS * BURN_S / CORES
        yield Row(
            f"{BURNS} trials of {BURN_S} s", "no overhead", 1000 * ours, 1000 * ideal, 1 / 1.05
        )
        ours, peer = _report_s(), _mlflow_s()
        yield Row("report of an epoch", "1 ms", 1000 * ours, 1, 1)
        yield Row("report of an epoch", "mlflow.log_metrics, sqlite", 1000 * ours, 1000 * peer)
    ours, peer = (
        _importing_s("harness.trials.preload"),
        _importing_s("harness.trials.preload, monai"),
    )
    yield Row("what a trial imports", "and MONAI", 1000 * ours, 1000 * peer)


def _report_s() -> float:
    """Seconds that a trial spends on one report; who mirrors it to MLflow reads it afterwards."""
    with tempfile.TemporaryDirectory() as run:
        (Path(run) / "trials" / "0").mkdir(parents=True)
        job = Job("0", Task("train", Path(run), "0", Path(run)), cpus=1)
        talking = partial(supervise, function=f"{__name__}:report")
        outcome = run_jobs([job], talking, Cluster(max_concurrent=CORES), lambda *_: None)["0"]
        if outcome["reason"] != "ok":
            raise RuntimeError(f"the trial did not end well: {outcome}")
        return float((Path(run) / "seconds").read_text(encoding="utf-8")) / REPORTS


def _mlflow_s() -> float:
    """The same by a trial that would log to MLflow itself."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        with mlflow.start_run():
            mlflow.log_metrics(EPOCH, step=0)
            began = time.perf_counter()
            for step in range(1, 1 + MLFLOW_REPORTS):
                mlflow.log_metrics(EPOCH, step=step)
            return (time.perf_counter() - began) / MLFLOW_REPORTS


def _importing_s(modules: str) -> float:
    """Median seconds that a new Python takes to import `modules`; the first time warms the disk."""
    spent = []
    for _ in range(IMPORTS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {modules}"], check=True)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def _makespan_s(number: int, work: Work) -> float:
    """Seconds from handing over so many trials until the last has ended well."""
    with tempfile.TemporaryDirectory() as run:
        for trial in range(number):
            (Path(run) / "trials" / str(trial)).mkdir(parents=True)
        tasks = [Task("train", Path(run), str(n), Path(run)) for n in range(number)]
        jobs = [Job(task.trial, task, cpus=1) for task in tasks]
        began = time.perf_counter()
        outcomes = run_jobs(jobs, work, Cluster(max_concurrent=CORES), lambda *_: None)
        seconds = time.perf_counter() - began
    if any(outcome["reason"] != "ok" for outcome in outcomes.values()):
        raise RuntimeError(f"a trial did not end well: {outcomes}")
    return seconds


def start_python(task: Any, report: Any, node: str) -> dict[str, Any]:
    """The peer: a new Python imports what a trial needs."""
    code = "import harness.trials.preload as trial; trial.main(['--help'])"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return {"reason": "ok"}


def do_nothing(arguments: Sequence[str]) -> int:
    """A trial that has nothing to do."""
    print(json.dumps({"event": "end", "reason": "ok"}), flush=True)
    return 0


def report(arguments: Sequence[str]) -> int:
    """A trial that reports only, and leaves in the run's folder how long that took."""
    began = time.perf_counter()
    for epoch in range(REPORTS):
        print(json.dumps({"event": "epoch", "of": REPORTS, **EPOCH, "epoch": epoch}), flush=True)
    _, run, *_ = arguments
    Path(run, "seconds").write_text(str(time.perf_counter() - began), encoding="utf-8")
    return do_nothing(arguments)


def burn(arguments: Sequence[str]) -> int:
    """A trial that keeps a core busy and reports every second."""
    for second in range(BURN_S):
        until = time.perf_counter() + 1
        while time.perf_counter() < until:
            pass
        print(json.dumps({"event": "epoch", "epoch": second + 1}), flush=True)
    return do_nothing(arguments)
