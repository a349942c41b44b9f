"""Intervals and tests against published numbers, scipy and complete enumeration.

What they cover is simulated in test_coverage.py.
"""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.results.intervals import (
    mean_interval,
    median_interval,
    paired_difference,
    ratio_interval,
    seeds_needed,
)
from harness.results.scores import MIN_PATIENTS, Scores


def scores(*values, unit=None):
    """One score per case; a tuple holds one for each seed."""
    rows = [np.atleast_1d(value) for value in values]
    return Scores(
        {
            seed: {f"case-{place:03}": row[seed] for place, row in enumerate(rows)}
            for seed in range(len(rows[0]))
        },
        unit,
    )


def several(table):
    """(cases, seeds) -> Scores."""
    return scores(*map(tuple, table))


SKEWED = np.random.default_rng(1).lognormal(size=25)
# Student (Biometrika 6 (1908) 1), hours of sleep gained by ten patients with two drugs: R prints
# t = -4.0621, df = 9, p = 0.002833, 95 % interval -2.4598858 to -0.7001142 for its `sleep`.
FIRST_DRUG = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SECOND_DRUG = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)


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


def test_a_case_is_the_average_of_its_seeds():
    assert scores((0.2, 0.4), (0.5, 0.9)).values.tolist() == [0.3, 0.7]


def test_the_scans_of_a_patient_are_one_observation():
    unit = {"case-000": "ann", "case-001": "ann", "case-002": "bob"}
    found = scores(1, 3, 5, unit=unit)
    assert found.means.to_dict() == {"ann": 2, "bob": 5}


def test_deviations_are_of_the_sample():
    table = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 8.0], [2.0, 2.0, 3.0]])
    found = several(table)
    assert found.spread == pytest.approx(np.std(table.mean(axis=1), ddof=1))
    assert found.spread_of_seeds == pytest.approx(np.std(table.mean(axis=0), ddof=1))


def test_a_group_of_systems_has_no_spread_over_trainings():
    twice = several([[1.0, 2.0], [3.0, 5.0]])
    assert Scores.of_group({"a": twice, "b": twice}).spread_of_seeds is None


def test_one_training_and_one_patient_have_no_spread():
    assert (scores(1.0).spread, scores(1.0, 2.0).spread_of_seeds) == (None, None)


def test_a_group_of_systems_is_their_mean_in_each_case():
    group = Scores.of_group({"a": scores(1, 2, 3), "b": scores((3, 5), (4, 8), (6, 6))})
    assert group.values.tolist() == [2.5, 4, 4.5]
    assert group.n_seeds == 1


def test_a_training_of_one_system_moves_its_group_by_its_share():
    group = Scores.of_group({"a": scores((1, 1), (2, 2)), "b": scores((3, 5), (4, 8))})
    still, moved = group.by_training
    assert still.tolist() == [[2.5, 2.5], [4, 4]]
    assert moved.tolist() == [[2, 3], [3, 5]]


def test_a_group_needs_the_same_cases():
    with pytest.raises(ValueError, match="case-002"):
        Scores.of_group({"a": scores(1, 2, 3), "b": scores(1, 2)})


# ── the mean and its interval ───────────────────────────────────────────────────────────────────


def every_resample(values):
    """Counts of all resamples of six values, and the chance of each."""
    draws = list(combinations_with_replacement(range(6), 6))
    counts = np.array([np.bincount(draw, minlength=6) for draw in draws])
    ways = [math.factorial(6) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts, np.array(ways) / 6**6


def test_the_interval_of_skewed_scores_is_the_studentised_bootstrap_over_all_resamples():
    """On the long side of six skewed values; on the short side Student's t reaches farther."""
    values = np.array([0.95, 0.94, 0.92, 0.9, 0.85, 0.4])
    counts, chance = every_resample(values)
    far = []
    for row in counts:
        drawn = np.repeat(values, row)
        error = drawn.std(ddof=1) / math.sqrt(6)
        gap = drawn.mean() - values.mean()
        far.append(gap / error if np.ptp(drawn) else math.copysign(math.inf, gap))
    order = np.argsort(far)
    upper = np.array(far)[order][np.searchsorted(chance[order].cumsum(), 0.975)]
    error = values.std(ddof=1) / math.sqrt(6)
    found = mean_interval(scores(*values))
    assert found.low == pytest.approx(values.mean() - upper * error, rel=0.05)
    assert found.high == pytest.approx(values.mean() + stats.t.ppf(0.975, 5) * error)


def test_the_interval_of_symmetric_scores_is_no_narrower_than_students():
    values = np.arange(12.0)
    student = stats.ttest_1samp(values, 0).confidence_interval()
    found = mean_interval(scores(*values))
    assert found.low <= student.low and student.high <= found.high
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.3)


