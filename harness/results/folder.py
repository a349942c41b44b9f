"""The results of a run folder or a study folder: as lines, as files, on the terminal.

Which of the two a folder is, is decided here, once: `opened` returns an object of the right kind.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.errors import StateError
from harness.results import study, tables
from harness.results.drops import record
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen


@dataclass(frozen=True)
class RunResults:
    """Runs of one protocol, read as one; their tables are written into the folder of the first."""

    folders: Sequence[RunFolder]

    @cached_property
    def found(self) -> tables.Results:
        return tables.build(*self.folders)

    @property
    def frame(self) -> pd.DataFrame:
        """The lines of all tables: one for each trial, and one with the mean of each row."""
        return self.found.frame

    @property
    def as_json(self) -> str:
        """The lines of all tables and the notes under them, as JSON."""
        rows = json.loads(self.frame.to_json(orient="records"))
        content = {"rows": rows, "notes": self.found.notes}
        if self.found.drops:
            content["drops"] = [
                record(suite, d) for suite, ds in self.found.drops.items() for d in ds
            ]
        return json.dumps(content, indent=2)

    def write_tables(self) -> None:
        """Write table.csv and table.md."""
        tables.write(self.folders[0], self.found)

    def show(self, screen: Screen, *, by_target: bool = False) -> None:
        tables.show(self.found, screen, by_target=by_target)
        screen.say(f"table       {self.folders[0].path / 'table.md'} (and table.csv)")


@dataclass(frozen=True)
class StudyResults:
    """The results of one study: its points."""

    folder: RunFolder

    @property
    def frame(self) -> pd.DataFrame:
        """The lines of the table: one for each point."""
        return study.frame(self.folder)

    @property
    def as_json(self) -> str:
        return self.frame.to_json(orient="records", indent=2)

    def write_tables(self) -> None:
        """Write study.csv, study.md, and best.yaml once a point is complete."""
        study.write_tables(self.folder)

    def show(self, screen: Screen, *, by_target: bool = False) -> None:
        """Print the table; scores of a study are means over targets, so that it has but one."""
        study.show(self.folder, screen)


def opened(*folders: RunFolder) -> RunResults | StudyResults:
    """The results of one run or study, or of several runs together.

    Raises StateError for a folder that is neither, and for a study that is not alone.
    """
    studies = [folder for folder in folders if folder.manifest().kind == "study"]
    if not studies:
        return RunResults(folders)
    if len(folders) > 1:
        what, where = "is a study; studies are reported one by one", str(studies[0].path)
        raise StateError(what, where=where, remedy=f"pfbench report {where}")
    return StudyResults(studies[0])
