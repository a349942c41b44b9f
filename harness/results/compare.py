"""`pfbench compare`: which of two systems is better on the same cases, with intervals and tests.

    RUN_DIR ROW ROW …      every two of these rows        (no ROW: of the table's)
    RUN_DIR RUN_DIR        each row of the first run against itself in the second

Every number is of first - second, paired by patient. The p values of one metric are corrected
together. Of several targets a score is the mean over them; `by_target` adds those of each, which
are corrected together, too, beside the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from rich.table import Table

from harness.errors import UsageError, unknown
from harness.results.intervals import seeds_needed
from harness.results.rankings import Comparison, Verdict, compare_families, verdict
from harness.results.rows import ResultRow, rows, scored_targets
from harness.results.standings import Standing, stand
from harness.runs.files import JsonObject
from harness.runs.measures import SCORES, Measure
from harness.runs.nested import difference
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen

RULES = (
    "Difference: first − second over the patients, with its 95 % interval. Dice, Jaccard: the mean "
    "difference, Student's t. HD95: the median difference, order statistics and the sign test; its "
    "means stand beside, ruled by what was missed.",
    "p: two-sided, after Holm over the pairs of a metric. 'better' and 'worse' are said of the "
    "first at 5 %; 'open': neither is shown, or mean and median point to opposite sides.",
    "Several trainings: interval and test speak of new patients and new trainings. One training: "
    "of new patients for these two networks, which says little of the methods.",
    "A missed target counts with the worst score there is; a failed trial is left out and named. "
    "Seeds for 1 point: trainings of both that would tell a true difference of 1 point in 80 % of "
    "studies, on so many patients.",
)
NETWORKS = "these two networks"
OTHER_VERSION = (
    "two versions of pfbench prepared the volumes; targets have the same size in every test case"
)
DISAGREE = "mean and median disagree"


@dataclass(frozen=True)
class Found:
    """The comparisons of all pairs in one metric."""

    standing: Standing
    comparisons: tuple[Comparison, ...]
    target: str = ""
    """The target that the scores are of; "" for the only one, or the mean over several."""

    @property
    def title(self) -> str:
        """The metric's heading, with the target where it is one of several."""
        title = self.standing.metric.title
        return f"{title}, {self.target}" if self.target else title

    def verdict(self, comparison: Comparison) -> Verdict:
        return verdict(comparison, higher_is_better=self.standing.higher_is_better)

    def seeds(self, comparison: Comparison) -> int | None:
        """Trainings that detect 1 point of Dice or Jaccard, see `seeds_needed`; None for mm."""
        scores = self.standing.scores
        if self.standing.metric.unit != "%":
            return None
        return seeds_needed(scores[comparison.first], scores[comparison.second], 1.0)


@dataclass(frozen=True)
class Compared:
    """The result of `compare`: the pairs in each metric, and the notes to print under them."""

    title: str
    found: tuple[Found, ...]
    notes: tuple[str, ...]


def compare(
    folders: Sequence[RunFolder], names: Sequence[str], suite: str = "", *, by_target: bool = False
) -> Compared:
    """Compare the rows of one run with each other, or the same rows of two runs.

    `names` are keys or titles of rows; `by_target` adds each of several targets. Raises UsageError
    for an unknown name, fewer than two rows or runs on different cases, StateError for what is no
    run or has no readable scores.
    """
    targets = _targets(folders[0]) if by_target else ()
    if len(folders) == 2:
        return _compare_runs(folders[0], folders[1], names, suite, targets)
    if len(folders) != 1:
        what = f"{len(folders)} run folders; one or two can be compared"
        raise UsageError(what, where="compare", remedy="pfbench compare RUN_DIR ROW ROW")
    [folder] = folders
    found = _chosen(_table(folder, suite, names), names)
    pairs = list(combinations([row.key for row in found], 2))
    return _compared(f"{found[0].suite}: rows of one run", found, pairs, [], targets)


def _targets(folder: RunFolder) -> tuple[str, ...]:
    """The targets of a run that any test case has. UsageError where it has but one target."""
    targets = scored_targets([folder])
    if not folder.run().targets:
        what, remedy = f"{folder.path} has one target", "leave it out"
        raise UsageError(what, where="--by-target", remedy=remedy, code="PFB-C02")
    return targets


