"""The faults found in a folder of results: the file, the line, and the wrong content."""

import csv
import errno
import math
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import StateError
from harness.runs.files import JsonObject, read_json, refuse_unfit, sha256
from harness.runs.records import CHANGED, broken_seal, wrong_keys

T = TypeVar("T")
SHOWN = 100  # faults of one record


@dataclass(frozen=True, order=True)
class Fault:
    """One fault: a file that was changed after it was written, or that contradicts another."""

    file: str
    """The path below the folder that is inspected."""
    line: int
    """The line, from 1; 0 for a whole file, or for JSON, whose key `what` begins with."""
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}"


class CsvLine(NamedTuple):
    """One line of a CSV file."""

    number: int
    cells: dict[str, str]


class Inspection:
    """The faults and notes of a folder, collected as they are found."""

    def __init__(self, root: Path, *, deep: bool = False) -> None:
        self.root = root
        self.deep = deep
        """Whether masks are predicted, distances scored and operations counted again, too, which
        takes long."""
        self.faults: set[Fault] = set()
        self.notes: dict[str, None] = {}
        """The notes in order of appearance; a file that is read twice is noted once."""
        self.gaps: dict[str, None] = {}
        """What could not be checked, in order of appearance, each once."""
        self.records_alone = False
        """Whether masks and weights were left behind, as `pfbench export records` does."""
        self.begun_by = ""
        """The version of pfbench that began the run, where it is another one."""

    def fault(self, path: Path, what: str, line: int = 0) -> None:
        self.faults.add(Fault(os.path.relpath(path, self.root), line, what))

    def note(self, what: str) -> None:
        self.notes[what] = None

    def unchecked(self, what: str) -> None:
        self.gaps[what] = None

    def bytes_of(self, path: Path) -> bytes | None:
        """The content of the file; None, and a fault, when the file cannot be read."""
        try:
            refuse_unfit(path)
            return path.read_bytes()
        except OSError as error:
            self._unreadable(path, error)
        except StateError as error:
            self.fault(path, error.what)
        return None

    def sum_of(self, path: Path) -> str | None:
        """The SHA-256 of the file; None, and a fault, when the file cannot be read."""
        try:
            return sha256(path)
        except OSError as error:
            self._unreadable(path, error)
            return None

    def _unreadable(self, path: Path, error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError)
        why = os.strerror(error.errno or errno.EIO)
        self.fault(path, "is missing" if missing else f"cannot be read: {why}")

    def json(self, path: Path) -> JsonObject | None:
        """The JSON object in the file; None, and a fault, when there is none."""
        if self.bytes_of(path) is None:
            return None
        try:
            return read_json(path)
        except StateError as error:
            self.fault(path, error.what)
            return None

    def record(self, path: Path, kind: TypeAdapter[T]) -> T | None:
        """The object in the file as `kind`; else None, and a fault for each wrong key."""
        content = self.json(path)
        if content is None:
            return None
        if broken_seal(content):
            self.fault(path, CHANGED)
        try:
            return kind.validate_python(content)
        except ValidationError as error:
            wrong = wrong_keys(error)
            for key, what in wrong[:SHOWN]:
                self.fault(path, f"{key}: {what}")
            if len(wrong) > SHOWN:
                self.fault(path, f"{len(wrong) - SHOWN:,} more keys are wrong")
            return None

    def table(self, path: Path) -> list[CsvLine] | None:
        """The lines of a CSV file below the header; None, and a fault, when it is no table."""
        content = self.bytes_of(path)
        if content is None:
            return None
        try:
            header, *rows = [*csv.reader(content.decode(errors="replace").splitlines())] or [[]]
        except csv.Error as error:
            self.fault(path, f"is no table: {error}")
            return None
        if not header:
            self.fault(path, "is empty")
            return None
        for number, row in enumerate(rows, 2):
            if len(row) != len(header):
                self.fault(path, f"{len(row)} cells, but {len(header)} columns", number)
                return None
        return [
            CsvLine(number, dict(zip(header, row, strict=True)))
            for number, row in enumerate(rows, 2)
        ]

    def numbers(
        self, path: Path, line: CsvLine, text: Container[str] = (), blank: Container[str] = ()
    ) -> dict[str, float]:
        """The cells of a line that are finite numbers; a fault for each other cell.

        Columns in `text` are left out, those in `blank` may be empty.
        """
        found = {}
        for name, cell in line.cells.items():
            if name in text or (name in blank and not cell):
                continue
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                found[name] = value
            else:
                self.fault(path, f"{name} is '{cell}', not a finite number", line.number)
        return found


def same(first: float, second: float) -> bool:
    """Whether two sums are equal but for rounding, as when added in another order."""
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
