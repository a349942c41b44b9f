"""From the run folder to the table of the paper: CSV, Markdown and the terminal."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table as RichTable

from harness.ledger import RunFolder, write_bytes
from harness.spec import TrialSpec
from harness.suites import paper_table5, suite
from harness.systems import System, system

COLUMNS = (
    "row", "model", "title", "kind", "end_to_end", "dataset", "seed", "fold", "n_cases", "n_missed",
    "status", "reason", "dice_mean", "dice_std", "hd95_mean", "hd95_std", "jaccard_mean",
    "jaccard_std", "hd95_max_mean", "hd95_voxels_mean", "hd95_official_mean", "time_s_p50",
    "time_s_p90", "infer_peak_mib", "train_peak_mib", "parameters", "parameters_inference",
    "gflops_per_volume", "epochs", "device", "threads", "precision", "transductive", "trial",
    "paper_dice", "paper_hd95", "paper_jaccard", "paper_time_s",
)  # fmt: skip
METRICS = {  # column here -> name in result.json
    "dice": "dice",
    "hd95": "hd95_mm",
    "jaccard": "jaccard",
    "hd95_max": "hd95_max_mm",
    "hd95_voxels": "hd95_voxels",
    "hd95_official": "hd95_official",
}
Record = dict[Hashable, Any]
PAPER_DATASETS = {"brats": "brats", "liver": "liver"}
SYNTHETIC = "synthetic data: not comparable with the paper"
UNITS = (
    "Dice and Jaccard in percent, mean ± standard deviation over cases; HD95 pooled over both "
    "directions, in mm; time: median seconds from array to mask; memory: peak MiB of inference. "
    "In brackets: the paper's value (its HD95 is in voxels)."
)


@dataclass(frozen=True)
class ResultTable:
    """One row per trial, one aggregated row per system, and what must be said under them."""

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def systems(self) -> pd.DataFrame:
        return self.frame[self.frame["row"] == "system"]


def build(folder: RunFolder) -> ResultTable:
    """The table as the files of the run say it is now."""
    run = folder.read()
    rows = [_trial_row(folder, trial_id) for trial_id in run["trials"]]
    trials = pd.DataFrame(rows, columns=list(COLUMNS))
    groups = trials.groupby("model", sort=False)
    totals = pd.DataFrame(
        [_aggregate(group) for _, group in groups], columns=list(COLUMNS), dtype=object
    )
    frame = pd.concat([trials.astype(object), totals], ignore_index=True)
    return ResultTable(suite(run["suite"]).title, frame, _notes(folder, run, trials))


def _trial_row(folder: RunFolder, trial_id: str) -> dict[str, Any]:
    trial = folder.trial(trial_id)
    spec = trial.spec()
    entry = system(spec.system)
    result = trial.result() or {"status": "unfinished", "reason": trial.state()}
    row: dict[str, Any] = {
        "row": "trial",
        "model": spec.system,
        "title": entry.title,
        "kind": entry.kind,
        "end_to_end": entry.end_to_end,
        "dataset": spec.data.name,
        "seed": spec.seed,
        "fold": spec.fold,
        "status": result["status"],
        "reason": result["reason"],
        "trial": trial_id,
        **_paper(entry, spec),
    }
    if result["status"] == "ok":
        row |= _figures(result) | _measured(trial.measurement() or {}, result)
    return row


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    metrics = result["metrics"]
    figures = {
        f"{column}_{part}": metrics[f"{name}_{part}"]
        for column, name in METRICS.items()
        for part in ("mean", "std")
        if f"{column}_{part}" in COLUMNS
    }
    same = ("n_cases", "parameters", "parameters_inference", "gflops_per_volume", "epochs",
            "transductive")  # fmt: skip
    return figures | {key: result[key] for key in same} | {"n_missed": result["n_failed"]}


def _measured(measurement: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {
        "time_s_p50": measurement.get("inference_s_p50"),
        "time_s_p90": measurement.get("inference_s_p90"),
        "infer_peak_mib": measurement.get("inference_peak_mib"),
        "train_peak_mib": result["memory"].get("train_peak_mib"),
        "device": measurement.get("device"),
        "threads": measurement.get("threads"),
        "precision": measurement.get("precision"),
    }


def _paper(entry: System, spec: TrialSpec) -> dict[str, Any]:
    """The paper's figures; Dice and Jaccard as fractions, like ours."""
    printed = paper_table5().get(entry.paper_row)
    if printed is None:
        return {}
    column = PAPER_DATASETS.get(spec.data.name, "brats")
    return {
        "paper_dice": printed[f"{column}_dsc"] / 100,
        "paper_hd95": printed[f"{column}_hd95"],
        "paper_jaccard": printed[f"{column}_jaccard"] / 100,
        "paper_time_s": printed["time"],
    }


