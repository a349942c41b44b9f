"""The columns and cells of a printed table: each figure as text, beside the paper's."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from harness.results.table_data import Record, ResultTable, absent
from harness.runs.measures import BY_NAME, MEASURES, Measure, of_plugin


class Column(NamedTuple):
    """A column of the printed table; `device` is set where several devices have one column each."""

    measure: Measure
    device: str
    heading: str


def columns(table: ResultTable) -> list[Column]:
    """The columns of a table; a measure that depends on the device has a column for each device."""
    shown = [*_with_company(table.about.shows), *_of_plugins(table)]
    devices = {each: table.devices(each.column) if each.place else [] for each in shown}
    numbers = {name: f"device {n}" for n, name in enumerate(_each_once(devices.values()), 1)}
    found = []
    for each in shown:
        if len(devices[each]) < 2:
            found.append(Column(each, "", each.heading))
        else:
            found += [Column(each, d, f"{each.heading}, {numbers[d]}") for d in devices[each]]
    return found


def _with_company(names: Sequence[str]) -> Iterator[Measure]:
    """The measures `names`, each followed by the measures that always accompany it."""
    for name in names:
        yield BY_NAME[name]
        yield from (measure for measure in MEASURES if measure.beside == name)


def _of_plugins(table: ResultTable) -> Iterator[Measure]:
    """The measures of the metrics that plug-ins added."""
    for column in table.extra:
        name = column.removesuffix("_mean")
        if name != column:
            known = table.titles[name]
            yield of_plugin(name, known.title, known.better)


def _each_once(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(groups)))


def headings(table: ResultTable) -> list[str]:
    return [*table.about.headings, *(column.heading for column in columns(table))]


def values(table: ResultTable, column: Column) -> list[float | None]:
    """The figure of a column for each row; None where a row has no figure."""
    name = column.measure.column
    found = []
    for line in table.means.to_dict("records"):
        value = line[name]
        if column.device:
            value = table.on_device(line["key"], name, column.device)
        found.append(None if line["status"] != "ok" or absent(value) else value)
    return found


def cells(table: ResultTable) -> list[list[str]]:
    """The cells of the printed table; the best figure of a column is wrapped in ** **."""
    lines = table.means.to_dict("records")
    texts = [_column(lines, column.measure, values(table, column)) for column in columns(table)]
    shown = []
    for number, line in enumerate(lines):
        figures = [column[number] for column in texts]
        if line["status"] != "ok":
            figures[0] = f"{line['status']}: {line['reason']}"
        shown.append([*head(table, line), *figures])
    return shown


def head(table: ResultTable, line: Record) -> list[str]:
    """The words that name a row, under the suite's headings."""
    words = list(table.cells[line["key"]])
    # A model that the suite did not foresee has its title alone.
    words += [""] * (len(table.about.headings) - len(words))
    if line["transductive"] is True:
        words[0] += " †"
    return words


def best_of(measure: Measure, values: Sequence[float | None]) -> float | None:
    """The best value of a column; None where neither high nor low counts as better."""
    there = [value for value in values if value is not None]
    return {"max": max, "min": min}[measure.better](there) if measure.better and there else None


def _column(lines: Sequence[Record], measure: Measure, values: Sequence[float | None]) -> list[str]:
    best = best_of(measure, values)
    return [_cell(line, measure, value, best) for line, value in zip(lines, values, strict=True)]


def _cell(line: Record, measure: Measure, value: Any, best: float | None) -> str:
    """The cell as text, "**83.41 ± 2.10** [84.13]": our figure, its spread, the paper's figure."""
    if value is None:
        return ""
    text = number(value, measure) + spread(line, measure)
    if value == best:
        text = f"**{text}**"
    paper = printed_value(line, measure)
    return f"{text} [{paper}]" if paper else text


def spread(line: Record, measure: Measure) -> str:
    """The spread as text: " ± 2.10", over the trainings if several; "" for a single case."""
    if not measure.spread:
        return ""
    there = [line[measure.spread_of_seeds], line[measure.spread]]
    found = [value for value in there if not absent(value)]
    return f" ± {number(found[0], measure)}" if found else ""


def printed_value(line: Record, measure: Measure) -> str:
    """The paper's figure for the row as text; "" where the paper prints none."""
    value = line[measure.paper_column] if measure.paper else None
    return "" if absent(value) else number(value, measure)


def number(value: Any, measure: Measure) -> str:
    """The figure as text, in the unit and with the digits of the table."""
    return f"{value * measure.scale:,.{measure.digits}f}"
