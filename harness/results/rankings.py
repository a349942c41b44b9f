"""Comparisons and rankings of many systems from the scores of a few cases.

    {system: Scores} ─► compare_all ─► significance_map
                     └─► ranking

Interval, test, verdict and rank speak of one quantity, the `Centre` of the metric.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.results.intervals import (
    ALPHA,
    TAILS,
    Centre,
    Interval,
    Paired,
    paired_difference,
)
from harness.results.resampling import resampled_means, resampled_medians
from harness.results.scores import DECIMALS, Floats, Scores, aligned, too_small

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["better", "worse", "open", "n too small"]
TURNED = {"better": "worse", "worse": "better"}


class Comparison(NamedTuple):
    """The comparison of two of several systems; `p_holm` is corrected for the number of pairs."""

    first: str
    second: str
    paired: Paired
    p_holm: float | None


class Ranking(NamedTuple):
    """The ranks of the systems and their stability; 1 is the best, equals share the better rank."""

    ranks: "pd.Series[int]"
    """The rank of each system in the whole sample."""
    frequencies: "pd.DataFrame | None"
    """Systems × ranks: the share of resamples in which a system took a rank."""
    kendall_tau: Interval | None
    """tau-b between `ranks` and those of a resample: mean and central 95 % of the resamples."""
    note: str = ""


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: p_(i) becomes max over j <= i of min(1, (m - j + 1) p_(j)).

    Scand. J. Statist. 6 (1979) 65. None stays None and is not counted among the m tests.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted


def compare_all(systems: Mapping[str, Scores], centre: Centre = "mean") -> list[Comparison]:
    """Compare every pair of systems, corrected together. Raises like `paired_difference`."""
    return compare_pairs(list(combinations(systems, 2)), systems, centre)


def compare_pairs(
    pairs: Sequence[tuple[str, str]], systems: Mapping[str, Scores], centre: Centre = "mean"
) -> list[Comparison]:
    """Compare the given pairs, corrected together. Raises like `paired_difference`."""
    return compare_families([(pairs, systems)], centre)[0]


def compare_families(
    families: Sequence[tuple[Sequence[tuple[str, str]], Mapping[str, Scores]]],
    centre: Centre = "mean",
) -> list[list[Comparison]]:
    """Compare the pairs of several families, such as targets, all of them corrected together.

    Raises like `paired_difference`.
    """
    tested = [
        [paired_difference(systems[first], systems[second], centre) for first, second in pairs]
        for pairs, systems in families
    ]
    adjusted = iter(holm([paired.p for family in tested for paired in family]))
    return [
        [
            Comparison(first, second, paired, next(adjusted))
            for (first, second), paired in zip(pairs, family, strict=True)
        ]
        for (pairs, _), family in zip(families, tested, strict=True)
    ]


def verdict(comparison: Comparison, *, higher_is_better: bool) -> Verdict:
    """The verdict on the first system: "better" or "worse" than the second at 5 % after Holm?

    "open" where neither is shown, or where mean and median of the differences point to opposite
    sides; "n too small" where no test was possible.
    """
    paired = comparison.paired
    if comparison.p_holm is None:
        return "n too small"
    if comparison.p_holm > ALPHA or paired.difference.estimate == 0 or paired.contradicts:
        return "open"
    return "better" if (paired.difference.estimate > 0) == higher_is_better else "worse"


def significance_map(
    comparisons: Sequence[Comparison], *, higher_is_better: bool
) -> "pd.DataFrame":
    """Systems × systems: the `verdict` on the row against the column, "" on the diagonal."""
    import pandas as pd

    names = list(dict.fromkeys(name for pair in comparisons for name in pair[:2]))
    verdicts = pd.DataFrame("", index=names, columns=names)
    for comparison in comparisons:
        found = verdict(comparison, higher_is_better=higher_is_better)
        verdicts.loc[comparison.first, comparison.second] = found
        verdicts.loc[comparison.second, comparison.first] = TURNED.get(found, found)
    return verdicts


def ranking(
    systems: Mapping[str, Scores], *, higher_is_better: bool, centre: Centre = "mean"
) -> Ranking:
    """Rank the systems by mean or median, and compare the ranks with those of resampled patients.

    Wiesenfarth et al., Sci. Rep. 11 (2021) 2369. A resample in which all systems tie agrees with
    no order: its tau is 0. Raises ValueError for fewer than two systems or unequal patients.
    """
    import pandas as pd  # for who draws; a comparison goes without

    if len(systems) < 2:
        raise ValueError(f"a ranking needs two systems, not {len(systems)}")
    table = aligned(systems)
    losses = -table if higher_is_better else table
    of_all = np.mean if centre == "mean" else np.median
    whole = of_all(losses, axis=0).round(DECIMALS)
    ranks = pd.Series(_places(whole), index=list(systems))
    if few := too_small(len(table), "a bootstrap"):
        return Ranking(ranks, None, None, few)
    drawn = (resampled_means if centre == "mean" else resampled_medians)(losses)
    places = np.arange(1, len(systems) + 1)
    taken = _places(drawn)[:, :, None] == places  # (resamples, system, rank)
    shares = pd.DataFrame(taken.mean(axis=0), index=list(systems), columns=places)
    taus = _kendall_taus(whole, drawn)
    n_seeds = min(scores.n_seeds for scores in systems.values())
    note = "" if np.ptp(whole) else f"all systems have the same {centre}: no order to agree with"
    low, high = map(float, np.quantile(taus, TAILS))
    tau = Interval(float(taus.mean()), low, high, len(table), n_seeds, note)
    return Ranking(ranks, shares, tau)


def _places(losses: Floats) -> NDArray[np.int64]:
    """The place of each loss along the last axis, from 1 on; equals share the better place."""
    smaller = losses[..., None, :] < losses[..., :, None]
    return 1 + smaller.sum(axis=-1)


def _kendall_taus(whole: Floats, drawn: Floats) -> Floats:
    """tau-b between `whole` (k,) and each row of `drawn` (resamples, k); 0 where all values tie."""
    first, second = np.triu_indices(len(whole), 1)
    order = np.sign(whole[first] - whole[second])
    orders = np.sign(drawn[:, first] - drawn[:, second])
    untied = np.abs(order).sum() * np.abs(orders).sum(axis=1)
    return (orders @ order) / np.sqrt(np.maximum(untied, 1))
