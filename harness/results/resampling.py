"""Means and medians of resampled patients, computed for all resamples at once.

Resamples come from a fixed seed and depend on nothing but the number of patients: a number is the
same each time it is printed, and all systems are seen on the same resampled patients.
"""

from functools import lru_cache

import numpy as np

from harness.results.scores import DECIMALS, Floats

RESAMPLES = 10_000
SEED = 0
BLOCK = 1000  # resamples that are sorted into medians at once: some MiB, not hundreds


@lru_cache(maxsize=1)
def counts(n: int) -> Floats:
    """The number of times that each of n patients occurs in each resample, (RESAMPLES, n)."""
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    times = drawn.astype(float)
    times.flags.writeable = False
    return times


def resampled_means(values: Floats) -> Floats:
    """The means of resampled patients, (RESAMPLES, systems), from values (n, systems)."""
    return np.round(counts(len(values)) @ values / len(values), DECIMALS)


def resampled_medians(values: Floats) -> Floats:
    """The medians of resampled patients, (RESAMPLES, systems), from values (n, systems)."""
    n, systems = values.shape
    medians = np.empty((RESAMPLES, systems))
    for system in range(systems):
        order = np.argsort(values[:, system], kind="stable")
        ordered = values[order, system]
        for start in range(0, RESAMPLES, BLOCK):
            taken = np.cumsum(counts(n)[start : start + BLOCK, order], axis=1)
            # The middle of n values, or the two of an even n, counted from 1.
            middle = [(taken < place).sum(axis=1) for place in ((n + 1) // 2, n // 2 + 1)]
            medians[start : start + BLOCK, system] = ordered[middle].mean(axis=0)
    return np.round(medians, DECIMALS)


def studentised(values: Floats) -> Floats:
    """The studentised mean of each resample: (its mean - mean) / its standard error.

    Resamples of equal values have no standard error and are left out: of six values that differ,
    one in 7776. Raises ValueError for values (n,) that are all equal.
    """
    if np.ptp(values) == 0:
        raise ValueError("equal values have no standard error")
    n, centred = len(values), values - values.mean()
    means, squares = (counts(n) @ powers / n for powers in (centred, centred**2))
    variances = (squares - means**2) / (n - 1)
    there = variances > 1e-12 * centred.var() / n
    return means[there] / np.sqrt(variances[there])
