"""What the harness adds to trials: the start of each, and the makespan of many on two cores.

A trial's process is forked from a zygote that has imported torch; the peer starts Python for each
trial. The time of Ray's own start is left out on both sides.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness.warm_trial  # noqa: F401  so that what is forked is as large as for a real trial
from benchmarks.timing import Row
from harness.supervise import supervise
from tuning.launch import Cluster, Job, ray_cluster, run_jobs

CORES = 2
STARTS, PEER_STARTS = 100, 8
BURNS, BURN_S = 8, 20
Work = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]


def rows() -> Iterator[Row]:
    with ray_cluster(Cluster(max_concurrent=CORES)):
        forked = partial(supervise, function=f"{__name__}:do_nothing")
        ours = _makespan_s(STARTS, forked) / STARTS
        peer = _makespan_s(PEER_STARTS, start_python) / PEER_STARTS
        yield Row("trial that does nothing", "a process each", 1000 * ours, 1000 * peer)
        ours = _makespan_s(BURNS, partial(supervise, function=f"{__name__}:burn"))
        ideal = BURNS * BURN_S / CORES
        yield Row(f"{BURNS} trials of {BURN_S} s", "no overhead", 1000 * ours, 1000 * ideal)


def _makespan_s(number: int, work: Work) -> float:
    """Seconds from handing over so many trials until the last has ended well."""
    with tempfile.TemporaryDirectory() as run:
        for trial in range(number):
            (Path(run) / "trials" / str(trial)).mkdir(parents=True)
        task = {"action": "train", "run": run, "cache": run, "threads": 1, "silence_s": 60}
        jobs = [Job(str(n), {**task, "trial": str(n)}, cpus=1) for n in range(number)]
        began = time.perf_counter()
        outcomes = run_jobs(jobs, work, Cluster(max_concurrent=CORES), lambda *_: None)
        seconds = time.perf_counter() - began
    if any(outcome["reason"] != "ok" for outcome in outcomes.values()):
        raise RuntimeError(f"a trial did not end well: {outcomes}")
    return seconds


def start_python(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """The peer: a new Python imports what a trial needs."""
    code = "import harness.warm_trial as trial; trial.main(['--help'])"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return {"reason": "ok"}


def do_nothing(arguments: Sequence[str]) -> int:
    """A trial that has nothing to do."""
    print(json.dumps({"event": "end", "reason": "ok"}), flush=True)
    return 0


def burn(arguments: Sequence[str]) -> int:
    """A trial that keeps a core busy and reports every second."""
    for second in range(BURN_S):
        until = time.perf_counter() + 1
        while time.perf_counter() < until:
            pass
        print(json.dumps({"event": "epoch", "epoch": second + 1}), flush=True)
    return do_nothing(arguments)
