"""Tables as CSV, for spreadsheets that would execute a cell."""

import re

import pandas as pd

FORMULA = re.compile(r"\t|\s*[=+\-@＝＋－＠]")
"""The sign that a formula begins with, also full-width, and after blanks."""


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV; a text that a spreadsheet takes for a formula has an apostrophe before it.

    A text stands on one line. Numbers stay as they are.
    """
    return frame.map(_harmless).to_csv(index=False)


def _harmless(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    line = " ".join(cell.splitlines())
    return f"'{line}" if FORMULA.match(line) else line