def test_an_interval_ends_where_the_score_does():
    values = [0.0, 99.9, 100.0, 100.0, 100.0, 99.9]
    assert mean_interval(scores(*values)).high > 100
    assert mean_interval(scores(*values), (0, 100))[1:3] == (0, 100)


def test_repeating_a_training_does_not_narrow_the_interval():
    once, five = mean_interval(scores(*SKEWED)), mean_interval(scores(*[(x,) * 5 for x in SKEWED]))
    assert (once.n_seeds, five.n_seeds) == (1, 5)
    assert five[:4] == pytest.approx(once[:4])


def test_trainings_that_differ_widen_the_interval_of_a_mean():
    shifts = np.array([-1.0, 0.0, 1.0])
    alone, found = mean_interval(scores(*SKEWED)), mean_interval(several(SKEWED[:, None] + shifts))
    for end in (1, 2):
        reach = (alone[end] - alone.estimate) / stats.norm.ppf(0.975)
        variance, of_seeds = reach**2 + 1 / 3, 1 / 3
        freedom = variance**2 / (of_seeds**2 / 2)
        expected = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
        assert abs(found[end] - found.estimate) == pytest.approx(expected)


def test_an_interval_is_the_same_in_any_order_and_each_time():
    cases = {f"case-{place}": value for place, value in enumerate(SKEWED)}
    turned = dict(reversed(cases.items()))
    first = mean_interval(Scores({0: cases, 1: cases}))
    assert mean_interval(Scores({1: turned, 0: turned})) == first


def test_constant_scores_have_an_interval_without_width():
    assert mean_interval(scores(*[0.1] * 7))[:3] == (0.1, 0.1, 0.1)


def test_two_cases_have_a_mean_and_a_reason_for_no_interval():
    found = mean_interval(scores(0.25, 0.75))
    note = f"n too small: 2 patients, an interval needs {MIN_PATIENTS}"
    assert found == (0.5, None, None, 2, 1, note)


# ── the median and its interval ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [6, 7, 8, 9, 11, 20, 25, 50, 74, 200])
def test_the_interval_of_a_median_is_scipys_of_order_statistics(n):
    values = np.random.default_rng(n).lognormal(size=n)
    reference = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert median_interval(scores(*values))[:3] == pytest.approx((np.median(values), *reference))


def test_one_penalty_more_moves_the_mean_but_not_the_median():
    whole, missed = [*range(1, 21)], [*range(1, 20), 300]
    assert median_interval(scores(*whole))[:3] == median_interval(scores(*missed))[:3]


def test_trainings_that_differ_widen_the_interval_of_a_median():
    alone = median_interval(scores(*SKEWED))
    found = median_interval(several(SKEWED[:, None] + np.array([-1.0, 0.0, 1.0])))
    assert found.estimate == alone.estimate
    assert found.low < alone.low and alone.high < found.high


# ── two systems ─────────────────────────────────────────────────────────────────────────────────


def test_interval_and_p_are_those_of_students_sleepers():
    found = paired_difference(scores(*FIRST_DRUG), scores(*SECOND_DRUG))
    assert found.difference[:3] == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-7)
    assert found.p == pytest.approx(0.002833, abs=5e-7)


@pytest.mark.parametrize("n", [6, 20, 74])
def test_a_mean_difference_is_tested_by_scipys_paired_t(n):
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.3, size=n), rng.normal(size=n)
    expected = stats.ttest_rel(first, second)
    found = paired_difference(scores(*first), scores(*second))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference[1:3] == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("signs", [(+1,) * 6, (+1,) * 7 + (-1,), (+1,) * 20 + (-1,) * 5])
def test_a_median_difference_is_tested_by_scipys_sign_test(signs):
    values = np.arange(1, len(signs) + 1) * signs
    found = paired_difference(scores(*values), scores(*values * 0), "median")
    expected = stats.binomtest(signs.count(1), len(signs)).pvalue
    assert found.p == pytest.approx(expected)


def test_equal_scores_speak_against_either_side():
    found = paired_difference(scores(1, 2, 3, 4, 5, 6, 0), scores(*[0] * 7), "median")
    assert found.p == pytest.approx(2 * 8 / 2**7)
    assert found.difference.low == 0


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["mean", "median"]), st.integers(1, 3))
def test_p_is_below_5_percent_where_the_interval_excludes_0(data, centre, seeds):
    row = st.tuples(*[st.integers(-3, 7)] * seeds)
    rows = data.draw(st.lists(row, min_size=MIN_PATIENTS, max_size=15))
    found = paired_difference(scores(*rows), scores(*[(0,) * seeds] * len(rows)), centre)
    low, high = found.difference[1:3]
    assert (found.p < 0.05) == (low > 0 or high < 0)


