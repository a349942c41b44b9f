"""The lines of the tables: one for each trial of a row, and one with their mean.

trials ─► lines (row = "trial") ─► their mean (row = "mean") ─► ResultTable ─► results.tables
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from harness.results.departures import of_data
from harness.results.misses import misses, without_target
from harness.results.paper import printed
from harness.results.rows import ResultRow, merged_rows
from harness.runs.measures import (
    CASES,
    DICE,
    HD95,
    MEASURES,
    SCORES,
    Measure,
    measures_of,
    of_plugin,
)
from harness.runs.records import Measurement, MetricRecord, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.suite import Suite
from harness.runs.trial_folder import TrialFolder

PAPER = sorted((m for m in MEASURES if m.paper), key=lambda measure: measure.where)
COLUMNS = (
    "suite",
    "key",
    "row",
    "title",
    "model",
    "kind",
    "end_to_end",
    "dataset",
    "seed",
    "fold",
    "n_cases",
    "status",
    "reason",
    *(column for measure in MEASURES for column in measure.columns),
    "epochs",
    "device",
    "threads",
    "precision",
    "layout",
    "train_device",
    "transductive",
    "trial",
    *(measure.paper_column for measure in PAPER),
)
OVER_CASES = tuple(m for m in MEASURES if m.where == CASES and m.key)
AVERAGED = {name for measure in MEASURES if not measure.counted for name in measure.columns}
BOUND = {measure.column: measure.place for measure in MEASURES if measure.place}
"""A column of table.csv -> the column naming the device that its figures depend on."""
Record = dict[Hashable, Any]


@dataclass(frozen=True)
class ResultTable:
    """One table: a line for each trial, and their mean for each row of the suite.

    A line is a "trial", one "again" (a seed that another run has, too: for what it costs on the
    device of this one) or a "mean".
    """

    suite: str
    about: Suite
    """The suite's title, headings and columns, as the run recorded them."""
    titles: Mapping[str, MetricRecord]
    """Metric of a plug-in -> the metric's title and direction."""
    frame: pd.DataFrame
    cells: dict[str, tuple[str, ...]]
    """Row key -> the words under the suite's headings."""
    target: str = ""
    """The target that the scores are of; "" for the only one, or the mean over several."""

    @property
    def title(self) -> str:
        """The title of the suite, with the target where the table is of one of several."""
        return f"{self.about.title}, target {self.target}" if self.target else self.about.title

    @property
    def extra(self) -> list[str]:
        """The columns of metrics that plug-ins added."""
        return [name for name in map(str, self.frame.columns) if name not in COLUMNS]

    @property
    def means(self) -> pd.DataFrame:
        return self.frame[self.frame["row"] == "mean"]

    def _measured(self, column: str) -> pd.DataFrame:
        """The lines of single trials that have a value in `column`."""
        return self.frame[(self.frame["row"] != "mean") & self.frame[column].notna()]

    def devices(self, column: str) -> list[str]:
        """The devices on which a column was measured, in the order of the table."""
        return list(dict.fromkeys(where(self._measured(column), column)))

    def on_device(self, key: str, column: str, device: str) -> float | None:
        """The mean of `column` for row `key` on a device; None where no trial was measured."""
        lines = self._measured(column)
        values = lines.loc[(lines["key"] == key) & (where(lines, column) == device), column]
        return float(values.astype(float).mean()) if len(values) else None


def tables(folders: Sequence[RunFolder], target: str = "") -> tuple[ResultTable, ...]:
    """The tables of the runs, with several runs merged into one.

    With `target` they are of that one of several, without it of the mean over them. Raises
    UsageError for runs of different protocols, StateError for a folder that is no run.
    """
    by_suite: dict[str, list[ResultRow]] = {}
    for row in merged_rows(folders):
        by_suite.setdefault(row.suite, []).append(row.of_target(target))
    runs = [folder.run() for folder in folders]
    titles = {k: v for run in runs for plugin in run.plugins for k, v in plugin.metrics.items()}
    found = []
    for name, its_rows in by_suite.items():
        about = next(run for run in runs if name in run.suites).suite(name)
        found.append(replace(_table(name, about, titles, its_rows), target=target))
    return tuple(found)


