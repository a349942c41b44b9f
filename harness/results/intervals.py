"""Intervals with 95 % coverage, and the tests that belong to them, for one system or for two.

    Scores ─► mean_interval, median_interval        of one system
    two    ─► paired_difference                     first - second, patient by patient
              seeds_needed                          to tell a difference
    seconds of processes ─► ratio_interval          how many times longer

Interval, test and verdict speak of one quantity, the `Centre` of the metric: the mean, or the
median where single patients at their worst would carry the mean away. The methods were chosen by
what they cover in simulations (docs/statistics.md, tests/test_coverage.py).

Where every system was trained several times, intervals speak of new patients and new trainings;
after one training, of new patients for these very networks. What cannot be computed is None with a
note in words, never NaN.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from harness.results.distributions import (
    fair_coin_cdf,
    normal_cdf,
    normal_quantile,
    student_cdf,
    student_quantile,
)
from harness.results.resampling import studentised
from harness.results.scores import DECIMALS, Floats, Scores, aligned, too_small

Centre = Literal["mean", "median"]
Part = tuple[float, float]  # a variance of the estimate, and its degrees of freedom

ALPHA = 0.05
TAILS = (ALPHA / 2, 1 - ALPHA / 2)
SURE = normal_quantile(TAILS[1])  # standard errors to either end, where they are known for certain
POWER = 0.8
ENOUGH = SURE + normal_quantile(POWER)  # standard errors in a difference that is detected so often
MAX_SEEDS = 100


class Interval(NamedTuple):
    """An estimate with its 95 % interval; `low` and `high` are None when `note` says why."""

    estimate: float
    low: float | None
    high: float | None
    n_patients: int
    """Independent cases: patients. For `ratio_interval`: processes, of the side that has fewer."""
    n_seeds: int
    note: str = ""


class Paired(NamedTuple):
    """The difference first system minus second system, over the same patients."""

    difference: Interval
    """The interval of the metric's centre: the mean or median of the differences."""
    p: float | None
    """Two-sided p value; below 5 % where the interval excludes 0.

    None when there are too few patients.
    """
    mean: float
    """The mean of the differences, also where the metric's centre is the median."""
    note: str = ""

    @property
    def about_networks(self) -> bool:
        """Whether the result holds for these networks only, as one system was trained only once."""
        return self.difference.n_seeds < 2

    @property
    def contradicts(self) -> bool:
        """Whether the mean of the differences has the opposite sign of their centre."""
        return self.mean * self.difference.estimate < 0


def mean_interval(scores: Scores, limits: tuple[float, float] | None = None) -> Interval:
    """The mean over the patients with its interval, clipped to the `limits` of the score.

    At either end the farther of Student's t and the studentised bootstrap (Efron & Tibshirani,
    1993, Sec. 12.5): the bootstrap follows the skewness of scores near their limit, and with six to
    ten patients draws too little of it.
    """
    values = scores.values
    estimate = _mean(values)
    if few := too_small(len(values), "an interval"):
        return Interval(estimate, None, None, len(values), scores.n_seeds, few)
    ends = estimate, estimate
    if np.ptp(values):
        error = math.sqrt(values.var(ddof=1) / len(values))
        far = _far(len(values) - 1)
        low, high = np.quantile(studentised(values), TAILS, method="inverted_cdf")
        ends = estimate - error * max(high, far), estimate - error * min(low, -far)
    ends = _widened(estimate, *ends, _trainings(scores.by_training, _mean))
    low, high = (float(end) for end in (np.clip(ends, *limits) if limits else ends))
    return Interval(estimate, low, high, len(values), scores.n_seeds)


def median_interval(scores: Scores) -> Interval:
    """The median over the patients with its interval from order statistics.

    It covers in at least 95 % whatever the distribution, penalties included.
    """
    values = scores.values
    return _of_median(values, _trainings(scores.by_training, _median), scores.n_seeds)


def paired_difference(first: Scores, second: Scores, centre: Centre = "mean") -> Paired:
    """The mean or median of first - second with its interval and test.

    mean    Student's t. With several trainings of both, the variance of the patients' differences
            over n and of the trainings' means over the seeds add up, with Satterthwaite's degrees
            of freedom (Biometrics 2 (1946) 110).
    median  Order statistics and the sign test, which is the same; widened by the trainings.

    Raises ValueError naming the patients that only one has.
    """
    pair = aligned({"first": first, "second": second})
    values = (pair[:, 0] - pair[:, 1]).round(DECIMALS)
    seeds = min(first.n_seeds, second.n_seeds)
    statistic = _mean if centre == "mean" else _median
    singles = [each - pair[:, 1:] for each in first.by_training]
    singles += [pair[:, :1] - each for each in second.by_training]
    trainings = _trainings(singles, statistic)
    compare = _student if centre == "mean" else _signs
    difference, p = compare(values, trainings, seeds)
    if p is None:
        return Paired(difference, None, _mean(values), too_small(len(values), "a test"))
    same = "" if values.any() else "identical scores in every case"
    return Paired(difference, p, _mean(values), same)


def seeds_needed(first: Scores, second: Scores, gap: float) -> int | None:
    """Trainings per system that detect a true mean difference of `gap` in 80 % of studies.

    At 5 %, on as many patients as these, with the spreads of these. 0 where no number of trainings
    would do, as the patients are too few; None where it cannot be known: one training, one patient.
    """
    values = first.values - second.values
    if min(first.n_seeds, second.n_seeds) < 2 or len(values) < 2:
        return None
    patients = (float(values.var(ddof=1)) / len(values), len(values) - 1)
    single = [
        variance * (freedom + 1)
        for each in (first, second)
        for variance, freedom in _trainings(each.by_training, _mean)
    ]
    for seeds in range(2, MAX_SEEDS + 1):
        variance, freedom = _together([patients, *((s / seeds, seeds - 1) for s in single)])
        error = math.sqrt(variance)
        if ENOUGH * error > gap:
            continue  # not even if the spreads were known for certain
        if (_far(freedom) + student_quantile(freedom, POWER)) * error <= gap:
            return seeds
    return 0


