"""What is known of each row of a table: a line for each trial, and their mean.

trials ─► lines (row = "trial") ─► their mean (row = "mean") ─► ResultTable ─► results.tables
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from harness.results.rows import ResultRow, merged_rows
from harness.runs.records import Measured, Measurement, MetricRecord, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.suites import Suite, printed
from harness.runs.trial_folder import TrialFolder

COLUMNS = (
    "suite", "key", "row", "title", "model", "kind", "end_to_end", "dataset", "seed", "fold",
    "n_cases", "n_missed", "status", "reason", "dice_mean", "dice_std", "hd95_mean", "hd95_std",
    "jaccard_mean", "jaccard_std", "hd95_max_mean", "hd95_voxels_mean", "hd95_official_mean",
    "time_s_p50", "time_s_p90", "infer_peak_mib", "train_peak_mib", "crop_s", "crop_variance",
    "parameters", "parameters_inference", "gflops_per_volume", "epochs", "device", "threads",
    "precision", "layout", "train_device", "transductive", "trial", "paper_dice", "paper_hd95",
    "paper_jaccard", "paper_time_s", "paper_crop_s", "paper_train_mib",
)  # fmt: skip
METRICS = {  # column here -> name in result.json
    "dice": "dice",
    "hd95": "hd95_mm",
    "jaccard": "jaccard",
    "hd95_max": "hd95_max_mm",
    "hd95_voxels": "hd95_voxels",
    "hd95_official": "hd95_official",
}
FIGURES = ("_mean", "_std", "_p50", "_p90", "_mib", "crop_s", "crop_variance")
Record = dict[Hashable, Any]


class Shown(NamedTuple):
    """How a column of the CSV appears to people; `better` is which end of it is best."""

    heading: str
    column: str
    digits: int
    scale: float = 1
    spread: str = ""
    paper: str = ""
    better: str = ""
    place: str = ""
    """The column that names the device of this one; what two devices cost never shares a column."""


SHOWN = {
    "dice": Shown("Dice", "dice_mean", 2, 100, "dice_std", "paper_dice", "max"),
    "hd95": Shown("HD95 (mm)", "hd95_mean", 2, 1, "hd95_std", "paper_hd95", "min"),
    "jaccard": Shown("Jaccard", "jaccard_mean", 2, 100, "jaccard_std", "paper_jaccard", "max"),
    "time": Shown("Time (s)", "time_s_p50", 3, paper="paper_time_s", better="min",
                  place="device"),
    "memory": Shown("Memory (MiB)", "infer_peak_mib", 0, place="device"),
    "train_mib": Shown("Training memory (MiB)", "train_peak_mib", 0, paper="paper_train_mib",
                       place="train_device"),
    "crop_s": Shown("Cropping (ms)", "crop_s", 2, 1000, paper="paper_crop_s", place="device"),
    "crop_variance": Shown("Richness (%)", "crop_variance", 1, 100, better="max"),
    "parameters": Shown("Parameters", "parameters", 0),
    "gflops": Shown("GFLOPs", "gflops_per_volume", 1),
}  # fmt: skip
BOUND = {shown.column: shown.place for shown in SHOWN.values() if shown.place} | {
    "time_s_p90": "device"
}


@dataclass(frozen=True)
class ResultTable:
    """One table: a line for each trial, and their mean for each row of the suite.

    A line is a "trial", one "again" (a seed that another run has, too: for what it costs on the
    device of this one) or a "mean".
    """

    suite: str
    about: Suite
    """Title, headings and columns, as the run has them."""
    titles: Mapping[str, MetricRecord]
    """Metric of a plug-in -> its title and direction."""
    frame: pd.DataFrame
    cells: dict[str, tuple[str, ...]]
    """Row key -> what stands under the suite's headings."""

    @property
    def extra(self) -> list[str]:
        """The columns of metrics that plug-ins added."""
        return [name for name in map(str, self.frame.columns) if name not in COLUMNS]

    @property
    def means(self) -> pd.DataFrame:
        return self.frame[self.frame["row"] == "mean"]

    def _measured(self, column: str) -> pd.DataFrame:
        """The lines of single trials that have a value there."""
        return self.frame[(self.frame["row"] != "mean") & self.frame[column].notna()]

    def devices(self, column: str) -> list[str]:
        """Those on which a column was measured, in the order of the table."""
        return list(dict.fromkeys(where(self._measured(column), column)))

    def on_device(self, key: str, column: str, device: str) -> float | None:
        """The mean of what row `key` cost on a device; None where it was not measured there."""
        lines = self._measured(column)
        values = lines.loc[(lines["key"] == key) & (where(lines, column) == device), column]
        return float(values.astype(float).mean()) if len(values) else None


