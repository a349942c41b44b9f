"""What the scores of a few cases say about one system or two, chance taken into account.

    runs {seed: {case: score}} ─► Scores ─► one value per case ─► mean_interval
                                              two systems ─► paired_difference
                                             more of them ─► harness.results.rankings

The patient is the unit. Another seed segments the same patients again, so the seeds of a case are
averaged before anything is resampled or tested: ten seeds on eight patients are eight
observations. An interval therefore speaks of new patients, not of networks trained anew.

Resamples come from a fixed seed and depend on nothing but the number of cases: a number is the
same each time it is printed, and all systems are seen on the same resampled patients. What cannot
be computed is None with a note in words, never NaN.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from harness.data.wording import counted, listed

Floats = NDArray[np.float64]

ALPHA = 0.05
TAILS = (ALPHA / 2, 1 - ALPHA / 2)
EXACT = 200  # changed cases; for more, the normal law is off by 1 % of a p near 5 %
MIN_CASES = 6  # the fewest with which an exact Wilcoxon test can reach 5 %: 2 / 2**6 = 0.031
RESAMPLES = 10_000
SEED = 0
DECIMALS = 12  # 0.3 - 0.2 and 0.2 - 0.1 must tie; finer than any metric here is meaningful


class Scores:
    """One metric of one system; `means` has one value per case, averaged over `n_seeds` seeds.

    `runs` maps seed -> {case: score}, failures included with the worst score there is. Raises
    ValueError for no scores, or naming the cases without a finite one: nothing is dropped.
    """

    def __init__(self, runs: Mapping[int, Mapping[str, float]]) -> None:
        table = pd.DataFrame(
            {seed: pd.Series(dict(run), dtype=float) for seed, run in runs.items()}
        )
        if table.empty:
            raise ValueError("no scores: at least one case and one seed are needed")
        table = table.sort_index().sort_index(axis=1)
        absent = np.argwhere(~np.isfinite(table.to_numpy()))
        if len(absent):
            names = [f"{table.index[case]} (seed {table.columns[seed]})" for case, seed in absent]
            raise ValueError(
                f"no finite score for {listed(names, 5)}: a failure counts as the worst"
            )
        self.n_seeds = table.shape[1]
        self.means: pd.Series = table.mean(axis=1).round(DECIMALS)


class Interval(NamedTuple):
    """An estimate with its 95 % interval; `low` and `high` are None when `note` says why."""

    estimate: float
    low: float | None
    high: float | None
    n_cases: int
    """For `ratio_interval`: repetitions, of the side that has fewer."""
    n_seeds: int
    note: str = ""


class Paired(NamedTuple):
    """The first system minus the second, over the same cases."""

    difference: Interval
    hodges_lehmann: float
    """The effect size: the median of the averages of every two differences (Walsh)."""
    p: float | None
    """Two-sided Wilcoxon signed-rank test; None when there are too few cases."""
    note: str = ""


def mean_interval(scores: Scores) -> Interval:
    """The mean over the cases with its BCa bootstrap interval.

    Cases are drawn, and each brings the average of its seeds: a seed is not another patient, and
    drawing (case, seed) pairs would narrow the interval with every seed added.
    """
    return _interval(scores.means.to_numpy(), scores.n_seeds)


def paired_difference(first: Scores, second: Scores) -> Paired:
    """Mean of first - second with its BCa interval, Hodges-Lehmann estimate and Wilcoxon test.

    Equal scores are left out of the test, as Wilcoxon (1945) did, but not of the estimates.
    `n_seeds` is the smaller of the two. Raises ValueError naming the cases that only one has.
    """
    pair = aligned({"first": first, "second": second})
    values = (pair["first"] - pair["second"]).round(DECIMALS).to_numpy()
    effect = _hodges_lehmann(values)
    difference = _interval(values, min(first.n_seeds, second.n_seeds))
    if few := too_small(len(values), "a test"):
        return Paired(difference, effect, None, few)
    changed = values[values != 0]
    if len(changed) == 0:
        return Paired(difference, effect, 1.0, "identical scores in every case")
    few = f"n too small: {len(changed)} of {len(values)} cases differ, a test needs {MIN_CASES}"
    note = few if len(changed) < MIN_CASES else ""
    return Paired(difference, effect, _signed_rank_p(changed), note)


def group_mean(systems: Mapping[str, Scores]) -> Scores:
    """A group of systems as one: their mean in each case; `n_seeds` is that of the fewest.

    Raises ValueError naming the cases that not every system has.
    """
    means = aligned(systems).mean(axis=1)
    group = Scores({0: dict(zip(means.index, means, strict=True))})
    group.n_seeds = min(scores.n_seeds for scores in systems.values())
    return group


def ratio_interval(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """How many times longer the first takes: ratio of the median seconds of repeated timings.

    Percentile bootstrap; both sides are resampled on their own, for timings are not paired.
    Raises ValueError for no timing, or one that is not a positive number of seconds.
    """
    sides = [np.asarray(seconds, dtype=float) for seconds in (numerator, denominator)]
    if any(len(side) == 0 or not np.all((side > 0) & (side < np.inf)) for side in sides):
        raise ValueError("a ratio of times needs positive seconds on both sides")
    estimate = float(np.median(sides[0]) / np.median(sides[1]))
    fewest = min(map(len, sides))
    if fewest < 2:
        return Interval(estimate, None, None, 1, 1, "n too small: 1 repetition")
    rng = np.random.default_rng(SEED)
    above, below = (np.median(rng.choice(side, (RESAMPLES, len(side))), axis=1) for side in sides)
    # The extremes of five values enclose the true median in 94 %, those of six in 97 %.
    note = "" if fewest >= MIN_CASES else f"few repetitions ({fewest}): less than 95 % coverage"
    return Interval(estimate, *quantiles(above / below, TAILS), fewest, 1, note)


def aligned(systems: Mapping[str, Scores]) -> pd.DataFrame:
    """Cases × systems. Raises ValueError naming the cases that not every system has."""
    table = pd.DataFrame({name: scores.means for name, scores in systems.items()})
    partial = table.index[table.isna().any(axis=1)]
    if len(partial):
        raise ValueError(f"not scored for every system: {listed(partial, 5)}")
    return table


def resampled_means(values: Floats) -> Floats:
    """Means over resampled cases: (n,) or (n, k) -> (RESAMPLES,) or (RESAMPLES, k)."""
    return np.round(_weights(len(values)) @ values, DECIMALS)


def quantiles(values: Floats, levels: Sequence[float]) -> tuple[float, float]:
    """The two `levels`, low and high, of `values`."""
    low, high = np.quantile(values, levels)
    return float(low), float(high)


def too_small(n: int, what: str) -> str:
    """The note of an estimate that lacks `what`; empty when the `n` cases are enough."""
    few = f"n too small: {counted(n, 'case')}, {what} needs {MIN_CASES}"
    return "" if n >= MIN_CASES else few


def _interval(values: Floats, n_seeds: int) -> Interval:
    """The mean of one value per case."""
    estimate = float(values.mean().round(DECIMALS))
    few = too_small(len(values), "an interval")
    low, high = (None, None) if few else _bca(values)
    return Interval(estimate, low, high, len(values), n_seeds, few)


def _bca(values: Floats) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean of `values` (n,).

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), Sec. 14.3. For a mean, the
    jackknife differences of the acceleration are the deviations themselves, up to a factor.
    """
    mean = values.mean().round(DECIMALS)
    if np.ptp(values) == 0:
        return float(mean), float(mean)
    drawn = resampled_means(values)
    bias = ndtri((np.mean(drawn < mean) + np.mean(drawn <= mean)) / 2)
    deviations = (values - values.mean()) / values.std()
    acceleration = np.mean(deviations**3) / (6 * math.sqrt(len(values)))
    z = bias + ndtri(TAILS)
    return quantiles(drawn, ndtr(bias + z / (1 - acceleration * z)))


