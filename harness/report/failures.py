"""The section on failed trials, with their reasons, and on missed targets."""

from collections.abc import Mapping, Sequence

from harness.data.wording import listed
from harness.report.document import Block, Bullets, Cell, Section, Table
from harness.results.rows import ResultRow
from harness.runs.records import Ended, Failed, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.spec import TrialSpec

SHOWN = 8  # case ids in a cell
LEAD = (
    "A failed trial is a row with a reason and no figures. In intervals, tests and ranks it counts "
    "with the worst score in every case.",
)
MISSED = "nothing found where there is a target, or the reverse: the worst score in the means"


def failures_section(
    folders: Sequence[RunFolder], rows: Mapping[str, Sequence[ResultRow]]
) -> Section:
    """The section with failed trials, failed measurements, earlier attempts and missed targets."""
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
    names = folder.run().names
    found: list[tuple[Cell, ...]] = []
    for trial in folder.trials():
        ends: list[tuple[str, Ended | None]] = [
            ("training or scoring", trial.result()),
            ("time and memory", trial.measurement()),
            *(("an earlier attempt", failure) for failure in trial.failures()),
        ]
        for what, ended in ends:
            if isinstance(ended, Failed):
                # Of a machine's folders a report says nothing.
                detail = ended.detail.replace(str(folder.path), "RUN_DIR")
                reason = Cell(ended.reason, tone="failed")
                found.append((Cell(names[trial.id]), Cell(what), reason, Cell(detail)))
    return found


def _training(spec: TrialSpec) -> str:
    """The training in few words: "0", "0, fold 2", "0, on hospital_b"."""
    fold = f", fold {spec.fold}" if spec.fold else ""
    return f"{spec.seed}{fold}" + (f", on {spec.test.name}" if spec.test else "")


def _missed(rows: Mapping[str, Sequence[ResultRow]]) -> list[tuple[Cell, ...]]:
    """A line for each network that missed a target, once even if several rows share the network."""
    trials = {
        trial.id: (row.title, trial)
        for each in rows.values()
        for row in each
        for trial in row.trials
    }
    found = []
    for title, trial in trials.values():
        result = trial.result()
        if isinstance(result, Scored) and result.n_failed:
            cases = trial.missed_cases()
            share = f"{result.n_failed} of {result.n_cases}"
            texts = (title, _training(trial.spec()), share, listed(cases, SHOWN))
            found.append(tuple(map(Cell, texts)))
    return found
