"""Time and memory of what reads a run folder, against how much is in it; records are synthetic.

    a report     1000 cases x 8 systems x 3 seeds: below 20 s and 1 GB
    a look       10,000 finished trials listed and skipped: below 5 s
    MLflow sync  ten times the cases: at most ten times as long

Each in a process of its own, so that memory is its own, too; importing is part of the time.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Row

TOP = Path(__file__).parents[1]
TRIALS = 10_000
PREPARE = """
import json, resource, sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from helper_made_run import MadeRun
from harness.runs.run_folder import RunFolder
path, number = Path(sys.argv[1]), int(sys.argv[2])
"""
REPORT = """
MadeRun(path, cases=number, seeds=(0, 1, 2))
began = time.perf_counter()
from harness.report.write import render
render([RunFolder(path)], pictures=False)
"""
SYNC = """
MadeRun(path, cases=number, seeds=(0,))
from harness.tracking.mirror import default_uri, mirror
mirror(path, default_uri(path), "first")  # makes the store
began = time.perf_counter()
mirror(path, default_uri(path), "second")
"""
LOOK = """
run = MadeRun(path, cases=4, rows=["unet3d"])
trial = next(iter(run.trials.values()))
content = {file.name: file.read_bytes() for file in trial.path.iterdir() if file.is_file()}
names = [f"{copy:016x}" for copy in range(number)]
for name in names:
    trial.path.with_name(name).mkdir()
    for file, data in content.items():
        trial.path.with_name(name).joinpath(file).write_bytes(data)
run.change(trials=names)
began = time.perf_counter()
left = [t for t in RunFolder(path).trials() if not (t.end("train") and t.end("measure"))]
assert not left
"""
MEASURE = """
seconds = time.perf_counter() - began
peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds, peak_mib]))
"""


def rows() -> Iterator[Row]:
    seconds, peak_mib = _measured(REPORT, 1000)
    small, _ = _measured(REPORT, 100)
    yield Row("report, 1000 x 8 x 3", "20 s", 1000 * seconds, 20_000, 1)
    yield Row("report, 1000 x 8 x 3", "1 GB", peak_mib, 1e9 / 2**20, 1, "MiB")
    yield Row("report, 1000 cases", "10 x that of 100", 1000 * seconds, 10_000 * small, 1)
    seconds, _ = _measured(LOOK, TRIALS)
    yield Row("10,000 trials, a look", "5 s", 1000 * seconds, 5000, 1)
    first, second, third = (_measured(SYNC, cases)[0] for cases in (10, 100, 1000))
    yield Row("MLflow sync, 100 cases", "10 x that of 10", 1000 * second, 10_000 * first, 1)
    yield Row("MLflow sync, 1000 cases", "10 x that of 100", 1000 * third, 10_000 * second, 1)


def _measured(code: str, number: int) -> tuple[float, float]:
    """Seconds, and peak memory in MiB, of `code` on `number` cases or trials."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", PREPARE + code + MEASURE, f"{folder}/run", str(number)],
            cwd=TOP,
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
        )
    seconds, peak_mib = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak_mib
