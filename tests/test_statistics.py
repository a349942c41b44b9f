"""Intervals and tests against published numbers, scipy and complete enumeration."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.results.statistics import (
    MIN_CASES,
    Scores,
    group_mean,
    mean_interval,
    paired_difference,
    ratio_interval,
)


def scores(*values):
    """One score per case; a tuple holds one for each seed."""
    rows = [np.atleast_1d(value) for value in values]
    return Scores(
        {
            seed: {f"case-{place:03}": row[seed] for place, row in enumerate(rows)}
            for seed in range(len(rows[0]))
        }
    )


ZEROS = scores(*[0.0] * 6)
SKEWED = np.random.default_rng(1).lognormal(size=25)
# Depression scores of nine patients before and after a tranquilliser: Hollander & Wolfe (1973),
# p. 29, the example of R's wilcox.test: V = 40, p = 0.01953 on one side, estimate 0.46.
BEFORE = (1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
AFTER = (0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)


# ── scores ──────────────────────────────────────────────────────────────────────────────────────


def test_a_case_missing_from_a_seed_is_named():
    with pytest.raises(ValueError, match=r"case-b \(seed 7\)"):
        Scores({3: {"case-a": 0.5, "case-b": 0.5}, 7: {"case-a": 0.5}})


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_score_that_is_no_number_is_named(value):
    with pytest.raises(ValueError, match=r"case-b \(seed 0\)"):
        Scores({0: {"case-a": 0.5, "case-b": value}})


@pytest.mark.parametrize("runs", [{}, {0: {}}])
def test_no_scores_are_an_error(runs):
    with pytest.raises(ValueError, match="no scores"):
        Scores(runs)


def test_a_long_list_of_missing_cases_is_cut():
    with pytest.raises(ValueError, match="and 15 more"):
        Scores({0: {str(case): math.nan for case in range(20)}})


# ── the mean and its interval ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("values", [SKEWED, -SKEWED, SKEWED[:6], np.repeat([0.0, 1.0], (9, 2))])
def test_the_interval_is_scipys_bca(values):
    reference = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=50_000, rng=np.random.default_rng(9)
    ).confidence_interval
    found = mean_interval(scores(*values))
    tolerance = 0.04 * (reference.high - reference.low)  # of 10,000 resamples
    assert found[:3] == pytest.approx((values.mean(), *reference), abs=tolerance)


def test_a_skewed_sample_has_a_skewed_interval():
    found = mean_interval(scores(*SKEWED))
    assert found.high - found.estimate > 1.2 * (found.estimate - found.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    intervals = [mean_interval(scores(*rng.normal(size=20))) for _ in range(400)]
    covered = np.mean([found.low <= 0 <= found.high for found in intervals])
    assert 0.90 < covered < 0.98  # BCa of 20 normal values: 93 %; ±0.025 is two standard errors


def test_repeating_a_seed_does_not_narrow_the_interval():
    once, five = mean_interval(scores(*SKEWED)), mean_interval(scores(*[(x,) * 5 for x in SKEWED]))
    assert (once.n_seeds, five.n_seeds) == (1, 5)
    assert once[:4] == five[:4]


def test_a_case_is_the_average_of_its_seeds():
    pairs = [(x - 0.3, x + 0.3) for x in SKEWED]
    assert mean_interval(scores(*pairs))[:3] == mean_interval(scores(*SKEWED))[:3]


def test_an_interval_is_the_same_in_any_order_and_each_time():
    cases = {f"case-{place}": value for place, value in enumerate(SKEWED)}
    turned = dict(reversed(cases.items()))
    first = mean_interval(Scores({0: cases, 1: cases}))
    assert mean_interval(Scores({1: turned, 0: turned})) == first


def test_constant_scores_have_an_interval_without_width():
    assert mean_interval(scores(*[0.1] * 7))[:3] == (0.1, 0.1, 0.1)


def test_seeds_in_another_order_are_still_constant():
    found = mean_interval(scores(*[(0.1, 0.2, 0.3), (0.3, 0.1, 0.2), (0.2, 0.3, 0.1)] * 3))
    assert found[:3] == (0.2, 0.2, 0.2)


def test_two_cases_have_a_mean_and_a_reason_for_no_interval():
    found = mean_interval(scores(0.25, 0.75))
    note = f"n too small: 2 cases, an interval needs {MIN_CASES}"
    assert found == (0.5, None, None, 2, 1, note)


# ── two systems ─────────────────────────────────────────────────────────────────────────────────


def test_six_cases_all_better_are_just_significant():
    assert paired_difference(scores(1, 2, 3, 4, 5, 6), ZEROS).p == 2 / 2**6


def test_the_critical_value_of_the_table_for_ten_cases_is_eight():
    """Wilcoxon's table: T = 8 is significant at 5 % two-sided for n = 10, T = 9 is not."""
    zeros = scores(*[0.0] * 10)
    eight = paired_difference(scores(1, 2, 3, 4, 5, 6, 7, -8, 9, 10), zeros).p
    nine = paired_difference(scores(1, 2, 3, 4, 5, 6, 7, 8, -9, 10), zeros).p
    assert (round(eight, 4), round(nine, 4)) == (0.0488, 0.0645)