def _compare_runs(
    first: RunFolder,
    second: RunFolder,
    names: Sequence[str],
    suite: str,
    targets: Sequence[str],
) -> Compared:
    before, after = first.run().protocol, second.run().protocol
    if not _same_cases(first, second):
        what = f"was scored on other cases than {first.path}, so that nothing can be paired"
        raise UsageError(
            what, where=str(second.path), remedy="two runs of one split", code="PFB-C05"
        )
    sides = {f"run {n}": _table(f, suite, names) for n, f in ((1, first), (2, second))}
    both = {row.key for row in sides["run 1"]} & {row.key for row in sides["run 2"]}
    kept = [row for row in _chosen(sides["run 1"], names, at_least=1) if row.key in both]
    if not kept:
        what = "has no row in common with the first"
        raise UsageError(what, where=str(second.path), remedy="pfbench compare RUN_DIR ROW ROW")
    keys = [row.key for row in kept]
    named = [
        replace(row, key=f"{side}/{row.key}", title=f"{row.title}, {side}")
        for side, table in sides.items()
        for row in table
        if row.key in keys
    ]
    pairs = [(f"run 1/{key}", f"run 2/{key}") for key in keys]
    changed = difference(before["protocol"], after["protocol"])
    notes = [f"run 1: {first.path}; run 2: {second.path}"]
    notes += [f"the protocols differ: {changed}"] if changed else []
    notes += [OTHER_VERSION] if before["data"] != after["data"] else []
    return _compared(f"{kept[0].suite}: two runs", named, pairs, notes, targets)


def _same_cases(first: RunFolder, second: RunFolder) -> bool:
    """Whether two runs were scored on the same cases.

    Another version of pfbench gives the same volumes another fingerprint. Then the volumes of the
    targets tell: they have to be equal in every test case.
    """
    before, after = first.run(), second.run()
    asked = [{**run.protocol["data"], "fingerprint": ""} for run in (before, after)]
    cases = [run.protocol.get("cases") for run in (before, after)]
    if asked[0] != asked[1] or cases[0] != cases[1] or before.folds.keys() != after.folds.keys():
        return False
    if before.protocol["data"] == after.protocol["data"]:
        return True
    sizes = [_sizes_ml(folder) for folder in (first, second)]
    versions = {run.protocol["code"] for run in (before, after)}
    return len(versions) == 2 and sizes[0] == sizes[1] != {}


def _sizes_ml(folder: RunFolder) -> dict[str, float]:
    """The volume of the target of each test case in ml; {} where no trial is finished."""
    done = (t for t in folder.trials() if t.state() == "ok" and t.spec().test is None)
    return next((trial.scores("target_ml") for trial in done), {})


def _table(folder: RunFolder, suite: str, names: Sequence[str]) -> list[ResultRow]:
    """The rows of `suite`; without a suite, of the run's first table that has all the names."""
    if suite:
        return rows(folder, suite)
    tables: dict[str, list[ResultRow]] = {}
    for row in rows(folder):
        tables.setdefault(row.suite, []).append(row)
    fitting = [table for table in tables.values() if all(_named(table, name) for name in names)]
    return fitting[0] if fitting else [row for table in tables.values() for row in table]


def _named(table: Sequence[ResultRow], name: str) -> list[ResultRow]:
    return [row for row in table if name.lower() in (row.key.lower(), row.title.lower())]


def _chosen(
    table: Sequence[ResultRow], names: Sequence[str], *, at_least: int = 2
) -> list[ResultRow]:
    """The rows with these keys or titles, once each, in order of `names`; all without names."""
    for name in names:
        if not _named(table, name):
            raise unknown("row", name, (row.key for row in table))
    found = [row for name in names for row in _named(table, name)[:1]] if names else list(table)
    found = list({row.key: row for row in found}.values())
    if len(found) < at_least:
        what = f"only {found[0].title}; a comparison needs two rows"
        known = ", ".join(row.key for row in table)
        raise UsageError(what, where="compare", remedy=f"two of: {known}")
    return found


def _compared(
    title: str,
    table: Sequence[ResultRow],
    pairs: Sequence[tuple[str, str]],
    notes: list[str],
    targets: Sequence[str],
) -> Compared:
    found = []
    for metric in SCORES:
        for family in ([""], list(targets)):
            made = family_of(table, metric, pairs, family)
            found += made
            notes += [note for each in made for note in each.standing.notes]
    return Compared(title, tuple(found), tuple(dict.fromkeys(notes)))


def family_of(
    table: Sequence[ResultRow],
    metric: Measure,
    pairs: Sequence[tuple[str, str]],
    targets: Sequence[str],
) -> list[Found]:
    """The comparisons of the pairs in each of `targets`, all of them corrected together."""
    standings = [stand([row.of_target(target) for row in table], metric) for target in targets]
    families = [
        ([pair for pair in pairs if set(pair) <= set(standing.scores)], standing.scores)
        for standing in standings
    ]
    compared = compare_families(families, metric.centre)
    return [
        Found(standing, tuple(comparisons), target)
        for standing, comparisons, target in zip(standings, compared, targets, strict=True)
    ]


