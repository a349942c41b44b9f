"""The plots of scores against time, memory and operations, for tables that measure them."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise

from harness.report.cost_plots import CostPoint, tradeoff, worth_it
from harness.report.document import Cell, Panel, Plot, Table
from harness.report.panels import legend, panel
from harness.results.cells import Column, columns, values
from harness.results.notes import device_notes
from harness.results.standings import Standing
from harness.results.table_data import ResultTable
from harness.runs.measures import DICE, HD95, Measure

COSTS = {
    "time": "Time of a volume (s)",
    "memory": "Peak memory (MiB)",
    "gflops": "GFLOPs of a volume",
}


def cost_plots(shown: ResultTable, standings: Mapping[str, Standing]) -> Plot | None:
    """The cost plots of a table; None for a table without times, or with fewer than two points."""
    if "time" not in shown.about.shows:
        return None
    panels: list[Panel] = []
    data: list[Table] = []
    for metric in (DICE, HD95):
        for column in columns(shown):
            name = column.measure.name
            if name not in COSTS:
                continue
            points = _points(shown, column, standings[metric.key])
            if len(points) < 2:
                continue
            cost = COSTS[name] + (
                f", {column.heading.rpartition(', ')[2]}" if column.device else ""
            )
            made = partial(tradeoff, points, cost, metric)
            key = f"{shown.suite}-cost{len(panels)}"
            panels.append(panel(key, made, _alt(points, cost, metric)))
            data.append(_data(points, cost, metric))
    if not panels:
        return None
    lead = (
        "Dice by its mean, HD95 by its median. Bars: 95 % interval. The broken line joins the "
        "systems that no other beats in both."
    )
    notes = "; ".join(device_notes([shown]))
    title = shown.about.title
    kinds = shown.means["kind"]
    return Plot(title, f"{lead} {notes}".strip(), tuple(panels), tuple(data), legend(kinds))


def steps(shown: ResultTable, standings: Mapping[str, Standing]) -> list[Table]:
    """What one point of Dice costs and what the cost of a volume buys, for each kind of cost.

    A line for each step along the systems that no other beats in both, from the cheapest on; no
    table where one system is both cheapest and best.
    """
    if "time" not in shown.about.shows:
        return []
    tables = []
    for column in columns(shown):
        if column.measure.name in COSTS:
            front = worth_it(_points(shown, column, standings[DICE.key]), DICE.side)
            if len(front) > 1:
                tables.append(_steps(front, column))
    return tables


def _steps(front: list[CostPoint], column: Column) -> Table:
    unit = column.measure.unit or column.measure.label
    device = f", {column.heading.rpartition(', ')[2]}" if column.device else ""
    rows = []
    for cheaper, better in pairwise(front):
        points, more = better.score - cheaper.score, better.cost - cheaper.cost
        each = (f"{more:,.3g}", f"{points:.2f}", f"{more / points:,.3g}", f"{points / more:,.3g}")
        rows.append((Cell(cheaper.label), Cell(better.label), *map(Cell, each)))
    headings = (
        "From", "to", f"{unit} more", "Points of Dice more", f"{unit} for a point",
        f"Points for one {unit}",
    )  # fmt: skip
    caption = f"What a point of Dice costs: {column.measure.label.lower()} of a volume{device}"
    return Table(caption, headings, tuple(rows), 2)


def _points(shown: ResultTable, column: Column, standing: Standing) -> list[CostPoint]:
    lines = shown.means.to_dict("records")
    labelled = len(shown.about.headings) == 1
    points = []
    for line, cost in zip(lines, values(shown, column), strict=True):
        found = standing.intervals.get(line["key"])
        if cost is None or found is None:
            continue
        label = shown.cells[line["key"]][0] if labelled else line["title"]
        points.append(CostPoint(label, line["kind"], cost, found.estimate, found.low, found.high))
    return points


def _alt(points: list[CostPoint], cost: str, metric: Measure) -> str:
    names = ", ".join(point.label for point in worth_it(points, metric.side))
    return f"{metric.title} against {cost}. Beaten by no other in both: {names}."


def _data(points: list[CostPoint], cost: str, metric: Measure) -> Table:
    rows = tuple(
        (
            Cell(point.label),
            Cell(point.kind),
            Cell(f"{point.cost:,.4g}"),
            Cell(f"{point.score:.2f}"),
            Cell("" if point.low is None else f"[{point.low:.2f}, {point.high:.2f}]"),
        )
        for point in points
    )
    headings = ("System", "Kind", cost, metric.title, "95 % interval")
    return Table(f"{metric.title} against {cost}", headings, rows, 2)
