"""The run folder: the one truth, from which tables, reports and MLflow are derived.

    RUN/run.json                 what was asked, and the trials that belong to it
    RUN/split.json               which case trains, validates, tests
    RUN/plugins/<name>-<hash>.py source of plug-ins that were used; never executed from here unasked
    RUN/trials/<id>/spec.json    everything that determines the trial; <id> is its hash
                    attempts.csv                     a line for each start, before it starts
                    history.csv, checkpoints/        while it trains
                    weights.safetensors, cases.csv, masks/<case>.npz   when it is done
                    result.json                      last: its presence means finished
                    measurement.json                 time and memory, from a phase of their own
    RUN/table.csv, table.md      derived

Every file is written whole or not at all: temporary file, fsync, rename.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import StateError, StorageError, UsageError
from harness.runs import plugins as registry
from harness.runs import suite_file
from harness.runs.crash_points import crash_point
from harness.runs.files import (
    damaged,
    read_json,
    remove_temporary,
    write_json,
)
from harness.runs.locks import held
from harness.runs.trial_folder import TrialFolder

SCHEMA = 3  # of run.json


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.path / "trials" / trial_id)

    def read(self) -> dict[str, Any]:
        """run.json; StateError when this is no run folder."""
        if not (self.path / "run.json").exists():
            remedy = "pass the folder that `pfbench run` printed as its output"
            what = "is not a run folder"
            raise StateError(what, where=str(self.path), remedy=remedy, code="PFB-K02")
        content = read_json(self.path / "run.json")
        if content.get("schema") != SCHEMA:
            what = f"was written by another version (schema {content.get('schema')}, not {SCHEMA})"
            raise StateError(what, where=str(self.path / "run.json"), remedy="another --out",
                             code="PFB-K07")  # fmt: skip
        self._tell_of_plugins(content)
        return content

    def _tell_of_plugins(self, content: dict[str, Any]) -> None:
        """Names and titles of what plug-ins brought to the run; none of their code."""
        try:
            registry.tell(content.get("plugins", []))
            suite_file.tell(content.get("suite_files", {}))
        except (ValidationError, TypeError, AttributeError) as error:
            what = "says nothing sensible of plug-ins or suites"
            raise damaged(self.path / "run.json", what) from error

    def write(self, content: dict[str, Any]) -> None:
        write_json(self.path / "run.json", {**content, "schema": SCHEMA})

    def trials(self) -> list[TrialFolder]:
        """The trials of the run, in the order of its table."""
        return [self.trial(trial_id) for trial_id in self.read()["trials"]]

    def create(self) -> None:
        """Make the folder, readable by its owner only: it may hold what patients' data tell."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            shown = ascii(str(self.path))
            raise UsageError("is no name in UTF-8", where=shown, remedy="another --out",
                             code="PFB-C18") from error  # fmt: skip
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            is_file = isinstance(error, FileExistsError)
            why = os.strerror(error.errno or errno.EIO).lower()
            raise self._unusable(
                "is a file, not a folder" if is_file else f"cannot be created: {why}"
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._unusable("is not writable")

    def _unusable(self, what: str) -> StorageError:
        remedy = "pass --out with a folder that you may write to"
        return StorageError(what, where=str(self.path), remedy=remedy, code="PFB-S02")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one driver; the lock of a dead process is no lock.

        Raises ClusterError naming the host and process that holds it.
        """
        with held(self.path / "driver.lock", 0, "wait for it to end, or pass another --out"):
            crash_point("locked")
            remove_temporary(self.path)
            yield