def test_p_and_effect_size_are_those_of_hollander_and_wolfe():
    found = paired_difference(scores(*BEFORE), scores(*AFTER))
    assert found.p == pytest.approx(2 * 0.01953125)
    assert found.hodges_lehmann == pytest.approx(0.46)


def test_turning_the_pair_turns_the_signs():
    there = paired_difference(scores(*BEFORE), scores(*AFTER))
    back = paired_difference(scores(*AFTER), scores(*BEFORE))
    assert (back.p, back.hodges_lehmann) == (there.p, -there.hodges_lehmann)
    assert back.difference.estimate == -there.difference.estimate


def test_hodges_lehmann_is_the_median_of_all_walsh_averages():
    walsh = [(x + y) / 2 for i, x in enumerate(SKEWED) for y in SKEWED[i:]]
    found = paired_difference(scores(*SKEWED), scores(*[0.0] * 25))
    assert found.hodges_lehmann == pytest.approx(np.median(walsh))


def test_the_difference_has_the_interval_of_the_differences():
    found = paired_difference(scores(*BEFORE), scores(*AFTER)).difference
    assert found == mean_interval(scores(*np.subtract(BEFORE, AFTER)))


def test_a_constant_difference_has_ties_not_rounding_errors():
    """0.3 - 0.2 is not 0.2 - 0.1 in binary: untied, they would be ranked by their last bit."""
    better = scores(0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    found = paired_difference(better, scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert found.difference[:3] == (0.1, 0.1, 0.1)
    assert found.p == 2 / 2**6


@pytest.mark.parametrize("n", [6, 7, 20, 50])
def test_p_is_scipys_exact_one(n):
    values = np.random.default_rng(n).normal(0.3, size=n)
    expected = stats.wilcoxon(values, method="exact").pvalue
    assert paired_difference(scores(*values), scores(*[0.0] * n)).p == pytest.approx(expected)


def test_p_of_many_cases_is_scipys_normal_approximation_ties_included():
    values = np.random.default_rng(5).normal(0.1, size=300).round(1)
    expected = stats.wilcoxon(values[values != 0], method="asymptotic").pvalue
    found = paired_difference(scores(*values), scores(*[0.0] * 300)).p
    assert found == pytest.approx(expected)


def test_the_exact_test_and_the_normal_law_meet_where_one_takes_over():
    values = np.random.default_rng(11).normal(0.12, size=200)
    exact = paired_difference(scores(*values), scores(*[0.0] * 200)).p
    assert exact == pytest.approx(stats.wilcoxon(values, method="asymptotic").pvalue, rel=0.01)


def test_ties_are_tested_over_all_sign_flips():
    differences = (1, 1, 2, 2, 2, -1, 3, -2)
    ranks = stats.rankdata(np.abs(differences))
    observed = ranks @ (np.array(differences) > 0)
    all_sums = np.array(list(product((0, 1), repeat=8))) @ ranks
    expected = 2 * np.mean(all_sums >= observed)
    assert paired_difference(scores(*differences), scores(*[0] * 8)).p == pytest.approx(expected)


def test_five_differences_among_twenty_cases_are_never_significant():
    """The normal approximation would say 0.04; the exact test cannot go below 2 / 2**5."""
    found = paired_difference(scores(1, 2, 3, 4, 5, *[0] * 15), scores(*[0] * 20))
    assert found.p == 2 / 2**5
    assert found.note == "n too small: 5 of 20 cases differ, a test needs 6"


def test_identical_systems_have_p_1_and_say_why():
    found = paired_difference(scores(*SKEWED), scores(*SKEWED))
    assert (found.p, found.hodges_lehmann, found.difference[:3]) == (1, 0, (0, 0, 0))
    assert found.note == "identical scores in every case"


def test_five_cases_have_an_effect_size_but_no_test():
    found = paired_difference(scores(1, 2, 3, 4, 5), scores(0, 0, 0, 0, 0))
    assert (found.p, found.hodges_lehmann) == (None, 3)
    assert found.note == "n too small: 5 cases, a test needs 6"
    assert found.difference.note == "n too small: 5 cases, an interval needs 6"


def test_cases_of_one_system_only_are_named():
    with pytest.raises(ValueError, match="case-006"):
        paired_difference(scores(*range(7)), scores(*range(6)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.3, 312.7])] * 2), min_size=1))
