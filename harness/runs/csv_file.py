"""CSV files of a trial as columns, without pandas: its import takes half of a quick command."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_LINES = 250_000
"""More than the epochs that a protocol may ask for, of both networks of a trial."""
Columns = dict[str, NDArray[Any]]
"""The columns of a file by their headings: numbers as float64, or cells as text."""


def read_columns(path: Path, words: Collection[str]) -> Columns:
    """The columns of the file; those named in `words`, or with a cell that is no number, as text.

    Raises ValueError as `read_lines` does, and for a line of more or fewer cells.
    """
    header, lines = read_lines(path)
    cells = zip(*lines, strict=True) if lines else [()] * len(header)
    return {
        name: _as_text(column) if name in words else _as_numbers(column)
        for name, column in zip(header, cells, strict=True)
    }


def read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The headings of the file, and the cells of each line below.

    Raises ValueError for a file without headings, with one that stands twice, or of more lines than
    any trial writes.
    """
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = islice(filter(None, csv.reader(file)), MOST_LINES + 2)
    if len(set(header)) < len(header):
        raise ValueError("a column stands twice")
    if len(lines) > MOST_LINES:
        raise ValueError(f"more than {MOST_LINES:,} lines")
    return header, lines


def _as_text(column: Sequence[str]) -> NDArray[Any]:
    return np.array(column, dtype=object)


def _as_numbers(column: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array(list(map(float, column)))
    except ValueError:
        return _as_text(column)


def csv_lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    """The rows as CSV under the headings of all of them; None, NaN and what a row lacks are empty.

    A number is written with all digits that tell it from others.
    """
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, [*names], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return "" if value is None or value != value else value
