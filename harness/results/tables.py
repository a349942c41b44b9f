"""The tables of the paper, from run folders: as CSV, as Markdown and on the terminal."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from harness.results.answer import answer
from harness.results.cells import cells, headings
from harness.results.csv_text import csv_text
from harness.results.drops import HEADINGS, RULE, Drop, drops
from harness.results.drops import cells as drop_cells
from harness.results.markdown import markdown_table, plain
from harness.results.notes import notes_under
from harness.results.rows import merged_rows
from harness.results.standings import stand
from harness.results.table_data import ResultTable, tables
from harness.runs.files import write_bytes
from harness.runs.measures import DICE
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.suite import parted

OVER_TARGETS = "mean"
"""In place of a target, for the mean over several."""


@dataclass(frozen=True)
class Results:
    """The tables of a run, and the notes under them."""

    tables: tuple[ResultTable, ...]
    """Of several targets, the tables of the mean over them."""
    answers: tuple[str, ...]
    """The answer of each table in a paragraph; "" for a table without scores."""
    notes: tuple[str, ...]
    by_target: tuple[ResultTable, ...] = ()
    """The tables of each of several targets."""
    drops: Mapping[str, Sequence[Drop]] = field(default_factory=dict)
    """Suite -> how much worse its systems are there than on their own test cases; of tables on data
    of another origin."""

    @property
    def frame(self) -> pd.DataFrame:
        """The lines of all tables; of several targets with a column that tells of which."""
        if not self.by_target:
            return pd.concat([table.frame for table in self.tables], ignore_index=True)
        frames = []
        for table in (*self.tables, *self.by_target):
            frame = table.frame.copy()
            frame.insert(list(frame).index("title"), "target", table.target or OVER_TARGETS)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)


def build(*folders: RunFolder) -> Results:
    """The tables from the present files of the runs, with several runs merged into one.

    Raises UsageError for runs of different protocols, StateError for a folder that is no run.
    """
    found, by_suite = tables(folders), defaultdict(list)
    for row in merged_rows(folders):
        by_suite[row.suite].append(row)
    synthetic = folders[0].run().synthetic
    answers = tuple(
        answer(table, stand(by_suite[table.suite], DICE), synthetic=synthetic) for table in found
    )
    worse = {suite: drops(its) for suite, its in by_suite.items() if parted(suite)[1]}
    each = tuple(table for name in folders[0].run().targets for table in tables(folders, name))
    return Results(found, answers, notes_under(found, folders), each, worse)


def write(folder: RunFolder, results: Results) -> None:
    """Write table.csv and table.md into the run folder."""
    write_bytes(folder.path / "table.csv", csv_text(results.frame).encode())
    write_bytes(folder.path / "table.md", markdown(results).encode())


def markdown(results: Results) -> str:
    """The text of table.md: for each table its answer, then its figures; the notes at the end.

    Of several targets the tables of each follow.
    """
    lines: list[str] = []
    none = [""] * len(results.by_target)
    every = zip((*results.tables, *results.by_target), (*results.answers, *none), strict=True)
    for table, told in every:
        lines += [f"# {plain(table.title)}", "", *([plain(told), ""] if told else [])]
        lines += [*markdown_table(headings(table), cells(table)), ""]
        if (worse := results.drops.get(table.suite)) and not table.target:
            lines += [*markdown_table(HEADINGS, map(drop_cells, worse)), "", f"{RULE}.", ""]
    return "\n".join([*lines, *(f"- {plain(note)}" for note in results.notes)]) + "\n"


def show(results: Results, screen: Screen, *, by_target: bool = False) -> None:
    """Print the tables and their notes on the terminal, with `by_target` those of each target."""
    more = results.by_target if by_target else ()
    none = [""] * len(more)
    for table, told in zip((*results.tables, *more), (*results.answers, *none), strict=True):
        screen.show(_terminal(table))
        if (worse := results.drops.get(table.suite)) and not table.target:
            screen.show(_terminal_drops(worse))
        if told:
            screen.say(told)
    for note in results.notes:
        screen.say(f"- {note}")


def _terminal(table: ResultTable) -> RichTable:
    """The table for a rich console, with the best figures in bold."""
    title = table.title
    shown = RichTable(title=title, title_justify="left", header_style="bold")
    texts = len(table.about.headings)
    for number, heading in enumerate(headings(table)):
        shown.add_column(heading, justify="left" if number < texts else "right")
    for row in cells(table):
        shown.add_row(*(_bold(cell) for cell in row))
    return shown


def _terminal_drops(worse: Sequence[Drop]) -> RichTable:
    """The drops of one table for a rich console."""
    shown = RichTable(header_style="bold", caption=RULE, caption_justify="left")
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="left" if place < 2 else "right")
    for drop in worse:
        shown.add_row(*drop_cells(drop))
    return shown


def _bold(cell: str) -> Text:
    """The cell, with what stands between the first two pairs of asterisks in bold."""
    before, _, rest = cell.partition("**")
    best, second, after = rest.partition("**")
    if not second:
        return Text(cell)
    return Text.assemble(before, (best, "bold"), after)
