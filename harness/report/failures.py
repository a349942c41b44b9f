"""What went wrong, each with its reason, and which targets were missed."""

from collections.abc import Mapping, Sequence

import pandas as pd

from harness.report.document import Block, Bullets, Cell, Section, Table
from harness.results.rows import ResultRow
from harness.runs.run_folder import RunFolder, TrialFolder, read_json

SHOWN = 8  # case ids in a cell
LEAD = (
    "A failed trial is a row with a reason and no figures. In intervals, tests and ranks it counts "
    "with the worst score in every case.",
)
MISSED = "nothing found where there is a target, or the reverse: the worst score in the means"


def failures_section(
    folders: Sequence[RunFolder], rows: Mapping[str, Sequence[ResultRow]]
) -> Section:
    """Failed trials, failed measurements, earlier attempts, and cases without any overlap."""
    blocks: list[Block] = []
    failed = dict.fromkeys(each for folder in folders for each in _failed(folder))
    if failed:
        headings = ("Trial", "What", "Reason", "Detail")
        blocks.append(Table("Trials that failed", headings, tuple(failed), 4))
    if missed := _missed(rows):
        headings = ("System", "Seed", "Missed", "Cases")
        blocks.append(Table("Missed targets", headings, tuple(missed), 4, (MISSED,)))
    if not blocks:
        blocks.append(Bullets(("No trial has failed, and no finished one missed a target.",)))
    return Section("failures", "Failures", LEAD, tuple(blocks))


def _failed(folder: RunFolder) -> list[tuple[Cell, ...]]:
    names = folder.read()["names"]
    found = []
    for trial in folder.trials():
        records = [("training or scoring", trial.result() or {}),
                   ("time and memory", trial.measurement() or {})]  # fmt: skip
        records += [("an earlier attempt", read_json(path))
                    for path in sorted(trial.path.glob("failure-*.json"))]  # fmt: skip
        for what, record in records:
            if record.get("status") == "failed":
                # Of a machine's folders a report says nothing.
                detail = str(record["detail"]).replace(str(folder.path), "RUN_DIR")
                texts = (names[trial.id], what, record["reason"], detail)
                found.append((*map(Cell, texts[:2]), Cell(texts[2], tone="failed"), Cell(detail)))
    return found


def _missed(rows: Mapping[str, Sequence[ResultRow]]) -> list[tuple[Cell, ...]]:
    """A line for each network that missed a target, whatever the number of its rows."""
    trials = {trial.id: (row.title, trial) for each in rows.values() for row in each
              for trial in row.trials}  # fmt: skip
    found = []
    for title, trial in trials.values():
        result = trial.result() or {}
        if result.get("n_failed"):
            cases = _missed_cases(trial)
            more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
            texts = (title, str(trial.spec().seed), f"{result['n_failed']} of {result['n_cases']}",
                     ", ".join(cases[:SHOWN]) + more)  # fmt: skip
            found.append(tuple(map(Cell, texts)))
    return found


def _missed_cases(trial: TrialFolder) -> list[str]:
    scores = pd.read_csv(trial.path / "cases.csv", dtype={"case": str})
    return list(scores.loc[scores["failed"].astype(bool), "case"])