def _table(
    name: str, about: Suite, titles: Mapping[str, MetricRecord], its_rows: Sequence[ResultRow]
) -> ResultTable:
    lines: list[Record] = []
    for row in its_rows:
        trials = [_trial_line(row, trial) for trial in row.trials]
        again = [_trial_line(row, trial) | {"row": "again"} for trial in row.again]
        known = [*trials, *again]
        mean = _mean_line(pd.DataFrame(known, columns=[*COLUMNS, *_extra(known)]), row)
        lines += [*known, mean]
    frame = pd.DataFrame(lines, columns=[*COLUMNS, *_extra(lines)], dtype=object)
    return ResultTable(name, about, titles, frame, {row.key: row.cells for row in its_rows})


def _plugin_metrics(lines: pd.DataFrame) -> list[str]:
    """The names of the metrics that plug-ins added."""
    return [
        name.removesuffix("_mean")
        for name in map(str, lines)
        if name not in COLUMNS and name.endswith("_mean")
    ]


def _extra(lines: Sequence[Record]) -> list[str]:
    """The columns of metrics that plug-ins added."""
    return [str(k) for k in dict.fromkeys(k for line in lines for k in line if k not in COLUMNS)]


def _trial_line(row: ResultRow, trial: TrialFolder) -> Record:
    spec = trial.spec()
    result = trial.result()
    line: Record = {
        "suite": row.suite,
        "key": row.key,
        "row": "trial",
        "title": row.title,
        "model": row.system,
        "kind": row.kind,
        "end_to_end": row.entry.end_to_end,
        "dataset": spec.test.name if spec.test else spec.data.name,
        "seed": spec.seed,
        "fold": spec.fold,
        "status": result.status if result else "unfinished",
        "reason": result.reason if result else trial.state(),
        "trial": trial.id,
    }
    on_papers = not of_data(spec.data.model_dump()) and spec.protocol.scored_on == "grid"
    beside_the_papers = on_papers and not spec.test
    paper = printed(row.suite, row.key, spec.data.name) if beside_the_papers else {}
    for measure in PAPER:
        if measure.paper in paper:
            value = paper[measure.paper]
            # Fractions like ours; the paper prints percent.
            line[measure.paper_column] = value / 100 if measure.unit == "%" else value
    if isinstance(result, Scored):
        line |= _figures(result, trial.measurement()) | _over_patients(row, [trial])
    return line


def _figures(result: Scored, measurement: Measurement | None) -> Record:
    figures: Record = {
        column: measure.of(result, measurement, part)
        for measure in measures_of(result)
        for column, part in measure.columns.items()
    }
    figures |= {key: getattr(result, key) for key in ("n_cases", "epochs", "transductive")}
    where = ("device", "threads", "precision", "layout")
    figures |= {key: getattr(measurement, key, None) for key in where}
    device = result.environment.get("device")
    return figures | {"train_device": device}


def _over_patients(row: ResultRow, trials: Sequence[TrialFolder]) -> Record:
    """The figures that need the single cases of finished trials, averaged over the seeds.

    Standard deviations over the patients are of the sample, and blank for one.
    """
    scores = {measure: row.scores(measure.key, trials=trials) for measure in SCORES}
    missed = misses(trials)
    found: Record = {"n_missed": missed.missed, "n_false_alarms": missed.false_alarms}
    if without_target(trials):
        return found | dict.fromkeys(("hd95_median", *(measure.spread for measure in scores)))
    found |= {measure.spread: each.spread for measure, each in scores.items()}
    return found | {"hd95_median": float(np.median(scores[HD95].values))}