@lru_cache(maxsize=1)
def _weights(n: int) -> Floats:
    """The share of each case in each resample, (RESAMPLES, n)."""
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    weights = drawn / n
    weights.flags.writeable = False
    return weights


def _signed_rank_p(differences: Floats) -> float:
    """Two-sided Wilcoxon test of differences (n,), none of them 0, ties included.

    Up to `EXACT` of them every sign is a toss of a coin; `chance` grows to the distribution of the
    positive rank sum. scipy is exact only up to n = 50, 13 with ties, where it takes half a second
    for each pair.
    """
    ranks = rankdata(np.abs(differences))
    positive = ranks[differences > 0].sum()
    if len(ranks) > EXACT:
        deviation = math.sqrt((ranks**2).sum() / 4)  # of a sum of ranks that come or do not
        return 2 * float(ndtr(-abs(positive - ranks.sum() / 2) / deviation))
    doubled = (2 * ranks).astype(int)  # ties have half ranks
    chance = np.ones(1)
    for rank in sorted(doubled):
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    place = int(2 * positive)
    tail = min(chance[: place + 1].sum(), chance[place:].sum())
    return min(1.0, 2 * float(tail))


def _hodges_lehmann(values: Floats) -> float:
    """Ann. Math. Statist. 34 (1963) 598."""
    first, second = _walsh_pairs(len(values))
    return float(np.median((values[first] + values[second]) / 2).round(DECIMALS))


@lru_cache(maxsize=1)
def _walsh_pairs(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every two of n cases, each with itself included."""
    return np.triu_indices(n)
