"""Many systems: published corrections, and ranks against scipy and complete enumeration."""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.results.intervals import Interval, Paired, paired_difference
from harness.results.rankings import (
    Comparison,
    compare_all,
    holm,
    ranking,
    significance_map,
    verdict,
)
from harness.results.resampling import counts
from harness.results.scores import MIN_PATIENTS, Scores


def scores(*values):
    """One score per case, of one seed."""
    return Scores({0: {f"case-{place:03}": value for place, value in enumerate(values)}})


ZEROS = scores(*[0.0] * 6)


@pytest.mark.parametrize(
    "p_values, adjusted",
    [
        # Wikipedia, "Holm-Bonferroni method": of these four, only the 1st and 4th are rejected.
        ((0.01, 0.04, 0.03, 0.005), (0.03, 0.06, 0.06, 0.02)),
        # The documented example of pingouin's `holm`.
        ((0.50, 0.003, 0.32, 0.054, 0.0003), (0.64, 0.012, 0.64, 0.162, 0.0015)),
        ((0.9, 0.8), (1, 1)),
        ((), ()),
    ],
)
def test_holm_gives_the_published_values(p_values, adjusted):
    assert holm(p_values) == pytest.approx(list(adjusted))


def test_holm_does_not_count_tests_that_were_not_made():
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]


def test_every_two_systems_are_compared_once_and_corrected_together():
    rng = np.random.default_rng(3)
    base = rng.normal(size=12)
    systems = {
        name: scores(*(base + shift + 0.1 * rng.normal(size=12)))
        for name, shift in (("a", 0.0), ("b", 1.0), ("c", 0.02))
    }
    found = compare_all(systems)
    assert [row[:2] for row in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0].paired == paired_difference(systems["a"], systems["b"])
    assert [row.p_holm for row in found] == holm([row.paired.p for row in found])


SYSTEMS = {
    "good": scores(*np.arange(12) + 1.0),
    "bad": scores(*np.arange(12) + 0.0),
    "as bad": scores(*np.arange(12) + 0.0),
}


@pytest.mark.parametrize("higher_is_better, words", [(True, "better"), (False, "worse")])
def test_the_map_says_which_system_is_better(higher_is_better, words):
    found = significance_map(compare_all(SYSTEMS), higher_is_better=higher_is_better)
    opposite = {"better": "worse", "worse": "better"}[words]
    assert found.loc["good"].tolist() == ["", words, words]
    assert found.loc["bad"].tolist() == [opposite, "", "open"]


def pair(estimate, p, mean=None):
    """A comparison whose interval and test are as told."""
    whole = Interval(estimate, estimate - 1, estimate + 1, 10, 3)
    return Comparison("a", "b", Paired(whole, p, estimate if mean is None else mean), p)


@pytest.mark.parametrize(
    "estimate, p, word",
    [(-2, 0.05, "better"), (2, 0.05, "worse"), (-2, 0.051, "open"), (0, 0.01, "open"),
     (-2, None, "n too small")],
)  # fmt: skip
def test_the_verdict_on_distances_is_that_of_the_corrected_test(estimate, p, word):
    assert verdict(pair(estimate, p), higher_is_better=False) == word


@pytest.mark.parametrize("mean, word", [(6.6, "open"), (-6.6, "better"), (0, "better")])
def test_a_verdict_is_open_where_mean_and_median_point_to_opposite_sides(mean, word):
    assert verdict(pair(-2, 0.001, mean), higher_is_better=False) == word


def test_the_map_of_few_cases_says_so():
    found = significance_map(
        compare_all({"a": scores(1, 2), "b": scores(3, 4)}), higher_is_better=True
    )
    assert found.to_numpy().tolist() == [["", "n too small"], ["n too small", ""]]


