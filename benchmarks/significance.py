"""Intervals, tests and ranks of 1000 cases x 10 systems x 5 trainings: at most 10 s and 1 GiB.

What a report says of a table: of Dice, Jaccard and HD95 the interval of each system, every two
systems with Holm's correction, and the ranks in resampled patients; patients and trainings are both
taken for a sample. In a process of its own, so that memory is its own; importing is part of the
time. One pair of single trainings is held against scipy's paired t-test before.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, require_equal
from harness.results.compare import Found, cells
from harness.results.intervals import paired_difference
from harness.results.misses import Misses
from harness.results.scores import Scores
from harness.results.standings import Standing
from harness.runs.measures import SCORES, Measure

TOP = Path(__file__).parents[1]
CASES, SYSTEMS, SEEDS = 1000, 10, 5
LIMIT_S, LIMIT_MIB = 10, 1024


def rows() -> Iterator[Row]:
    _require_scipys_p()
    command = [sys.executable, "-m", "benchmarks.significance"]
    done = subprocess.run(
        command, cwd=TOP, capture_output=True, text=True, encoding="utf-8", check=True
    )
    seconds, peak_mib = json.loads(done.stdout)
    case = f"{CASES} cases x {SYSTEMS} systems x {SEEDS} trainings"
    yield Row(case, f"{LIMIT_S} s", 1000 * seconds, 1000 * LIMIT_S, 1)
    yield Row(case, f"{LIMIT_MIB} MiB", peak_mib, LIMIT_MIB, 1, "MiB")


def drawn(metric: Measure, seeds: int = SEEDS) -> dict[str, Scores]:
    """Scores of systems that differ by half a point from one to the next, in the metric's unit."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 8, CASES)
    found = {}
    for system in range(SYSTEMS):
        around = 75 + system / 2 + hard
        values = np.clip(around + rng.normal(0, 4, (seeds, CASES)), 0, 100)
        dice = values if metric.side > 0 else 100 - values
        runs = {
            seed: {f"case-{place:04}": float(value) for place, value in enumerate(of_seed)}
            for seed, of_seed in enumerate(dice)
        }
        found[f"system-{system}"] = Scores(runs)
    return found


def _require_scipys_p() -> None:
    from scipy.stats import ttest_rel

    first, second, *_ = drawn(SCORES[0], seeds=1).values()
    ours = paired_difference(first, second).p
    if ours is None:
        raise ValueError("a pair of a thousand cases was not tested")
    theirs = float(ttest_rel(first.values, second.values).pvalue)
    require_equal("p of a pair", ours, theirs, 1e-9 * theirs)


def _report() -> None:
    """Compute all that a report says of the scores of one table."""
    for metric in SCORES:
        scores = drawn(metric)
        titles = {name: name for name in scores}
        standing = Standing(metric, titles, scores, dict.fromkeys(scores, Misses(0, 0)), ())
        found = Found(standing, tuple(standing.comparisons))
        pairs = [cells(found, each) for each in found.comparisons]
        if len(pairs) != SYSTEMS * (SYSTEMS - 1) // 2:
            raise ValueError("not every two systems were compared")
        if len(standing.intervals) != SYSTEMS or standing.ranking is None:
            raise ValueError("not every system has an interval and a rank")


if __name__ == "__main__":
    began = time.perf_counter()
    _report()
    elapsed = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([elapsed, peak]))
