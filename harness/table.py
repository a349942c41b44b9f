"""From the run folder to the tables of the paper: CSV, Markdown and the terminal."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from rich.table import Table as RichTable

from harness.ledger import RunFolder, TrialFolder, write_bytes
from harness.progress import Screen
from harness.registry import title_of
from harness.results import ResultRow, rows
from harness.suites import printed, suite
from harness.systems import system

COLUMNS = (
    "suite", "key", "row", "title", "model", "kind", "end_to_end", "dataset", "seed", "fold",
    "n_cases", "n_missed", "status", "reason", "dice_mean", "dice_std", "hd95_mean", "hd95_std",
    "jaccard_mean", "jaccard_std", "hd95_max_mean", "hd95_voxels_mean", "hd95_official_mean",
    "time_s_p50", "time_s_p90", "infer_peak_mib", "train_peak_mib", "crop_s", "crop_variance",
    "parameters", "parameters_inference", "gflops_per_volume", "epochs", "device", "threads",
    "precision", "transductive", "trial", "paper_dice", "paper_hd95", "paper_jaccard",
    "paper_time_s", "paper_crop_s", "paper_train_mib",
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
SYNTHETIC = "synthetic data: not comparable with the paper"
TRANSDUCTIVE = "† fine-tuned on the test volumes, without their labels: its scores are transductive"
UNITS = (
    "Dice and Jaccard in percent, mean ± standard deviation over cases; HD95 pooled over both "
    "directions, in mm; time: median seconds from array to mask; memory: peak MiB of inference. "
    "In brackets: the paper's value (its HD95 is in voxels)."
)


class Shown(NamedTuple):
    """How a column of the CSV appears to people; `better` is which end of it is best."""

    heading: str
    column: str
    digits: int
    scale: float = 1
    spread: str = ""
    paper: str = ""
    better: str = ""


SHOWN = {
    "dice": Shown("Dice", "dice_mean", 2, 100, "dice_std", "paper_dice", "max"),
    "hd95": Shown("HD95 (mm)", "hd95_mean", 2, 1, "hd95_std", "paper_hd95", "min"),
    "jaccard": Shown("Jaccard", "jaccard_mean", 2, 100, "jaccard_std", "paper_jaccard", "max"),
    "time": Shown("Time (s)", "time_s_p50", 3, paper="paper_time_s", better="min"),
    "memory": Shown("Memory (MiB)", "infer_peak_mib", 0),
    "train_mib": Shown("Training memory (MiB)", "train_peak_mib", 0, paper="paper_train_mib"),
    "crop_s": Shown("Cropping (ms)", "crop_s", 2, 1000, paper="paper_crop_s"),
    "crop_variance": Shown("Richness (%)", "crop_variance", 1, 100, better="max"),
    "parameters": Shown("Parameters", "parameters", 0),
    "gflops": Shown("GFLOPs", "gflops_per_volume", 1),
}


@dataclass(frozen=True)
class ResultTable:
    """One table: a row for each trial, and their mean for each row of the suite."""

    suite: str
    frame: pd.DataFrame
    cells: dict[str, tuple[str, ...]]
    """Row key -> what stands under the suite's headings."""

    @property
    def means(self) -> pd.DataFrame:
        return self.frame[self.frame["row"] == "mean"]


@dataclass(frozen=True)
class Results:
    """Every table of a run, and what must be said under them."""

    tables: tuple[ResultTable, ...]
    notes: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        return pd.concat([table.frame for table in self.tables], ignore_index=True)


def build(folder: RunFolder) -> Results:
    """The tables as the files of the run say they are now."""
    by_suite: dict[str, list[ResultRow]] = {}
    for row in rows(folder):
        by_suite.setdefault(row.suite, []).append(row)
    tables = tuple(_table(name, its_rows) for name, its_rows in by_suite.items())
    return Results(tables, _notes(folder, tables))


def _table(name: str, its_rows: Sequence[ResultRow]) -> ResultTable:
    lines: list[Record] = []
    for row in its_rows:
        trials = [_trial_line(row, trial) for trial in row.trials]
        columns = [*COLUMNS, *_extra(trials)]
        lines += [*trials, _mean_line(pd.DataFrame(trials, columns=columns))]
    frame = pd.DataFrame(lines, columns=[*COLUMNS, *_extra(lines)], dtype=object)
    return ResultTable(name, frame, {row.key: row.cells for row in its_rows})


