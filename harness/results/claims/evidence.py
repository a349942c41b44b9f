"""The scores and costs that one or several runs give for each row of the paper's tables.

    run folders ─► gather ─► Evidence ─► table(suite) ─► row(key) ─► scores, seconds, train_peak_mib

What is not there raises NoEvidence with the reason; nothing is filled in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness.results.departures import departures
from harness.results.intervals import Interval
from harness.results.misses import Misses, misses, without_target
from harness.results.paper import printed
from harness.results.rows import ResultRow, merged_rows
from harness.results.scores import Scores
from harness.runs.measures import Measure
from harness.runs.records import Failed, Measured, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.suites import suite
from harness.runs.trial_folder import TrialFolder

Word = Literal["supported", "not supported", "undecided", "not run"]
NOT_PRINTED = "no figures printed"


class NoEvidence(Exception):
    """Raised where the trials allow no finding yet; the text is the reason in a few words."""


class Finding(NamedTuple):
    """The verdict of the trials on a claim; `why` is the reason in a few words, or ""."""

    ours: str
    interval: Interval
    word: Word
    why: str = ""


class Margins(NamedTuple):
    """The margins by which a row may be worse and still count as "at least as good"."""

    points: float = 0.5
    """The margin of Dice and Jaccard, in percentage points."""
    mm: float = 1.0
    """The margin of HD95, in mm."""

    def of(self, metric: Measure) -> float:
        """The margin in the unit of `metric`."""
        return self.mm if metric.unit == "mm" else self.points


MARGINS = Margins()


class Repetitions(NamedTuple):
    """Repeated measurements of a row and the devices that made them."""

    values: tuple[float, ...]
    devices: frozenset[str]


class Timings(NamedTuple):
    """Seconds of each process that segmented the same volume, and the devices of the processes."""

    processes: tuple[tuple[float, ...], ...]
    devices: frozenset[str]


class Rated(NamedTuple):
    """The scores of a row, or of a group of rows as one, and the misses of all trainings."""

    scores: Scores
    missed: int
    false_alarms: int


@dataclass(frozen=True)
class RowEvidence:
    """The trials of one row, all of them finished."""

    title: str
    row: ResultRow

    @property
    def trials(self) -> tuple[TrialFolder, ...]:
        """One trial for each seed."""
        return self.row.trials

    def scores(self, metric: Measure) -> Scores:
        """The scores by patient and seed, times `metric.scale`.

        NoEvidence where no test case has a target, so that there is nothing to find.
        """
        if without_target(self.trials):
            raise NoEvidence("no test case has a target")
        return self.row.scores(metric.key, metric.scale)

    def misses(self) -> Misses:
        """The missed targets and false alarms of all trainings."""
        return misses(self.trials)

    def seconds(self) -> Timings:
        """The seconds of every process of every training.

        NoEvidence when a training was not timed.
        """
        records = []
        first = self.trials[0].spec().fold  # folds have one network, of which the first is timed
        for trial in (trial for trial in self.trials if trial.spec().fold == first):
            record = trial.measurement()
            if not isinstance(record, Measured):
                why = record.reason if record else "not measured"
                raise NoEvidence(f"{self.title} not timed: {why}")
            records.append(record)
        processes = tuple(tuple(each) for record in records for each in record.by_process)
        devices = frozenset(f"{r.device}, {r.threads} threads" for r in records)
        return Timings(processes, devices)

    def train_peak_mib(self) -> Repetitions:
        """Peak memory of training in MiB, one value for each seed.

        NoEvidence when one is not recorded.
        """
        results = [r for trial in self.trials if isinstance(r := trial.result(), Scored)]
        if any("train_peak_mib" not in result.memory for result in results):
            raise NoEvidence(f"{self.title}: training memory not recorded")
        values = tuple(result.memory["train_peak_mib"] for result in results)
        return Repetitions(values, frozenset(str(r.environment["device"]) for r in results))


@dataclass(frozen=True)
class TableEvidence:
    """The rows of one suite that were run, and the figures that the paper prints for these rows."""

    suite: str
    dataset: str
    titles: Mapping[str, str]
    rows: Mapping[str, ResultRow]
    margins: Margins = MARGINS

    def group(self, keys: Sequence[str], metric: Measure) -> Rated:
        """The rows `keys` as one. NoEvidence when a row was not run, failed or is not finished."""
        rows = {key: self.row(key) for key in keys}
        counts = [row.misses() for row in rows.values()]
        scores = Scores.of_group({key: row.scores(metric) for key, row in rows.items()})
        missed = sum(each.missed for each in counts)
        return Rated(scores, missed, sum(each.false_alarms for each in counts))

    def row(self, key: str) -> RowEvidence:
        """The evidence of row `key`.

        NoEvidence when the row was not run, failed or is not finished.
        """
        title = self.titles[key]
        if key not in self.rows:
            raise NoEvidence(f"{title} not run")
        for trial in self.rows[key].trials:
            result = trial.result()
            if result is None:
                raise NoEvidence(f"{title} not finished")
            if isinstance(result, Failed):
                raise NoEvidence(f"{title} failed: {result.reason}")
        return RowEvidence(title, self.rows[key])

    def printed(self, key: str, figure: str) -> float | None:
        """The figure that the paper prints, in the paper's unit; None where it prints no figure."""
        return printed(self.suite, key, self.dataset).get(figure)


@dataclass(frozen=True)
class Evidence:
    """The rows of all runs; `caveat` is why the rows say nothing about the paper, or ""."""

    dataset: str
    profile: str
    caveat: str
    suites: Mapping[str, Mapping[str, ResultRow]]
    margins: Margins = MARGINS

    def table(self, name: str) -> TableEvidence:
        titles = {row.key: row.in_profile(self.profile).title for row in suite(name).rows}
        return TableEvidence(name, self.dataset, titles, self.suites.get(name, {}), self.margins)


def gather(folders: Sequence[RunFolder], margins: Margins = MARGINS) -> Evidence:
    """The evidence of all runs, with the seeds of a row together.

    The same seed in two runs is one network and counts once: by the first that is finished.
    Raises UsageError for runs of different protocols, whose numbers do not compare, StateError
    for what is no run.
    """
    suites: dict[str, dict[str, ResultRow]] = {}
    for row in merged_rows(folders):
        suites.setdefault(row.suite, {})[row.key] = row
    run = folders[0].run()
    return Evidence(run.dataset, run.profile, "; ".join(departures(run)), suites, margins)
