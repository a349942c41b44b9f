"""How often intervals cover and tests err, by simulation: the tables of docs/statistics.md.

`python tests/test_coverage.py` prints them as they stand there.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.results.drops import difference
from harness.results.intervals import (
    mean_interval,
    median_interval,
    paired_difference,
    ratio_interval,
)
from harness.results.scores import Scores

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
CASES = (6, 7, 8, 10, 20, 50, 74)
STUDIES = 2000
SPREADS = (0.0, 0.25, 0.5, 1.0)  # of trainings, in points of Dice
DICE = (0.0, 100.0)
PENALTY = 300.0  # mm: a missed target

pytestmark = pytest.mark.long


def scores(values):
    """(patients, seeds) -> Scores."""
    names = [f"case-{number:03}" for number in range(len(values))]
    return Scores({s: dict(zip(names, column, strict=True)) for s, column in enumerate(values.T)})


def dice(rng, n):
    return 100 * rng.beta(8, 1.5, (n, 1))


def normal(rng, n):
    return rng.normal(80, 8, (n, 1))


def distances(rng, n):
    """Skewed, and 3 % of the targets missed."""
    return np.where(rng.random((n, 1)) < 0.03, PENALTY, rng.lognormal(1.5, 0.8, (n, 1)))


def lognormal(rng, n):
    return rng.lognormal(1.5, 0.8, (n, 1))


def covers(interval, truth):
    return interval.low <= truth <= interval.high


def median_of(draw):
    return float(np.median(draw(np.random.default_rng(7), 2_000_000)))


def mean_covers(draw, truth):
    return lambda rng, n: covers(mean_interval(scores(draw(rng, n)), DICE), truth)


def median_covers(draw):
    truth = median_of(draw)
    return lambda rng, n: covers(median_interval(scores(draw(rng, n))), truth)


def pair(rng, n, draw, centre):
    return paired_difference(scores(draw(rng, n)), scores(draw(rng, n)), centre)


def difference_covers(draw, centre):
    return lambda rng, n: covers(pair(rng, n, draw, centre).difference, 0)


def claims(draw, centre):
    """Whether a study supports that the first of two equal systems is better."""
    return lambda rng, n: pair(rng, n, draw, centre).difference.low > 0


MEAN_OF_DICE = "mean of Dice, beta (8, 1.5)"
DIFFERENCES = {
    "mean difference, normal": (normal, "mean"),
    "mean difference, beta − beta": (dice, "mean"),
    "mean difference, lognormal − lognormal": (lognormal, "mean"),
}
MEDIANS = {
    "median of HD95, lognormal, 3 % missed": median_covers,
    "median difference of HD95, 3 % missed": lambda draw: difference_covers(draw, "median"),
}
ERRORS = {
    "claim of a mean difference, beta − beta": (dice, "mean"),
    "claim of a mean difference, lognormal − lognormal": (lognormal, "mean"),
    "claim of a median difference, 3 % missed": (distances, "median"),
}


def rate(study, *seed):
    """Percent of `STUDIES` in which `study(rng)` is true."""
    rng = np.random.default_rng(seed)
    return 100 * float(np.mean([study(rng) for _ in range(STUDIES)]))


@cache
def coverage(what, n):
    """Percent of intervals that hold the truth."""
    if what == MEAN_OF_DICE:
        study = mean_covers(dice, 100 * 8 / 9.5)
    elif what in MEDIANS:
        study = MEDIANS[what](distances)
    else:
        study = difference_covers(*DIFFERENCES[what])
    return rate(lambda rng: study(rng, n), 1, n)


@cache
def error(what, n):
    study = claims(*ERRORS[what])
    return rate(lambda rng: study(rng, n), 2, n)


def trained(rng, n, seeds, spread):
    """A system of 80 points: patients lie 2.4 apart in it, looks 1.5, trainings `spread`."""
    patients = rng.normal(80, 2.4, (n, 1))
    return patients + rng.normal(0, 1.5, (n, seeds)) + rng.normal(0, spread, (1, seeds))


@cache
def false_positives(n, seeds, spread, centre="mean"):
    """Percent of pairs of equal systems that are said to differ."""

    def study(rng):
        first, second = (scores(trained(rng, n, seeds, spread)) for _ in range(2))
        return paired_difference(first, second, centre).p < 0.05

    return rate(study, 3, n, seeds, int(100 * spread))


@cache
def coverage_with_seeds(n, seeds, spread):
    """Of the mean of Dice, over patients and trainings."""

    def study(rng):
        values = dice(rng, n) + trained(rng, n, seeds, spread) - 80
        return covers(mean_interval(scores(values)), 100 * 8 / 9.5)

    return rate(study, 4, n, seeds, int(100 * spread))


@cache
def ratio_coverage(processes, repetitions=5):
    """Seconds of processes lie 3 % apart, repetitions in one 1 %."""

    def side(rng, seconds):
        each = seconds * rng.lognormal(0, 0.03, (processes, 1))
        return each * rng.lognormal(0, 0.01, (processes, repetitions))

    return rate(lambda rng: covers(ratio_interval(side(rng, 4), side(rng, 1)), 4), 5, processes)


@pytest.mark.parametrize("n", [6, 20, 50])
def test_the_interval_of_a_drop_between_other_patients_covers(n):
    rng, drop = np.random.default_rng(n), 100 * (8 / 9.5 - 6 / 8.5)
    covered = []
    for _ in range(STUDIES // 4):
        home = mean_interval(scores(dice(rng, n)), DICE)
        away = mean_interval(scores(100 * rng.beta(6, 2.5, (n, 1))), DICE)
        covered.append(covers(difference(home, away), drop))
    assert np.mean(covered) > 0.93


@pytest.mark.parametrize("n", [6, 20, 50])
def test_the_interval_of_a_rise_of_the_median_distance_covers(n):
    rng, truth = np.random.default_rng(n), 2.0 * median_of(distances) - median_of(distances)
    covered = []
    for _ in range(STUDIES // 4):
        home = median_interval(scores(distances(rng, n)))
        away = median_interval(scores(2.0 * distances(rng, n)))
        covered.append(covers(difference(away, home), truth))
    assert np.mean(covered) > 0.93


@pytest.mark.parametrize("n", CASES)
def test_means_of_dice_are_covered_in_94_to_97_percent(n):
    assert 94 <= coverage(MEAN_OF_DICE, n) <= 97


@pytest.mark.parametrize("n", CASES)
@pytest.mark.parametrize("what", DIFFERENCES)
def test_mean_differences_are_covered_in_93_5_to_97_5_percent(what, n):
    assert 93.5 <= coverage(what, n) <= 97.5


@pytest.mark.parametrize("n", CASES)
@pytest.mark.parametrize("what", MEDIANS)
def test_medians_are_covered_in_at_least_94_5_percent_penalties_included(what, n):
    assert coverage(what, n) >= 94.5


@pytest.mark.parametrize("n", CASES)
@pytest.mark.parametrize("what", ERRORS)
def test_a_claim_without_effect_is_supported_in_at_most_3_percent(what, n):
    assert error(what, n) <= 3


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("n", [20, 74])
def test_equal_systems_differ_in_at_most_5_5_percent_however_far_trainings_lie_apart(
    n, seeds, spread
):
    assert false_positives(n, seeds, spread) <= 5.5
    assert false_positives(n, seeds, spread, "median") <= 5.5


@pytest.mark.parametrize("n", [6, 20, 74])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_means_over_several_trainings_are_covered_in_at_least_94_percent(n, spread):
    assert coverage_with_seeds(n, 3, spread) >= 94


@pytest.mark.parametrize("processes", [3, 5, 10])
def test_ratios_of_times_are_covered_in_94_to_97_percent_from_three_processes_on(processes):
    assert 94 <= ratio_coverage(processes) <= 97


def lines():
    """The tables of the page."""
    yield row("percent", *(f"n = {n}" for n in CASES))
    yield row(*["---"] * (1 + len(CASES)))
    for what in (MEAN_OF_DICE, *DIFFERENCES, *MEDIANS):
        yield row(what, *(f"{coverage(what, n):.1f}" for n in CASES))
    yield ""
    yield row("percent", *(f"n = {n}" for n in CASES))
    yield row(*["---"] * (1 + len(CASES)))
    for what in ERRORS:
        yield row(what, *(f"{error(what, n):.1f}" for n in CASES))
    yield ""
    yield row("patients, trainings", *(f"{spread:g} points" for spread in SPREADS))
    yield row(*["---"] * (1 + len(SPREADS)))
    for n in (20, 74):
        for seeds in (1, 2, 3, 5):
            found = [false_positives(n, seeds, spread) for spread in SPREADS]
            yield row(f"{n}, {seeds}", *(f"{each:.1f}" for each in found))
    yield ""
    yield row("processes", "percent")
    yield row("---", "---")
    for processes in (3, 5, 10):
        yield row(str(processes), f"{ratio_coverage(processes):.1f}")


def row(*cells):
    return f"| {' | '.join(cells)} |"


def test_the_tables_of_the_page_are_these():
    """Within half a point, as libraries round differently."""
    found = {line.split("|")[1].strip(): figures(line) for line in PAGE.read_text().splitlines()
             if line.startswith("|")}  # fmt: skip
    for line in lines():
        if wanted := figures(line):
            name = line.split("|")[1].strip()
            assert found[name] == pytest.approx(wanted, abs=0.5), name


def figures(line):
    return [float(cell) for cell in re.findall(r"(?<=\| )\d+\.\d(?= \|)", line)]


if __name__ == "__main__":
    print("\n".join(lines()))
