"""Checks table.csv and table.md against tables made again in memory from the run's files."""

import csv
import errno
import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from harness.checks.verify.inspection import Inspection, same
from harness.errors import PfbenchError
from harness.results import tables
from harness.results.csv_text import csv_text
from harness.runs.records import RunManifest
from harness.runs.run_folder import RunFolder

DAMAGED = (
    PfbenchError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
)
"""The exceptions that deriving files raises for records that were tampered with."""


def check_tables(run: RunManifest, folder: RunFolder, found: Inspection) -> None:
    """Compare every cell of table.csv and every line of table.md.

    A run whose driver died has the tables of an earlier command; they are not compared.
    """
    if run.status == "running":
        found.unchecked("tables: the run was cut off; the same command continues it")
        return
    path = folder.path / "table.csv"
    try:
        results = tables.build(folder)
    except DAMAGED as error:
        found.fault(path, f"cannot be made again from the results: {in_words(error)}")
        return
    same_csv(path, csv_text(results.frame), ("key", "seed"), found)
    same_text(path.with_suffix(".md"), tables.markdown(results), found)


def in_words(error: Exception) -> str:
    """The text of an error that a damaged record caused, without the record's path."""
    if isinstance(error, PfbenchError):
        return error.what
    if isinstance(error, OSError):
        return os.strerror(error.errno or errno.EIO)
    return f"{type(error).__name__} {error}"


def same_csv(path: Path, expected: str, names: Sequence[str], found: Inspection) -> None:
    """Add a fault for each cell that differs; the columns `names` identify the row in its text."""
    content = found.bytes_of(path)
    if content is None:
        return
    wanted = [*csv.reader(expected.splitlines())]
    given = [*csv.reader(content.decode(errors="replace").splitlines())]
    header = wanted[0]
    for number, (is_, should) in enumerate(zip_longest(given, wanted), 1):
        if is_ is None or should is None or len(is_) != len(should):
            what = "is missing" if is_ is None else "has no result" if should is None else "is cut"
            found.fault(path, f"this row {what}", number)
            continue
        row = " ".join(should[header.index(name)] for name in names)
        for column, one, other in zip(header, is_, should, strict=True):
            if not _equal(one, other):
                what = f"{column} of {row} is '{one}', but the results say '{other}'"
                found.fault(path, what, number)


def _equal(first: str, second: str) -> bool:
    """Whether two cells agree: sums may differ in the last digit, names and counts may not."""
    if first == second or "." not in second:
        return first == second
    try:
        return same(float(first), float(second))
    except ValueError:
        return False


def same_text(path: Path, expected: str, found: Inspection) -> None:
    """Add a fault for each line that differs."""
    content = found.bytes_of(path)
    if content is None:
        return
    given = content.decode(errors="replace").splitlines()
    for number, (is_, should) in enumerate(zip_longest(given, expected.splitlines()), 1):
        if is_ != should:
            what = "is one too many" if should is None else f"should be: {should}"
            found.fault(path, what, number)
