"""The sections on machines, versions and the commands that repeat a run."""

from collections.abc import Mapping, Sequence

from harness.report.document import Block, Cell, Command, Facts, Section, Table, words
from harness.runs.records import Measured, RunManifest, Scored
from harness.runs.run_folder import RunFolder

COLUMNS = {
    "device": "Device",
    "threads": "Threads",
    "precision": "Numbers",
    "layout": "Layout",
    "pfbench": "pfbench",
    "python": "Python",
    "torch": "PyTorch",
}


def environment_section(folders: Sequence[RunFolder]) -> Section:
    """The section on the machines and versions of the trials, as each trial recorded them."""
    counts: dict[tuple[str, ...], int] = {}
    for folder in folders:
        for trial in folder.trials():
            result, measurement = trial.result(), trial.measurement()
            abouts: dict[str, Mapping[str, object]] = {}
            if isinstance(result, Scored):
                abouts["training and scoring"] = result.environment
            if isinstance(measurement, Measured):
                abouts["time and memory"] = measurement.model_dump()
            for what, about in abouts.items():
                row = (what, *(str(about.get(key, "")) for key in COLUMNS))
                counts[row] = counts.get(row, 0) + 1
    rows = tuple((*map(Cell, row), Cell(str(number))) for row, number in counts.items())
    headings = ("Phase", *COLUMNS.values(), "Trials")
    table = Table("On what the trials ran", headings, rows, len(headings) - 1)
    return Section("environment", "Environment", (), (table,))


def reproduce_section(folders: Sequence[RunFolder]) -> Section:
    """The section with the commands, without passwords and without the folder of the volumes."""
    blocks: list[Block] = []
    for folder in folders:
        run = folder.manifest()
        blocks.append(Command(run.command))
        facts = [("State", run.status), ("Code", run.protocol["code"])]
        if isinstance(run, RunManifest):
            facts.append(("Content of the data", run.fingerprint))
        blocks.append(Facts(tuple(facts)))
    lead = (
        "The same command with the same version on the same volumes gives the same protocol hash, "
        "and continues what it finds. Where volumes were read from a folder, DATA_ROOT stands for "
        "it; of other files and folders the last name is told.",
    )
    if made := _made_by(folders):
        blocks.append(made)
    return Section("reproduce", "How to get this again", lead, tuple(blocks))


def _made_by(folders: Sequence[RunFolder]) -> Table | None:
    """The table of what made each row; None where the rows do not say so, or one command did."""
    lines: dict[tuple[str, str], list[str]] = {}
    for folder in folders:
        run = folder.manifest()
        tables = run.suites if isinstance(run, RunManifest) else {}
        for row in (row for rows in tables.values() for row in rows):
            for each in row.made_by:
                lines.setdefault((each.command, each.version), []).append(row.title)
    if len(lines) < 2:
        return None
    rows = words([[", ".join(dict.fromkeys(titles)), *about] for about, titles in lines.items()])
    return Table("What made each row", ("Rows", "Command", "pfbench"), rows, 3)
