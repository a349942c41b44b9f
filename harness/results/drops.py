"""How much worse trained networks score on data of another origin than on their own test cases.

    rows of table5@b ─► the same networks on the cases of their split ─► Drop

The patients of the two sides are not the same, so nothing is paired: the interval of the difference
is made from the intervals of the sides (Zou & Donner, Statistics in Medicine 27 (2008) 1693). The
networks are the same on both sides, so that a patient counts with the mean over them, and the
interval speaks of new patients for these networks.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.results.intervals import Interval
from harness.results.rows import ResultRow
from harness.results.scores import Scores
from harness.results.standings import Standing, stand
from harness.runs.files import JsonObject
from harness.runs.measures import SCORES, Measure
from harness.runs.suite import parted
from harness.runs.trial_folder import TrialFolder

HEADINGS = ("System", "Metric", "Internal test", "Here", "Worse by [95 %]")
RULE = (
    "worse by: of Dice and Jaccard the difference of the means in percentage points, of HD95 that "
    "of the medians in mm, with its interval for new patients and these networks; the patients of "
    "the two tests are not the same, so that nothing is paired"
)


class Drop(NamedTuple):
    """One metric of one system here and on the internal test, in the unit of the table."""

    key: str
    title: str
    metric: Measure
    internal: Interval
    external: Interval
    worse: Interval
    """The amount by which the score is worse here; negative where it is better."""


def drops(rows: Sequence[ResultRow]) -> list[Drop]:
    """The drops of the rows of one table on data of another origin; unfinished rows have none."""
    inside = [_at_home(row) for row in rows]
    found = []
    for metric in SCORES:
        here, home = (_of_networks(stand(side, metric)) for side in (rows, inside))
        for key, external in here.intervals.items():
            if (internal := home.intervals.get(key)) is not None:
                worse = difference(internal, external)
                if not here.higher_is_better:
                    worse = difference(external, internal)
                found.append(Drop(key, here.titles[key], metric, internal, external, worse))
    order = {row.key: place for place, row in enumerate(rows)}
    return sorted(found, key=lambda drop: order[drop.key])


def _of_networks(standing: Standing) -> Standing:
    """The standing with the mean over the networks in place of the score of each."""
    means = {
        key: Scores({0: dict(zip(scores.patients, map(float, scores.values), strict=True))})
        for key, scores in standing.scores.items()
    }
    return replace(standing, scores=means)


def difference(first: Interval, second: Interval) -> Interval:
    """First minus second, of independent patients, with its interval."""
    estimate = first.estimate - second.estimate
    patients = min(first.n_patients, second.n_patients)
    seeds = min(first.n_seeds, second.n_seeds)
    if None in (first.low, first.high, second.low, second.high):
        return Interval(estimate, None, None, patients, seeds, first.note or second.note)
    assert first.low is not None and first.high is not None
    assert second.low is not None and second.high is not None
    low = estimate - math.hypot(first.estimate - first.low, second.high - second.estimate)
    high = estimate + math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(estimate, low, high, patients, seeds)


def _at_home(row: ResultRow) -> ResultRow:
    """The row with the same networks, tested on the cases of their split."""
    trials = []
    for trial in row.trials:
        spec = trial.spec().model_copy(update={"test": None})
        trials.append(TrialFolder(trial.path.parent / spec.id))
    table, _ = parted(row.suite)
    return replace(row, suite=table, trials=tuple(trials), again=())


def cells(drop: Drop) -> list[str]:
    """The cells of one line under `HEADINGS`."""
    digits, worse = drop.metric.digits, drop.worse
    span = worse.note
    if worse.low is not None and worse.high is not None:
        span = f"[{worse.low:+.{digits}f}, {worse.high:+.{digits}f}]"
    elif span:
        span = f"({span})"
    what = "HD95, median (mm)" if drop.metric.centre == "median" else drop.metric.title
    return [
        drop.title,
        what,
        f"{drop.internal.estimate:.{digits}f}",
        f"{drop.external.estimate:.{digits}f}",
        f"{worse.estimate:+.{digits}f} {span}".rstrip(),
    ]


def record(suite: str, drop: Drop) -> JsonObject:
    """One drop for `--json`; figures are in the unit named by `unit`."""
    return {
        "suite": suite,
        "key": drop.key,
        "metric": drop.metric.key,
        "unit": drop.metric.difference_unit,
        "centre": drop.metric.centre,
        "internal": drop.internal.estimate,
        "external": drop.external.estimate,
        "worse_by": drop.worse.estimate,
        "low": drop.worse.low,
        "high": drop.worse.high,
        "internal_patients": drop.internal.n_patients,
        "external_patients": drop.external.n_patients,
        "note": drop.worse.note,
    }