def ratio_interval(
    numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]]
) -> Interval:
    """The ratio of two times with its interval, from timings of several processes on either side.

    Repetitions in one process share its memory, clocks and neighbours, so a process counts once, by
    its median. Welch's t on the logarithms: drawing three processes with replacement would cover
    three quarters at most. Raises ValueError for no timing, or one that is not a positive number.
    """
    both = (numerator, denominator)
    sides = [[np.asarray(seconds, dtype=float) for seconds in side] for side in both]
    if not all(sides) or any(
        len(each) == 0 or not np.all((each > 0) & (each < np.inf))
        for side in sides
        for each in side
    ):
        raise ValueError("a ratio of times needs positive seconds on both sides")
    logs = [np.array([math.log(np.median(each)) for each in side]) for side in sides]
    ratio = float(logs[0].mean() - logs[1].mean())
    fewest = min(map(len, logs))
    if fewest < 2:
        note = "measured in one process: how far processes lie apart is not known"
        return Interval(math.exp(ratio), None, None, fewest, 1, note)
    variance, freedom = _together([(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in logs])
    far = _far(freedom) * math.sqrt(variance)
    low, high = math.exp(ratio - far), math.exp(ratio + far)
    return Interval(math.exp(ratio), low, high, fewest, 1)


def _student(values: Floats, trainings: list[Part], seeds: int) -> tuple[Interval, float | None]:
    """The mean of one value per patient with its interval and p value."""
    n, estimate = len(values), _mean(values)
    if few := too_small(n, "an interval"):
        return Interval(estimate, None, None, n, seeds, few), None
    spread = float(values.var(ddof=1)) if np.ptp(values) else 0.0
    variance, freedom = _together([(spread / n, n - 1), *trainings])
    error = math.sqrt(variance)
    far = _far(freedom) * error
    p = 2 * student_cdf(freedom, -abs(estimate) / error) if error else _sign_p(values)
    return Interval(estimate, estimate - far, estimate + far, n, seeds), p


def _signs(values: Floats, trainings: list[Part], seeds: int) -> tuple[Interval, float | None]:
    """The median of one value per patient with its interval and p value.

    With trainings in it, p is that of the distance from the estimate to the end of the interval at
    the side of 0, and never below that of the signs.
    """
    interval = _of_median(values, trainings, seeds)
    if interval.low is None or interval.high is None:
        return interval, None
    estimate, p = interval.estimate, _sign_p(values)
    if trainings and estimate:
        near = interval.low if estimate > 0 else interval.high
        reach = abs(estimate - near)
        p = max(p, 2 * normal_cdf(-SURE * abs(estimate) / reach) if reach else 0)
    return interval, p


def _of_median(values: Floats, trainings: list[Part], seeds: int) -> Interval:
    n, estimate = len(values), _median(values)
    if few := too_small(n, "an interval"):
        return Interval(estimate, None, None, n, seeds, few)
    ordered = np.sort(values)
    place = _place(n)
    low, high = _widened(estimate, ordered[place - 1], ordered[-place], trainings)
    return Interval(estimate, low, high, n, seeds)


@cache
def _place(n: int) -> int:
    """The rank of the ends of the median's interval among n values, from either side, from 1 on."""
    # The chance that at most so many lie below the median.
    return sum(chance <= TAILS[0] for chance in fair_coin_cdf(n)[: n // 2 + 1])


def _sign_p(values: Floats) -> float:
    """The p value of the two-sided sign test whose rejections match the median's interval.

    A value of 0 speaks against either side.
    """
    against = min((values <= 0).sum(), (values >= 0).sum())
    return min(1.0, 2 * fair_coin_cdf(len(values))[against])


def _trainings(by_training: Sequence[Floats], statistic: Callable[[Floats], float]) -> list[Part]:
    """The variance that each system's trainings add to a `statistic` over the patients."""
    several = [each.T for each in by_training if each.shape[1] > 1]
    single = [np.array([statistic(patients) for patients in each]) for each in several]
    return [(float(found.var(ddof=1)) / len(found), len(found) - 1) for found in single]


def _together(parts: Sequence[Part]) -> tuple[float, float]:
    """The sum of the variances, and Satterthwaite's degrees of freedom of the sum."""
    variance = sum(each for each, _ in parts)
    below = sum(each**2 / freedom for each, freedom in parts)
    return variance, variance**2 / below if below else math.inf


def _widened(
    estimate: float, low: float, high: float, trainings: list[Part]
) -> tuple[float, float]:
    """The ends of an interval over patients, widened to cover new trainings, too.

    The distance to each end counts as that many standard errors, known for certain.
    """
    if not trainings:
        return float(low), float(high)
    far = []
    for reach in (estimate - low, high - estimate):
        variance, freedom = _together([((reach / SURE) ** 2, math.inf), *trainings])
        far.append(_far(freedom) * math.sqrt(variance))
    return round(estimate - far[0], DECIMALS), round(estimate + far[1], DECIMALS)


def _far(freedom: float) -> float:
    """The standard errors between an estimate and either end, by Student's t."""
    return student_quantile(freedom, TAILS[1])


def _mean(values: Floats) -> float:
    return float(values.mean().round(DECIMALS))


def _median(values: Floats) -> float:
    return float(np.median(values).round(DECIMALS))