def _over_folds(row: ResultRow, lines: pd.DataFrame) -> Record:
    """The figures of a cross-validation: over all cases of all folds, as if of one test."""
    cases = row.by_training(DICE.key)[0]
    found: Record = {"n_cases": len(cases), "fold": " ".join(map(str, row.folds))}
    for measure in OVER_CASES:
        if lines[measure.column].notna().any():  # else no case of any fold has a target
            found |= _crossed(measure, row, lines)
    for measure in (of_plugin(name, name, "") for name in _plugin_metrics(lines)):
        if lines[measure.column].notna().all():  # else it has failed in some case
            values = [*row.by_training(measure.key)[0].values()]
            found |= _crossed(measure, row, lines) | {measure.spread: np.std(values, ddof=1)}
    return found


def _crossed(measure: Measure, row: ResultRow, lines: pd.DataFrame) -> Record:
    """The mean over the cases of all folds, and its spread over the seeds and over the folds."""
    means = [float(np.mean([*run.values()])) for run in row.by_training(measure.key).values()]
    found: Record = {measure.column: float(np.mean(means))}
    if measure.spread:
        there = lines[lines[measure.column].notna()]
        of_folds = there[measure.column].astype(float).groupby(there["fold"].astype(int)).mean()
        found[measure.spread_of_seeds] = _deviation(means)
        found[measure.spread_of_folds] = _deviation([*of_folds])
    return found


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean_line(lines: pd.DataFrame, row: ResultRow) -> Record:
    """The line with the mean over the seeds of a row; blank figures unless every seed finished."""
    group = lines[lines["row"] == "trial"]
    line: Record = group.iloc[0].to_dict() | {"row": "mean", "trial": "", "fold": ""}
    line["seed"] = " ".join(str(seed) for seed in dict.fromkeys(group["seed"]))
    figures = [name for name in map(str, lines) if name in AVERAGED or name not in COLUMNS]
    bad = group[group["status"] != "ok"]
    if len(bad):
        line |= dict.fromkeys(figures)
        return line | {"status": bad.iloc[0]["status"], "reason": bad.iloc[0]["reason"]}
    line |= {column: group[column].astype(float).mean() for column in figures}
    if len(group) > 1:
        for measure in (*SCORES, *(of_plugin(name, name, "") for name in _plugin_metrics(lines))):
            of_seeds = group[measure.column].astype(float).std()
            line |= {measure.spread: None, measure.spread_of_seeds: of_seeds}
    line |= _over_patients(row, row.trials)
    if row.folds:
        line |= _over_folds(row, group)
    for column, place in BOUND.items():
        devices = where(lines[lines[column].notna()], column).unique()
        if len(devices) > 1:
            line |= {column: None, place: "; ".join(devices)}
    return line


def where(lines: pd.DataFrame, column: str) -> "pd.Series[str]":
    """The device on which each line's value was measured, and for inference the threads."""
    place = lines[BOUND[column]]
    if BOUND[column] == "device":
        threads = ", " + lines["threads"].astype(str) + " threads"
        return place + threads.where(lines["threads"].notna(), "")
    return place


def dice_by_fold(
    table: ResultTable, folders: Sequence[RunFolder]
) -> dict[str, tuple[dict[str, float], float | None]]:
    """Dice in each fold, over the seeds, by its name, and its deviation, for each finished row.

    Empty for a single split.
    """
    names = {int(at): one.said(int(at)) for f in folders for at, one in f.run().folds.items()}
    found = {}
    for line in table.means.to_dict("records"):
        if not line.get("fold") or line["status"] != "ok" or absent(line[DICE.column]):
            continue
        its = (table.frame["key"] == line["key"]) & (table.frame["row"] == "trial")
        lines = table.frame[its & table.frame[DICE.column].notna()]
        of_folds = lines[DICE.column].astype(float).groupby(lines["fold"].astype(int)).mean()
        known = {names[int(fold)]: float(value) for fold, value in of_folds.items()}
        found[line["title"]] = known, line.get(DICE.spread_of_folds)
    return found


def absent(value: Any) -> bool:
    """Whether a cell of the frame is empty: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
