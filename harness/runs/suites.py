"""The suites that `--suite` knows by name, and the rows that a command chooses from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import UsageError, unknown
from harness.runs.paper_suites import EQUAL_VOXELS, FIG1, TABLE1, TABLE2, TABLE3, TABLE4, TABLE5
from harness.runs.suite import FIGURES, Row, Suite, elsewhere, parted
from harness.systems.catalogue import system

SUITES: dict[str, Suite] = {
    "table1": TABLE1,
    "table2": TABLE2,
    "table3": TABLE3,
    "table4": TABLE4,
    "table5": TABLE5,
    "fig1": FIG1,
}
OF_PAPER = tuple(SUITES)
SUITES["equal_voxels"] = EQUAL_VOXELS
OURS = tuple(SUITES)
ALL = "all"
TUNED = Suite("Default and tuned settings", (), ("System", "Settings"), FIGURES)
"""The comparison at the end of `pfbench tune`; that command finds the rows of this suite."""


def suite(name: str) -> Suite:
    """The suite called `name`. Raises UsageError with the nearest name for an unknown one.

    "table5@b" is Table V on the data set b of another origin.
    """
    table, where = parted(name)
    if table == "tuned":
        return elsewhere(TUNED, where)
    if table not in SUITES:
        raise unknown("suite", name, [*SUITES, ALL])
    return elsewhere(SUITES[table], where)


def chosen(
    name: str, profile: str, models: Sequence[str] = (), rows: Sequence[str] = ()
) -> dict[str, tuple[Row, ...]]:
    """The rows of each suite, narrowed to `models` and the row keys `rows`.

    The `name` "all" means the suites of the paper.

    A model without a row gets a row of its own. Raises UsageError for unknown names.
    """
    names = OF_PAPER if name == ALL else (name,)
    tables = {each: _of_models(suite(each).rows, models) for each in names}
    known = {row.key for table in tables.values() for row in table}
    for key in rows:
        if key not in known:
            raise unknown("row", key, known)
    return {
        each: tuple(row.in_profile(profile) for row in table if row.key in (rows or known))
        for each, table in tables.items()
    }


def _of_models(rows: tuple[Row, ...], models: Sequence[str]) -> tuple[Row, ...]:
    if not models:
        return rows
    present = {row.system for row in rows}
    added = [Row(name, system(name).title, name) for name in models if name not in present]
    return (*(row for row in rows if row.system in models), *added)


def refuse_overruled(row: Row, changed: Mapping[str, Any]) -> None:
    """Raise UsageError when the user sets an option of this row, for all rows, to another value."""
    for key, value in changed.items():
        if key in row.options and row.options[key] != value:
            raise UsageError(
                f"{value!r}, but the row '{row.title}' is about {key}={row.options[key]!r}",
                where=f"systems.{row.system}.{key}",
                remedy="leave it out, or choose other rows with --row",
                code="PFB-C02",
            )