def test_variances_of_patients_and_trainings_add_up_with_satterthwaites_freedom():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(20, 3)) + np.arange(3), rng.normal(size=(20, 5))
    gaps = first.mean(axis=1) - second.mean(axis=1)
    parts = [(gaps.var(ddof=1) / 20, 19)]
    parts += [(x.mean(axis=0).var(ddof=1) / x.shape[1], x.shape[1] - 1) for x in (first, second)]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / f for v, f in parts)
    found = paired_difference(several(first), several(second))
    far = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert found.difference[:3] == pytest.approx(
        (gaps.mean(), gaps.mean() - far, gaps.mean() + far)
    )
    assert found.p == pytest.approx(2 * stats.t.sf(abs(gaps.mean()) / math.sqrt(variance), freedom))
    assert (found.difference.n_seeds, found.about_networks) == (3, False)


def test_after_one_training_of_either_it_is_about_these_networks():
    found = paired_difference(several(np.eye(6)), scores(*[0.5] * 6))
    assert found.about_networks and found.difference.n_seeds == 1


def test_a_mean_that_points_against_the_median_is_noticed():
    """Better by 1 mm in each of nine patients, and a target missed in the tenth."""
    first, second = [*[4.0] * 9, 300.0], [5.0] * 10
    found = paired_difference(scores(*first), scores(*second), "median")
    assert (found.difference.estimate, found.mean) == (-1, 28.6)
    assert found.contradicts


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_turning_the_pair_turns_the_signs(centre):
    there = paired_difference(scores(*FIRST_DRUG), scores(*SECOND_DRUG), centre)
    back = paired_difference(scores(*SECOND_DRUG), scores(*FIRST_DRUG), centre)
    assert back.p == there.p
    assert back.difference[:3] == pytest.approx([-there.difference[place] for place in (0, 2, 1)])


def test_a_constant_difference_has_ties_not_rounding_errors():
    """0.3 - 0.2 is not 0.2 - 0.1 in binary."""
    better = scores(0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    found = paired_difference(better, scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert found.difference[:3] == (0.1, 0.1, 0.1)
    assert found.p == 2 / 2**6


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_identical_systems_have_p_1_and_say_why(centre):
    found = paired_difference(scores(*SKEWED), scores(*SKEWED), centre)
    assert (found.p, found.difference[:3]) == (1, (0, 0, 0))
    assert found.note == "identical scores in every case"


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_five_cases_have_a_difference_but_no_test(centre):
    found = paired_difference(scores(1, 2, 3, 4, 5), scores(0, 0, 0, 0, 0), centre)
    assert (found.p, found.difference.estimate) == (None, 3)
    assert found.note == "n too small: 5 patients, a test needs 6"
    assert found.difference.note == "n too small: 5 patients, an interval needs 6"


def test_cases_of_one_system_only_are_named():
    with pytest.raises(ValueError, match="case-006"):
        paired_difference(scores(*range(7)), scores(*range(6)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.3, 312.7])] * 4), min_size=1),
       st.sampled_from(["mean", "median"]))  # fmt: skip
def test_no_scores_lead_to_nan_or_a_warning(rows, centre):
    first, second = (several([row[side : side + 2] for row in rows]) for side in (0, 2))
    found = paired_difference(first, second, centre)
    numbers = [*found.difference[:3], found.mean, found.p]
    numbers += [*mean_interval(first)[:3], *median_interval(first)[:3]]
    assert all(number is None or math.isfinite(number) for number in numbers)
    assert (found.p is None) == (len(rows) < MIN_PATIENTS) == (found.difference.low is None)


# ── how many trainings ──────────────────────────────────────────────────────────────────────────


def spread(of_patients, of_seeds, n=50, seeds=5, seed=0):
    """Differences of patients and trainings whose sample deviations are as told."""
    rng = np.random.default_rng(seed)

    def scaled(values, to):
        centred = values - values.mean()
        return centred * (to / centred.std(ddof=1))

    patients, trainings = rng.normal(size=n), rng.normal(size=seeds)
    return several(scaled(patients, of_patients)[:, None] + scaled(trainings, of_seeds)[None, :])