def _trial_line(row: ResultRow, trial: TrialFolder) -> Record:
    spec = trial.spec()
    result = trial.result() or {"status": "unfinished", "reason": trial.state()}
    line: Record = {
        "suite": row.suite,
        "key": row.key,
        "row": "trial",
        "title": row.title,
        "model": row.system,
        "kind": row.kind,
        "end_to_end": system(row.system).end_to_end,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "fold": spec.fold,
        "status": result["status"],
        "reason": result["reason"],
        "trial": trial.id,
    }
    for figure, value in printed(row.suite, row.key, spec.data.name).items():
        # Fractions like ours; the paper prints percent.
        line[f"paper_{figure}"] = value / 100 if figure in ("dice", "jaccard") else value
    if result["status"] == "ok":
        line |= _figures(result) | _measured(trial.measurement() or {}, result)
    return line


def _figures(result: dict[str, Any]) -> Record:
    metrics = result["metrics"]
    figures: Record = {
        f"{column}_{part}": metrics[f"{name}_{part}"]
        for column, name in METRICS.items()
        for part in ("mean", "std")
        if f"{column}_{part}" in COLUMNS
    }
    same = ("n_cases", "parameters", "parameters_inference", "gflops_per_volume", "epochs",
            "transductive")  # fmt: skip
    figures |= result.get("extra_metrics", {})
    return figures | {key: result[key] for key in same} | {"n_missed": result["n_failed"]}


def _extra(lines: Sequence[Record]) -> list[str]:
    """The columns of metrics that plug-ins added."""
    return [
        str(name) for name in dict.fromkeys(k for line in lines for k in line if k not in COLUMNS)
    ]


def _shown(table: ResultTable) -> list[Shown]:
    """The columns of figures: those of the suite, then the metrics of plug-ins."""
    columns = [SHOWN[name] for name in suite(table.suite).shows]
    for column in table.frame.columns:
        name = str(column).removesuffix("_mean")
        if column not in COLUMNS and name != column:
            told = title_of(name)
            columns.append(Shown(told.title, column, 3, 1, f"{name}_std", "", told.better))
    return columns


def _measured(measurement: dict[str, Any], result: dict[str, Any]) -> Record:
    return {
        "time_s_p50": measurement.get("inference_s_p50"),
        "time_s_p90": measurement.get("inference_s_p90"),
        "infer_peak_mib": measurement.get("inference_peak_mib"),
        "train_peak_mib": result["memory"].get("train_peak_mib"),
        "crop_s": measurement.get("crop_s"),
        "crop_variance": measurement.get("crop_variance"),
        "device": measurement.get("device"),
        "threads": measurement.get("threads"),
        "precision": measurement.get("precision"),
    }


def _mean_line(group: pd.DataFrame) -> Record:
    """The mean over the seeds of a row, when every one of them is there."""
    line: Record = group.iloc[0].to_dict() | {"row": "mean", "trial": "", "fold": ""}
    line["seed"] = " ".join(str(seed) for seed in group["seed"])
    figures = [c for c in map(str, group) if c.endswith(FIGURES) and not c.startswith("paper_")]
    bad = group[group["status"] != "ok"]
    if len(bad):
        line |= dict.fromkeys(figures)
        return line | {"status": bad.iloc[0]["status"], "reason": bad.iloc[0]["reason"]}
    return line | {column: group[column].astype(float).mean() for column in figures}


def _notes(folder: RunFolder, tables: Sequence[ResultTable]) -> tuple[str, ...]:
    run = folder.read()
    lines = pd.concat([table.frame[table.frame["row"] == "trial"] for table in tables])
    trials = lines.drop_duplicates("trial")
    done = int(trials["status"].isin(["ok", "failed"]).sum())
    notes = []
    if done < len(trials):
        notes.append(f"incomplete: {done} of {len(trials)} trials finished")
    if run["synthetic"]:
        notes.append(SYNTHETIC)
    if run["profile"] != "paper":
        notes.append(
            f"profile {run['profile']}: smaller volumes and networks than the paper's; "
            "for trying out, not for conclusions"
        )
    if (trials["transductive"] == True).any():  # noqa: E712  the column holds missing values
        notes.append(TRANSDUCTIVE)
    notes += [deviation for name in dict.fromkeys(trials["model"])
              if (deviation := system(name).deviation)]  # fmt: skip
    for table in tables:
        notes += suite(table.suite).notes
    changed = run["settings"]["systems"]
    notes += [f"{name} with {options} set by the user" for name, options in changed.items()]
    alone = run["settings"]["exceptions"]
    notes += [f"{name} trained with its own {values}" for name, values in alone.items()]
    notes += run["notes"]
    return (*notes, *_failures(folder, run), UNITS)