def tables(folders: Sequence[RunFolder]) -> tuple[ResultTable, ...]:
    """Every table of the runs, several runs as one.

    Raises UsageError for runs of different protocols, StateError for a folder that is no run.
    """
    by_suite: dict[str, list[ResultRow]] = {}
    for row in merged_rows(folders):
        by_suite.setdefault(row.suite, []).append(row)
    runs = [folder.run() for folder in folders]
    titles = {k: v for run in runs for plugin in run.plugins for k, v in plugin.metrics.items()}
    found = []
    for name, its_rows in by_suite.items():
        about = next(run for run in runs if name in run.suites).suite(name)
        found.append(_table(name, about, titles, its_rows))
    return tuple(found)


def _table(
    name: str, about: Suite, titles: Mapping[str, MetricRecord], its_rows: Sequence[ResultRow]
) -> ResultTable:
    lines: list[Record] = []
    for row in its_rows:
        trials = [_trial_line(row, trial) for trial in row.trials]
        again = [_trial_line(row, trial) | {"row": "again"} for trial in row.again]
        known = [*trials, *again]
        lines += [*known, _mean_line(pd.DataFrame(known, columns=[*COLUMNS, *_extra(known)]))]
    frame = pd.DataFrame(lines, columns=[*COLUMNS, *_extra(lines)], dtype=object)
    return ResultTable(name, about, titles, frame, {row.key: row.cells for row in its_rows})


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
        "dataset": spec.data.name,
        "seed": spec.seed,
        "fold": spec.fold,
        "status": result.status if result else "unfinished",
        "reason": result.reason if result else trial.state(),
        "trial": trial.id,
    }
    for figure, value in printed(row.suite, row.key, spec.data.name).items():
        # Fractions like ours; the paper prints percent.
        line[f"paper_{figure}"] = value / 100 if figure in ("dice", "jaccard") else value
    if isinstance(result, Scored):
        line |= _figures(result) | _measured(trial.measurement(), result)
    return line


def _figures(result: Scored) -> Record:
    metrics = result.metrics
    figures: Record = {
        f"{column}_{part}": metrics[f"{name}_{part}"]
        for column, name in METRICS.items()
        for part in ("mean", "std")
        if f"{column}_{part}" in COLUMNS
    }
    same = ("n_cases", "parameters", "parameters_inference", "gflops_per_volume", "epochs",
            "transductive")  # fmt: skip
    figures.update(result.extra_metrics)
    return figures | {key: getattr(result, key) for key in same} | {"n_missed": result.n_failed}


def _measured(measurement: Measurement | None, result: Scored) -> Record:
    found = measurement if isinstance(measurement, Measured) else None
    return {
        "time_s_p50": found and found.inference_s_p50,
        "time_s_p90": found and found.inference_s_p90,
        "infer_peak_mib": found and found.inference_peak_mib,
        "train_peak_mib": result.memory.get("train_peak_mib"),
        "crop_s": found and found.crop_s,
        "crop_variance": found and found.crop_variance,
        "device": found and found.device,
        "threads": found and found.threads,
        "precision": found and found.precision,
        "layout": found and found.layout,
        "train_device": result.environment.get("device"),
    }


def _mean_line(lines: pd.DataFrame) -> Record:
    """The mean over the seeds of a row, when every one of them is there."""
    group = lines[lines["row"] == "trial"]
    line: Record = group.iloc[0].to_dict() | {"row": "mean", "trial": "", "fold": ""}
    line["seed"] = " ".join(str(seed) for seed in group["seed"])
    figures = [c for c in map(str, lines) if c.endswith(FIGURES) and not c.startswith("paper_")]
    bad = group[group["status"] != "ok"]
    if len(bad):
        line |= dict.fromkeys(figures)
        return line | {"status": bad.iloc[0]["status"], "reason": bad.iloc[0]["reason"]}
    line |= {column: group[column].astype(float).mean() for column in figures}
    for column, place in BOUND.items():
        devices = where(lines[lines[column].notna()], column).unique()
        if len(devices) > 1:
            line |= {column: None, place: "; ".join(devices)}
    return line


def where(lines: pd.DataFrame, column: str) -> "pd.Series[str]":
    """The device on which each line's value was measured, and for inference its threads."""
    place = lines[BOUND[column]]
    if BOUND[column] == "device":
        return place + ", " + lines["threads"].astype(str) + " threads"
    return place