def every_resample(values):
    """Means (462, k) of all resamples of six cases, and the chance of each."""
    draws = list(combinations_with_replacement(range(6), 6))
    counts = np.array([np.bincount(draw, minlength=6) for draw in draws])
    ways = [math.factorial(6) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return np.round(counts @ values / 6, 9), np.array(ways) / 6**6


THREE = np.array([[5, 4, 1], [2, 3, 3], [4, 4, 2], [1, 3, 4], [6, 2, 5], [3, 4, 3]])


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_rank_frequencies_are_those_of_all_resamples(higher_is_better):
    means, chance = every_resample(THREE if higher_is_better else -THREE)
    ranks = 1 + (means[:, None, :] > means[:, :, None]).sum(axis=2)  # how many are better
    expected = [
        [chance[ranks[:, system] == rank].sum() for rank in (1, 2, 3)] for system in range(3)
    ]
    systems = {name: scores(*column) for name, column in zip("abc", THREE.T, strict=True)}
    found = ranking(systems, higher_is_better=higher_is_better)
    assert found.frequencies.to_numpy() == pytest.approx(np.array(expected), abs=0.015)
    assert found.ranks.to_dict() == (
        {"a": 1, "b": 2, "c": 3} if higher_is_better else {"a": 3, "b": 2, "c": 1}
    )


@pytest.mark.parametrize("n", [6, 7])
def test_ranks_by_median_are_those_of_the_median_of_each_resample(n):
    """Whichever way six or seven patients are drawn, one of two systems has the smaller median."""
    table = np.random.default_rng(n).normal(size=(n, 2))
    drawn = np.random.default_rng(1).integers(n, size=(20_000, n))
    medians = np.median(table[drawn], axis=1)
    systems = {name: scores(*column) for name, column in zip("ab", table.T, strict=True)}
    found = ranking(systems, higher_is_better=False, centre="median")
    share = np.mean(medians[:, 0] <= medians[:, 1])
    assert found.frequencies.loc["a", 1] == pytest.approx(share, abs=0.015)


def test_kendalls_tau_is_scipys_averaged_over_all_resamples():
    means, chance = every_resample(THREE)
    whole = THREE.mean(axis=0)
    taus = [stats.kendalltau(whole, row).statistic if np.ptp(row) else 0 for row in means]
    systems = {name: scores(*column) for name, column in zip("abc", THREE.T, strict=True)}
    found = ranking(systems, higher_is_better=True).kendall_tau
    assert found.estimate == pytest.approx(chance @ taus, abs=0.02)
    assert (found.low, found.high) == (-1, 1)


def test_a_system_better_in_every_case_is_always_first():
    found = ranking(SYSTEMS, higher_is_better=True)
    assert found.frequencies.loc["good"].tolist() == [1, 0, 0]
    assert found.kendall_tau[:3] == (1, 1, 1)


def test_equal_systems_share_the_better_rank():
    found = ranking(SYSTEMS, higher_is_better=True)
    assert found.ranks.to_dict() == {"good": 1, "bad": 2, "as bad": 2}
    assert found.frequencies.loc["as bad"].tolist() == [0, 1, 0]


def test_systems_that_all_tie_have_no_order_to_agree_with():
    found = ranking({"a": ZEROS, "b": ZEROS}, higher_is_better=True)
    assert found.ranks.tolist() == [1, 1]
    assert found.kendall_tau.note == "all systems have the same mean: no order to agree with"


def test_few_cases_are_ranked_without_frequencies():
    found = ranking({"a": scores(1, 2), "b": scores(3, 4)}, higher_is_better=True)
    assert found.ranks.to_dict() == {"b": 1, "a": 2}
    assert found[1:] == (None, None, "n too small: 2 patients, a bootstrap needs 6")


def test_one_system_cannot_be_ranked():
    with pytest.raises(ValueError, match="two systems"):
        ranking({"a": ZEROS}, higher_is_better=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.3, 312.7])] * 2), min_size=1))
def test_no_scores_lead_to_nan_or_a_warning(pairs):
    first, second = (scores(*side) for side in zip(*pairs, strict=True))
    found = ranking({"first": first, "second": second}, higher_is_better=True)
    assert all(math.isfinite(number) for number in (found.kendall_tau or ())[:3])
    assert (found.kendall_tau is None) == (len(pairs) < MIN_PATIENTS)


def test_resamples_that_are_kept_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        counts(6)[0, 0] = 1