def _aggregate(group: pd.DataFrame) -> Record:
    """One row for a system: the mean over its seeds, when every one of them is there."""
    row: Record = group.iloc[0].to_dict() | {"row": "system", "trial": "", "fold": ""}
    row["seed"] = " ".join(str(seed) for seed in group["seed"])
    bad = group[group["status"] != "ok"]
    if len(bad):
        row |= {column: None for column in COLUMNS if column.endswith(("_mean", "_std", "_p50"))}
        row |= {"status": bad.iloc[0]["status"], "reason": bad.iloc[0]["reason"]}
        return row
    for column in COLUMNS:
        if column.endswith(("_mean", "_std", "_p50", "_p90", "_mib")):
            row[column] = group[column].astype(float).mean()
    return row


def _notes(folder: RunFolder, run: dict[str, Any], trials: pd.DataFrame) -> tuple[str, ...]:
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
    notes += [deviation for name in dict.fromkeys(trials["model"])
              if (deviation := system(name).deviation)]  # fmt: skip
    changed = run["settings"]["systems"]
    notes += [f"{name} with {options} set by the user" for name, options in changed.items()]
    notes += run["notes"]
    for trial in folder.trials():
        measurement = trial.measurement() or {"status": "ok"}
        if measurement["status"] != "ok":
            name, why = trial.spec().system, measurement["reason"]
            notes.append(f"{name}: time and memory not measured ({why}): {measurement['detail']}")
    failures = trials[trials["status"] == "failed"]
    for row in failures.to_dict("records"):
        detail = (folder.trial(row["trial"]).result() or {}).get("detail", "")
        notes.append(f"{row['model']} seed {row['seed']} failed ({row['reason']}): {detail}")
    notes.append(UNITS)
    return tuple(notes)


def write(folder: RunFolder, table: ResultTable) -> None:
    """table.csv and table.md in the run folder."""
    write_bytes(folder.path / "table.csv", table.frame.to_csv(index=False).encode())
    write_bytes(folder.path / "table.md", markdown(table).encode())


HEADINGS = ("Model", "Kind", "Dice", "HD95 (mm)", "Jaccard", "Time (s)", "Memory (MiB)",
            "Parameters", "GFLOPs")  # fmt: skip


def cells(table: ResultTable) -> list[list[str]]:
    """The table as people read it; the best of a column is wrapped in ** **."""
    frame = table.systems
    ok = frame[frame["status"] == "ok"]
    best = {
        "dice_mean": ok["dice_mean"].astype(float).max(),
        "jaccard_mean": ok["jaccard_mean"].astype(float).max(),
        "hd95_mean": ok["hd95_mean"].astype(float).min(),
        "time_s_p50": ok["time_s_p50"].astype(float).min(),
    }
    return [_cells(row, best) for row in frame.to_dict("records")]


def _cells(row: Record, best: dict[str, float]) -> list[str]:
    def value(name: str, scale: float, digits: int, paper: str) -> str:
        mean, spread = row[f"{name}_mean"], row[f"{name}_std"]
        text = f"{mean * scale:.{digits}f} ± {spread * scale:.{digits}f}"
        strong = f"**{text}**" if mean == best[f"{name}_mean"] else text
        return strong + _printed(row[paper], scale, digits)

    head = [row["title"], row["kind"]]
    if row["status"] != "ok":
        return [*head, f"{row['status']}: {row['reason']}", *[""] * (len(HEADINGS) - 3)]
    seconds = row["time_s_p50"]
    timed = "" if _absent(seconds) else f"{seconds:.3f}"
    timed = f"**{timed}**" if timed and seconds == best["time_s_p50"] else timed
    return [
        *head,
        value("dice", 100, 2, "paper_dice"),
        value("hd95", 1, 2, "paper_hd95"),
        value("jaccard", 100, 2, "paper_jaccard"),
        timed + _printed(row["paper_time_s"], 1, 2),
        "" if _absent(row["infer_peak_mib"]) else f"{row['infer_peak_mib']:.0f}",
        f"{int(row['parameters']):,}",
        "" if _absent(row["gflops_per_volume"]) else f"{row['gflops_per_volume']:,.1f}",
    ]


def _printed(paper: Any, scale: float, digits: int) -> str:
    return "" if _absent(paper) else f" [{paper * scale:.{digits}f}]"


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def markdown(table: ResultTable) -> str:
    lines = [f"# {table.title}", "", _row(HEADINGS), _row(["---"] * len(HEADINGS))]
    lines += [_row(row) for row in cells(table)]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _row(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def terminal(table: ResultTable) -> RichTable:
    """For a rich console: best in bold."""
    shown = RichTable(title=table.title, title_justify="left", header_style="bold")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for row in cells(table):
        shown.add_row(*(_bold(cell) for cell in row))
    return shown


def _bold(cell: str) -> str:
    escaped = cell.replace("[", r"\[")
    for mark in ("[bold]", "[/bold]"):
        escaped = escaped.replace("**", mark, 1)
    return escaped
