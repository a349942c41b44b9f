"""A run folder of which some rows are looked at: the others are as if they were not there."""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import unknown
from harness.runs.manifest import in_use
from harness.runs.records import AnyManifest, RunManifest
from harness.runs.run_folder import RunFolder


class SelectedRun(RunFolder):
    """The folder of a run as if it had only the rows with these keys or titles.

    Reading it raises UsageError with the nearest name for a row that the run does not have.
    """

    def __init__(self, path: Path, rows: Sequence[str]) -> None:
        super().__init__(path)
        self.rows = tuple(rows)

    def manifest(self) -> AnyManifest:
        """Read run.json, with the chosen rows and their trials alone, and a note on that."""
        whole = super().manifest()
        if not isinstance(whole, RunManifest):
            return whole
        named = {row.key: row for rows in whole.suites.values() for row in rows}
        wanted = {name.lower() for name in self.rows}
        for name in self.rows:
            if not any(name.lower() in (r.key.lower(), r.title.lower()) for r in named.values()):
                raise unknown("row", name, named)
        tables = {
            name: [row for row in rows if {row.key.lower(), row.title.lower()} & wanted]
            for name, rows in whole.suites.items()
        }
        tables = {name: rows for name, rows in tables.items() if rows}
        shown, of = (sum(map(len, each.values())) for each in (tables, whole.suites))
        note = f"{shown} of {of} rows of this run are shown (--row)"
        return whole.model_copy(
            update={
                "suites": tables,
                "trials": in_use(self, whole.trials, tables),
                "notes": [note, *whole.notes],
            }
        )