def test_no_scores_lead_to_nan_or_a_warning(pairs):
    first, second = (scores(*side) for side in zip(*pairs, strict=True))
    found = paired_difference(first, second)
    numbers = [*found.difference[:3], found.hodges_lehmann, found.p]
    assert all(number is None or math.isfinite(number) for number in numbers)
    assert (found.p is None) == (len(pairs) < MIN_CASES) == (found.difference.low is None)


def test_a_group_of_systems_is_their_mean_in_each_case():
    group = group_mean({"a": scores(1, 2, 3), "b": scores((3, 5), (4, 8), (6, 6))})
    assert group.means.tolist() == [2.5, 4, 4.5]
    assert group.n_seeds == 1


def test_a_group_needs_the_same_cases():
    with pytest.raises(ValueError, match="case-002"):
        group_mean({"a": scores(1, 2, 3), "b": scores(1, 2)})


# ── speed ───────────────────────────────────────────────────────────────────────────────────────


def test_the_ratio_of_times_has_scipys_percentile_interval():
    rng = np.random.default_rng(4)
    slow, fast = rng.lognormal(1, 0.2, size=15), rng.lognormal(0, 0.1, size=11)
    reference = stats.bootstrap(
        (slow, fast),
        lambda top, bottom, axis: np.median(top, axis=axis) / np.median(bottom, axis=axis),
        method="percentile",
        n_resamples=50_000,
        rng=np.random.default_rng(9),
    ).confidence_interval
    found = ratio_interval(slow, fast)
    assert found.estimate == np.median(slow) / np.median(fast)
    assert (found.low, found.high) == pytest.approx(tuple(reference), rel=0.02)
    assert (found.n_cases, found.note) == (11, "")


def test_five_repetitions_have_an_interval_with_a_warning():
    found = ratio_interval([2.0, 2.1, 2.2, 2.0, 2.1], [1.0, 1.0, 1.1, 1.0, 0.9])
    assert found.low < found.estimate < found.high
    assert found.note == "few repetitions (5): less than 95 % coverage"


def test_a_single_timing_has_a_ratio_but_no_interval():
    assert ratio_interval([3.0], [1.5, 1.5]) == (2.0, None, None, 1, 1, "n too small: 1 repetition")


@pytest.mark.parametrize("seconds", [[], [0.0], [-1.0], [math.nan], [math.inf]])
def test_times_that_cannot_be_are_refused(seconds):
    with pytest.raises(ValueError, match="positive seconds"):
        ratio_interval([1.0], seconds)
