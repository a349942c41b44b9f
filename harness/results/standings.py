"""How the rows of a table stand to each other in one metric, failures at their worst.

    rows ─► stand ─► Standing ─► intervals, comparisons, ranking

A missed target already has the worst score in cases.csv. A trial that failed left no masks at all:
in every test case it counts as if it had found nothing, Dice and Jaccard 0 and HD95 the diagonal
of the volume, so that no system gains by breaking off. Rows that are not finished are left out and
named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.errors import StateError
from harness.results.rankings import Comparison, Ranking, compare_all, ranking
from harness.results.rows import ResultRow
from harness.results.statistics import Interval, Scores, mean_interval
from harness.runs.measures import Measure
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder


@dataclass(frozen=True)
class Standing:
    """One metric over the rows of one table; scores are times `metric.scale`."""

    metric: Measure
    titles: Mapping[str, str]
    """Row key -> title, of the rows that have scores."""
    scores: Mapping[str, Scores]
    notes: tuple[str, ...]
    """Who is left out, and whose failures count as the worst."""

    @property
    def higher_is_better(self) -> bool:
        return self.metric.side > 0

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        return {key: mean_interval(scores) for key, scores in self.scores.items()}

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every two rows, corrected together."""
        return compare_all(self.scores)

    @cached_property
    def ranking(self) -> Ranking | None:
        """None for a single row."""
        if len(self.scores) < 2:
            return None
        return ranking(self.scores, higher_is_better=self.higher_is_better)


def stand(rows: Sequence[ResultRow], metric: Measure) -> Standing:
    """The rows of one table in one metric.

    Raises StateError where the scores of a finished trial cannot be read.
    """
    scores: dict[str, Scores] = {}
    notes = []
    for row in rows:
        try:
            scores[row.key] = _scores(row, metric)
        except _LeftOut as reason:
            notes.append(f"{row.title} is left out: {reason}")
            continue
        notes += [
            f"{row.title}, seed {trial.spec().seed}, failed ({_reason(trial)}): "
            "the worst score in every case"
            for trial in row.trials
            if trial.state() == "failed"
        ]
    titles = {row.key: row.title for row in rows if row.key in scores}
    return Standing(metric, titles, scores, tuple(notes))


class _LeftOut(Exception):
    """Why a row has no scores, in few words."""


def _scores(row: ResultRow, metric: Measure) -> Scores:
    return Scores({trial.spec().seed: _of_trial(trial, metric) for trial in row.trials})


def _of_trial(trial: TrialFolder, metric: Measure) -> dict[str, float]:
    state = trial.state()
    if state == "failed":
        return _worst(trial, metric)
    if state != "ok":
        raise _LeftOut(f"seed {trial.spec().seed} is not finished")
    scores = trial.scores(metric.key)
    return {case: score * metric.scale for case, score in scores.items()}


def _worst(trial: TrialFolder, metric: Measure) -> dict[str, float]:
    """Case -> the worst score it can have."""
    folder = RunFolder(trial.path.parent.parent)
    cases = folder.split().test
    if metric.side > 0:
        return dict.fromkeys(cases, 0.0)
    what = f"seed {trial.spec().seed} failed ({_reason(trial)}), and its worst {metric.title}"
    if metric.unit != "mm":
        raise _LeftOut(f"{what} is not known")
    grid = trial.spec().data.grid
    try:
        return {case: folder.diagonal_mm(case, grid) * metric.scale for case in cases}
    except StateError as error:
        raise _LeftOut(f"{what} is not known without the prepared volumes") from error


def _reason(trial: TrialFolder) -> str:
    result = trial.result()
    return result.reason if result else ""
