"""`pfbench compare`: which of two systems is better on the same cases, chance taken into account.

    RUN_DIR ROW ROW …      every two of these rows        (no ROW: of the table's)
    RUN_DIR RUN_DIR        each row of the first run against itself in the second

Every number is of first - second, paired by case. The p values of one metric are corrected
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from rich.markup import escape
from rich.table import Table

from harness.errors import UsageError, unknown
from harness.results.rankings import Comparison, Verdict, compare_pairs, verdict
from harness.results.rows import ResultRow, rows
from harness.results.standings import Standing, stand
from harness.runs.measures import SCORES
from harness.runs.nested import difference
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen

RULES = (
    "Difference: first − second, mean over the test cases with its 95 % BCa bootstrap interval; "
    "the seeds of a case are averaged. Hodges-Lehmann: the typical difference of a case.",
    "p: Wilcoxon's signed-rank test, two-sided, after Holm over the pairs of a metric. 'better' "
    "and 'worse' are said of the first at 5 %; 'open': neither is shown.",
    "A missed target and a failed trial count with the worst score there is.",
)


@dataclass(frozen=True)
class Found:
    """The pairs of one metric."""

    standing: Standing
    comparisons: tuple[Comparison, ...]

    def verdict(self, comparison: Comparison) -> Verdict:
        return verdict(comparison, higher_is_better=self.standing.higher_is_better)


@dataclass(frozen=True)
class Compared:
    """What is compared, metric by metric, and what must be said about it."""

    title: str
    found: tuple[Found, ...]
    notes: tuple[str, ...]


def compare(folders: Sequence[RunFolder], names: Sequence[str], suite: str = "") -> Compared:
    """Rows of one run with each other, or the rows of two runs.

    `names` are keys or titles of rows. Raises UsageError for an unknown name, fewer than two rows
    or runs on different cases, StateError for what is no run or has no readable scores.
    """
    if len(folders) == 2:
        return _compare_runs(folders[0], folders[1], names, suite)
    if len(folders) != 1:
        what = f"{len(folders)} run folders; one or two can be compared"
        raise UsageError(what, where="compare", remedy="pfbench compare RUN_DIR ROW ROW")
    [folder] = folders
    found = _chosen(_table(folder, suite, names), names)
    pairs = list(combinations([row.key for row in found], 2))
    return _compared(f"{found[0].suite}: rows of one run", found, pairs, [])


def _compare_runs(
    first: RunFolder, second: RunFolder, names: Sequence[str], suite: str
) -> Compared:
    before, after = first.run().protocol, second.run().protocol
    for key in ("data", "cases"):
        if before.get(key) != after.get(key):
            what = f"was scored on other cases than {first.path}, so that nothing can be paired"
            raise UsageError(what, where=str(second.path), remedy="two runs of one split",
                             code="PFB-C05")  # fmt: skip
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
    return _compared(f"{kept[0].suite}: two runs", named, pairs, notes)


def _table(folder: RunFolder, suite: str, names: Sequence[str]) -> list[ResultRow]:
    """The rows of `suite`; without one, of the run's first table that has all the names."""
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
    """The rows called so, each once, in the order of the names; all rows without names."""
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
    title: str, table: Sequence[ResultRow], pairs: Sequence[tuple[str, str]], notes: list[str]
) -> Compared:
    found = []
    for metric in SCORES:
        standing = stand(table, metric)
        there = [pair for pair in pairs if set(pair) <= set(standing.scores)]
        found.append(Found(standing, tuple(compare_pairs(there, standing.scores))))
        notes += standing.notes
    return Compared(title, tuple(found), tuple(dict.fromkeys(notes)))


def records(compared: Compared) -> dict[str, Any]:
    """For `--json`; every figure is in `unit`."""
    pairs = [_record(found, each) for found in compared.found for each in found.comparisons]
    return {"title": compared.title, "pairs": pairs, "notes": list(compared.notes)}


def _record(found: Found, each: Comparison) -> dict[str, Any]:
    standing, paired = found.standing, each.paired
    return {
        "metric": standing.metric.key,
        "unit": standing.metric.difference_unit,
        "first": each.first,
        "second": each.second,
        "first_mean": _mean(standing, each.first),
        "second_mean": _mean(standing, each.second),
        "difference": paired.difference.estimate,
        "low": paired.difference.low,
        "high": paired.difference.high,
        "hodges_lehmann": paired.hodges_lehmann,
        "p": paired.p,
        "p_holm": each.p_holm,
        "verdict": found.verdict(each),
        "n_cases": paired.difference.n_cases,
        "n_seeds": paired.difference.n_seeds,
        "note": paired.note,
    }


def _mean(standing: Standing, key: str) -> float:
    return float(standing.scores[key].means.mean())


HEADINGS = ("Metric", "First", "Second", "First", "Second", "Difference [95 %]", "Hodges-Lehmann",
            "p", "First is")  # fmt: skip


def cells(found: Found, each: Comparison) -> list[str]:
    """A pair as people read it, under `HEADINGS`."""
    titles, paired = found.standing.titles, each.paired
    low, high = paired.difference.low, paired.difference.high
    span = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    word = found.verdict(each)
    return [
        found.standing.metric.title,
        titles[each.first],
        titles[each.second],
        f"{_mean(found.standing, each.first):.2f}",
        f"{_mean(found.standing, each.second):.2f}",
        f"{paired.difference.estimate:+.2f}{span}",
        f"{paired.hodges_lehmann:+.2f}",
        p_value(each.p_holm),
        f"{word} ({paired.note})" if paired.note and word == "open" else paired.note or word,
    ]


def p_value(p: float | None) -> str:
    """ "0.031", "< 0.001", or nothing where there was no test."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def show(compared: Compared, screen: Screen) -> None:
    """The pairs, metric by metric, for the person at the terminal."""
    table = Table(title=compared.title, title_justify="left", header_style="bold")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 3 <= place <= 7 else "left")
    for found in compared.found:
        table.add_section()
        for each in found.comparisons:
            table.add_row(*map(escape, cells(found, each)))
    screen.show(table)
    for note in (*compared.notes, *RULES):
        screen.say(f"- {note}")
