"""A suite: one table of trials, with the rows that it compares and the figures that it shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.runs.measures import MEASUREMENT, MEASURES, SCORES
from harness.systems.catalogue import size_of

FIGURES = tuple(score.name for score in SCORES)
COSTS = ("time", "memory", "parameters", "gflops")
SHOWABLE = tuple(measure.name for measure in MEASURES if measure.shown)
MEASURED = {measure.name for measure in MEASURES if measure.where == MEASUREMENT and measure.shown}
"""Columns that need the phase of measuring; trials of suites without these columns are not
measured."""

ELSEWHERE = "@"  # between the name of a suite and that of a data set of another origin
UNTUNED = "/untuned"  # after the key of a row whose network is tested before its fine-tuning


@dataclass(frozen=True)
class Row:
    """One row of a table: a system, and the options in which the row differs from the default.

    `key` names the row within its suite for good; `cells` stand under the suite's headings, by
    default the title alone. `quick` replaces `options` in the quick profile. `protocol` is what the
    row changes about training. Title and cells may have names of options in braces.
    """

    key: str
    title: str
    system: str
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    cells: tuple[str, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def in_profile(self, profile: str) -> "Row":
        """The row in the form that it has in the table of `profile`."""
        options = {**self.options, **(self.quick if size_of(profile) == "quick" else {})}
        shown = {key: _readable(value) for key, value in options.items()}
        return replace(
            self,
            title=self.title.format(**shown),
            cells=tuple(cell.format(**shown) for cell in self.cells or (self.title,)),
            options=options,
            quick={},
        )


def untuned_row(row: Row) -> Row:
    """The row of the same network as it was trained, before it is fine-tuned."""
    first, *others = row.cells
    return replace(
        row,
        key=f"{row.key}{UNTUNED}",
        title=f"{row.title}, as trained",
        cells=(f"{first}, as trained", *others),
        options={**row.options, "tpf": "none"},
    )


def _readable(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Suite:
    """One table of the paper; `shows` are the columns beside those that tell the rows apart."""

    title: str
    rows: tuple[Row, ...]
    headings: tuple[str, ...] = ("Model",)
    shows: tuple[str, ...] = FIGURES + COSTS
    notes: tuple[str, ...] = ()


def parted(name: str) -> tuple[str, str]:
    """The suite and the data set of another origin in a name: "table5@b" -> "table5", "b"."""
    table, _, where = name.partition(ELSEWHERE)
    return table, where


def elsewhere(table: Suite, where: str) -> Suite:
    """The table of the same rows on the data set `where`; without a name, the table itself.

    Costs are those of the table itself: the networks are the same.
    """
    if not where:
        return table
    return replace(table, title=f"{table.title}, tested on {where}", shows=FIGURES, notes=())