def records(compared: Compared) -> JsonObject:
    """The comparisons for `--json`; every figure is in the unit named by `unit`."""
    pairs = [_record(found, each) for found in compared.found for each in found.comparisons]
    return {"title": compared.title, "pairs": pairs, "notes": list(compared.notes)}


def _record(found: Found, each: Comparison) -> JsonObject:
    standing, paired = found.standing, each.paired
    of = {"target": found.target} if found.target else {}
    return of | {
        "metric": standing.metric.key,
        "unit": standing.metric.difference_unit,
        "first": each.first,
        "second": each.second,
        **_side("first", standing, each.first),
        **_side("second", standing, each.second),
        "centre": standing.metric.centre,
        "difference": paired.difference.estimate,
        "low": paired.difference.low,
        "high": paired.difference.high,
        "mean_difference": paired.mean,
        "p": paired.p,
        "p_holm": each.p_holm,
        "verdict": found.verdict(each),
        "about": NETWORKS if paired.about_networks else "the methods",
        "seeds_for_1_point": found.seeds(each),
        "n_patients": paired.difference.n_patients,
        "n_seeds": paired.difference.n_seeds,
        "note": DISAGREE if paired.contradicts else paired.note,
    }


def _side(side: str, standing: Standing, key: str) -> JsonObject:
    values, missed = standing.scores[key].values, standing.misses[key]
    return {
        f"{side}_mean": float(values.mean()),
        f"{side}_median": float(np.median(values)),
        f"{side}_missed": missed.missed,
        f"{side}_false_alarms": missed.false_alarms,
    }


HEADINGS = (
    "Metric",
    "First",
    "Second",
    "First",
    "Second",
    "Difference [95 %]",
    "p",
    "Seeds for 1 point",
    "First is",
)


def cells(found: Found, each: Comparison) -> list[str]:
    """The cells of one pair in the printed table, under `HEADINGS`."""
    titles, paired = found.standing.titles, each.paired
    low, high = paired.difference.low, paired.difference.high
    span = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    difference = f"{paired.difference.estimate:+.2f}{span}"
    if found.standing.metric.centre == "median":
        difference = f"median {difference}, mean {paired.mean:+.2f}"
    return [
        found.title,
        titles[each.first],
        titles[each.second],
        in_figures(found.standing, each.first),
        in_figures(found.standing, each.second),
        difference,
        p_value(each.p_holm),
        seeds_in_words(found, each),
        in_words(found.verdict(each), each),
    ]


def in_figures(standing: Standing, key: str) -> str:
    """The score as text: "83.41"; of HD95 "12.30, median 5.10, missed 1 + 0" (false alarms)."""
    values, missed = standing.scores[key].values, standing.misses[key]
    mean = f"{values.mean():.2f}"
    if standing.metric.centre == "mean":
        return mean
    return f"{mean}, median {np.median(values):.2f}, missed {missed.missed} + {missed.false_alarms}"


def in_words(word: Verdict, each: Comparison) -> str:
    """The verdict as text: "better (these two networks)", "open (mean and median disagree)"."""
    paired = each.paired
    if word == "n too small":
        return paired.note
    if word in ("better", "worse"):
        return f"{word} ({NETWORKS})" if paired.about_networks else word
    why = DISAGREE if paired.contradicts else paired.note
    return f"{word} ({why})" if why else word


def seeds_in_words(found: Found, each: Comparison) -> str:
    """The number of trainings needed to detect 1 point, or why no number is given; as text."""
    needed = found.seeds(each)
    if needed is None:
        one = found.standing.metric.unit == "%" and each.paired.about_networks
        return "one training: unknown" if one else ""
    return str(needed) if needed else "too few patients"


def p_value(p: float | None) -> str:
    """The p value as text: "0.031", "< 0.001", or "" where there was no test."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def show(compared: Compared, screen: Screen) -> None:
    """Print the pairs, metric by metric, on the terminal."""
    table = Table(title=compared.title, title_justify="left", header_style="bold")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 3 <= place <= 7 else "left")
    for found in compared.found:
        table.add_section()
        for each in found.comparisons:
            table.add_row(*cells(found, each))
    screen.show(table)
    for note in (*compared.notes, *RULES):
        screen.say(f"- {note}")