def test_the_seeds_needed_find_a_difference_in_80_percent_of_studies():
    """By simulation: trainings 0.6 apart, patients' differences 1 apart, 50 patients."""
    needed = seeds_needed(spread(1, 0.6), spread(0, 0.6, seed=1), 1)
    rng = np.random.default_rng(5)

    def found(seeds):
        first = several(1 + rng.normal(0, 1, (50, 1)) + rng.normal(0, 0.6, (1, seeds)))
        return paired_difference(first, several(np.zeros((50, 1)) + rng.normal(0, 0.6, (1, seeds))))

    def power(seeds):
        return np.mean([found(seeds).p < 0.05 for _ in range(400)])

    assert 0.78 < power(needed) < 0.92
    assert power(needed - 3) < 0.75


def test_the_seeds_needed_are_the_least_by_students_t():
    """Of many patients their variance hardly counts: t (0.975) + t (0.8), each of 2 (k - 1)."""
    first, second = spread(0, 0.6), spread(0, 0.6, seed=1)

    def needed(gap):
        error = (math.sqrt(2 * 0.36 / k) for k in range(2, 99))
        powers = (stats.t.ppf(0.975, 2 * k - 2) + stats.t.ppf(0.8, 2 * k - 2) for k in range(2, 99))
        return next(k for k, e, t in zip(range(2, 99), error, powers, strict=False) if e * t <= gap)

    for gap in (0.4, 0.7, 1.0, 1.4, 2.0):
        assert seeds_needed(first, second, gap) == needed(gap)


@pytest.mark.parametrize("gap", [0.9, 1.0, 1.1, 1.2, 1.3, 1.5])
def test_of_few_patients_the_seeds_needed_count_their_variance_and_freedom(gap):
    """Satterthwaite's degrees of freedom, from the parts as they are defined."""
    first, second = spread(1, 0.3, n=8, seeds=4), spread(0, 0.3, n=8, seeds=4, seed=1)
    differences = first.values - second.values
    of_patients = differences.var(ddof=1) / 8

    def found(k):
        parts = [(of_patients, 7), (0.09 / k, k - 1), (0.09 / k, k - 1)]
        whole = sum(variance for variance, _ in parts)
        freedom = whole**2 / sum(variance**2 / free for variance, free in parts)
        reach = stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)
        return reach * math.sqrt(whole) <= gap

    assert seeds_needed(first, second, gap) == next(filter(found, range(2, 500)), 0)


@pytest.mark.parametrize("more, expected", [(1, 100), (-1, 0)])
def test_more_than_a_hundred_seeds_are_never_asked_for(more, expected):
    """A gap that 100 trainings find just so, and one that they just miss."""
    reach = stats.t.ppf(0.975, 198) + stats.t.ppf(0.8, 198)
    gap = reach * math.sqrt(2 * 0.36 / 100) * (1 + more * 0.002)
    assert seeds_needed(spread(0, 0.6), spread(0, 0.6, seed=1), gap) == expected


def test_too_few_patients_are_not_mended_by_seeds():
    assert seeds_needed(spread(20, 0.5), spread(0, 0.5, seed=1), 1) == 0


def test_one_training_tells_nothing_of_how_many_are_needed():
    assert seeds_needed(scores(*SKEWED), scores(*SKEWED + 1), 1) is None


# ── speed ───────────────────────────────────────────────────────────────────────────────────────


def test_the_ratio_of_times_is_welchs_t_on_the_logarithms_of_processes():
    rng = np.random.default_rng(4)
    slow, fast = rng.lognormal(1, 0.2, size=(5, 7)), rng.lognormal(0, 0.1, size=(3, 7))
    sides = [np.log(np.median(side, axis=1)) for side in (slow, fast)]
    reference = stats.ttest_ind(*sides, equal_var=False).confidence_interval()
    found = ratio_interval(slow, fast)
    assert found.estimate == pytest.approx(math.exp(sides[0].mean() - sides[1].mean()))
    assert (found.low, found.high) == pytest.approx(tuple(map(math.exp, reference)))
    assert (found.n_patients, found.note) == (3, "")


def test_repetitions_in_one_process_have_a_ratio_but_no_interval():
    found = ratio_interval([[2.9, 3.0, 3.1]], [[1.5, 1.5], [1.5, 1.5]])
    assert found[:4] == (pytest.approx(2), None, None, 1)
    assert "one process" in found.note


def test_one_slow_repetition_does_not_move_the_ratio():
    assert ratio_interval([[2, 2, 50]] * 3, [[1, 1, 1]] * 3)[:3] == pytest.approx((2, 2, 2))


@pytest.mark.parametrize("seconds", [[], [[]], [[0.0]], [[-1.0]], [[math.nan]], [[math.inf]]])
def test_times_that_cannot_be_are_refused(seconds):
    with pytest.raises(ValueError, match="positive seconds"):
        ratio_interval([[1.0]], seconds)