def _failures(folder: RunFolder, run: dict[str, Any]) -> list[str]:
    """One sentence for each trial that failed or could not be measured."""
    notes = []
    for trial in folder.trials():
        name = run["names"][trial.id]
        result, measurement = trial.result() or {}, trial.measurement() or {}
        if result.get("status") == "failed":
            notes.append(f"{name} failed ({result['reason']}): {result['detail']}")
        notes += [f"{name}: {what}: {why}" for what, why in result.get("extra_faults", {}).items()]
        if measurement.get("status") == "failed":
            why = f"({measurement['reason']}): {measurement['detail']}"
            notes.append(f"{name}: time and memory not measured {why}")
    return notes


def write(folder: RunFolder, results: Results) -> None:
    """table.csv and table.md in the run folder."""
    write_bytes(folder.path / "table.csv", results.frame.to_csv(index=False).encode())
    write_bytes(folder.path / "table.md", markdown(results).encode())


def headings(table: ResultTable) -> list[str]:
    return [*suite(table.suite).headings, *(shown.heading for shown in _shown(table))]


def cells(table: ResultTable) -> list[list[str]]:
    """The table as people read it; the best of a column is wrapped in ** **."""
    shown = suite(table.suite)
    lines = table.means.to_dict("records")
    columns = [_column(lines, column) for column in _shown(table)]
    texts = []
    for number, line in enumerate(lines):
        head = list(table.cells[line["key"]])
        head += [""] * (len(shown.headings) - len(head))  # a model that the suite did not foresee
        if line["transductive"] is True:
            head[0] += " †"
        figures = [column[number] for column in columns]
        if line["status"] != "ok":
            figures[0] = f"{line['status']}: {line['reason']}"
        texts.append([*head, *figures])
    return texts


def _column(lines: Sequence[Record], shown: Shown) -> list[str]:
    values: list[Any] = [line[shown.column] if line["status"] == "ok" else None for line in lines]
    there: list[float] = [value for value in values if not _absent(value)]
    best = {"max": max, "min": min}[shown.better](there) if shown.better and there else None
    return [
        _cell(line, shown, value, best) if line["status"] == "ok" else ""
        for line, value in zip(lines, values, strict=True)
    ]


def _cell(line: Record, shown: Shown, value: Any, best: float | None) -> str:
    """ "**83.41 ± 2.10** [84.13]": ours, its spread, and the paper's."""
    if _absent(value):
        return ""
    text = _number(value, shown)
    if shown.spread:
        text += f" ± {_number(line[shown.spread], shown)}"
    if value == best:
        text = f"**{text}**"
    printed_value = line[shown.paper] if shown.paper else None
    return text if _absent(printed_value) else f"{text} [{_number(printed_value, shown)}]"


def _number(value: Any, shown: Shown) -> str:
    return f"{value * shown.scale:,.{shown.digits}f}"


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def markdown(results: Results) -> str:
    lines: list[str] = []
    for table in results.tables:
        titles = headings(table)
        lines += [f"# {suite(table.suite).title}", "", _row(titles), _row(["---"] * len(titles))]
        lines += [*(_row(row) for row in cells(table)), ""]
    return "\n".join([*lines, *(f"- {note}" for note in results.notes)]) + "\n"


def _row(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def show(results: Results, screen: Screen) -> None:
    """The tables and their notes for the person at the terminal."""
    for table in results.tables:
        screen.show(_terminal(table))
    for note in results.notes:
        screen.say(f"- {note}")


def _terminal(table: ResultTable) -> RichTable:
    """For a rich console: best in bold."""
    title = suite(table.suite).title
    shown = RichTable(title=title, title_justify="left", header_style="bold")
    texts = len(suite(table.suite).headings)
    for number, heading in enumerate(headings(table)):
        shown.add_column(heading, justify="left" if number < texts else "right")
    for row in cells(table):
        shown.add_row(*(_bold(cell) for cell in row))
    return shown


def _bold(cell: str) -> str:
    escaped = cell.replace("[", r"\[")
    for mark in ("[bold]", "[/bold]"):
        escaped = escaped.replace("**", mark, 1)
    return escaped
