"""How the rows of a table compare with each other in one metric.

    rows ─► stand ─► Standing ─► intervals, comparisons, ranking

A missed target has the worst score in cases.csv and counts with it. A trial that failed says
nothing of any patient: it is left out and named, and so is a row of which no trial is left, or one
that is not finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.results.intervals import Interval, mean_interval, median_interval
from harness.results.misses import Misses, misses, without_target
from harness.results.rankings import Comparison, Ranking, compare_all, ranking
from harness.results.rows import ResultRow, trainings
from harness.results.scores import Scores
from harness.runs.measures import Measure
from harness.runs.records import Failed
from harness.runs.trial_folder import TrialFolder


@dataclass(frozen=True)
class Standing:
    """The scores of one metric for the rows of one table, times `metric.scale`."""

    metric: Measure
    titles: Mapping[str, str]
    """Row key -> title, for the rows that have scores."""
    scores: Mapping[str, Scores]
    misses: Mapping[str, Misses]
    notes: tuple[str, ...]
    """One note for each row or seed that is left out."""

    @property
    def higher_is_better(self) -> bool:
        return self.metric.side > 0

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The interval of the metric's centre for each row."""
        if self.metric.centre == "median":
            return {key: median_interval(scores) for key, scores in self.scores.items()}
        limits = (0.0, self.metric.scale) if self.metric.unit == "%" else None
        return {key: mean_interval(scores, limits) for key, scores in self.scores.items()}

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The comparison of every two rows, corrected together."""
        return compare_all(self.scores, self.metric.centre)

    @cached_property
    def ranking(self) -> Ranking | None:
        """The ranking of the rows; None for a single row."""
        if len(self.scores) < 2:
            return None
        return ranking(
            self.scores, higher_is_better=self.higher_is_better, centre=self.metric.centre
        )


def stand(rows: Sequence[ResultRow], metric: Measure) -> Standing:
    """The standing of the rows of one table in one metric.

    Raises StateError where the scores of a finished trial cannot be read.
    """
    scores: dict[str, Scores] = {}
    missed: dict[str, Misses] = {}
    notes = []
    for row in rows:
        trials, why = _finished(row)
        notes += why
        if without_target(trials):
            notes.append("no test case has a target: nothing can be compared")
        elif trials:
            scores[row.key] = row.scores(metric.key, metric.scale, trials)
            missed[row.key] = misses(trials)
    titles = {row.key: row.title for row in rows if row.key in scores}
    return Standing(metric, titles, scores, missed, tuple(dict.fromkeys(notes)))


def _finished(row: ResultRow) -> tuple[list[TrialFolder], list[str]]:
    """The trials that have scores, none while one is unfinished; and notes on trials left out.

    A seed of which a fold failed, or was not run, is left out whole: its other folds say nothing of
    the patients of that fold.
    """
    finished: list[TrialFolder] = []
    notes = []
    for group in trainings(row.trials):
        failed = []
        missing = set(row.folds) - {trial.spec().fold for trial in group}
        for trial in group:
            result = trial.result()
            if result is None:
                return [], [f"{row.title} is left out: {_training(row, trial)} is not finished"]
            if isinstance(result, Failed):
                failed.append(f"{_training(row, trial)}, is left out: it failed ({result.reason})")
        if failed:
            notes += [f"{row.title}, {why}" for why in failed]
        elif missing:
            seed, folds = group[0].spec().seed, ", ".join(map(str, sorted(missing)))
            notes.append(f"{row.title}, seed {seed}, is left out: it has no fold {folds}")
        else:
            finished += group
    if notes and not finished:
        notes.append(f"{row.title} is left out: no training of it is left")
    return finished, notes


def _training(row: ResultRow, trial: TrialFolder) -> str:
    spec = trial.spec()
    folds = row.run.run().folds
    return f"seed {spec.seed}" + (f" fold {spec.fold}" if folds else "")
