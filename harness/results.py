"""The rows of a run's tables, each with the trials that it is made from."""

from dataclasses import dataclass
from pathlib import Path

from harness.data.cache import open_volume
from harness.data.case import Volume
from harness.errors import StateError, UsageError
from harness.ledger import RunFolder, TrialFolder, read_json
from harness.systems import Kind, system


@dataclass(frozen=True)
class ResultRow:
    """One row of one table; `trials` has one entry for each seed, in order of seed."""

    suite: str
    key: str
    title: str
    cells: tuple[str, ...]
    system: str
    trials: tuple[TrialFolder, ...]

    @property
    def kind(self) -> Kind:
        return system(self.system).kind


def rows(folder: RunFolder, suite: str | None = None) -> list[ResultRow]:
    """The rows of `suite`, or of every suite of the run, in the order of the tables.

    UsageError when the run does not have that suite, StateError for the folder of a study.
    """
    content = folder.read()
    if content["kind"] != "run":
        remedy = f"pfbench report {folder.path}"
        raise StateError("is a study, not a run", where=str(folder.path), remedy=remedy)
    tables = content["suites"]
    if suite is not None and suite not in tables:
        raise UsageError(
            f"this run has {', '.join(tables)}, not {suite}",
            where=str(folder.path),
            remedy=f"pfbench run --suite {suite} --out {folder.path}",
        )
    return [
        ResultRow(
            name,
            row["key"],
            row["title"],
            tuple(row["cells"]),
            row["system"],
            tuple(folder.trial(trial) for trial in row["trials"]),
        )
        for name, table in tables.items()
        if suite in (None, name)
        for row in table
    ]


def volume_of(folder: RunFolder, case: str, cache: Path | None = None) -> Volume:
    """The prepared volume of a case of the run.

    `cache` where it is no longer where the run left it. Raises DataError when it is not there.
    """
    data = read_json(folder.path / "data.json")
    return open_volume(cache or folder.path / data["cache"], data["keys"][case])
