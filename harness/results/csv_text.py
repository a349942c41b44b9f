"""Tables as CSV, for spreadsheets that would execute a cell."""

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV; a text that a spreadsheet takes for a formula has an apostrophe before it.

    Numbers stay as they are.
    """
    return frame.map(_harmless).to_csv(index=False)


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
