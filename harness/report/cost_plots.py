"""Plots of score against cost: time, memory and operations, on the device that was measured.

A system is worth its cost where no other is both cheaper and better; a grey line joins these.
"""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

from harness.report.panels import KINDS, LETTER, LINE, MARKERS, WIDTH, axes_at
from harness.report.style import GREY, Style
from harness.runs.measures import Measure

HEIGHT = 2.5  # inches
VEIL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # no line through it
FRONT: Style = {"color": "0.75", "linewidth": 1, "linestyle": "--", "zorder": 1}
LEADER: Style = {"color": "0.7", "linewidth": 0.6, "zorder": 1.5}
INTERVAL: Style = {"linewidth": 1, "alpha": 0.7, "zorder": 2}
NAME: Style = {"va": "center", "color": GREY, "zorder": 2.5, "bbox": VEIL}
POINT: Style = {
    "markersize": 6,
    "markeredgecolor": "black",
    "markeredgewidth": 0.6,
    "zorder": 3,
}
MARK = 0.05  # inches from the middle of a point to its edge
ASIDE = 1.5  # steps from its point beyond which a name needs a line to it
# Where a name may stand: steps of its own width across and of its height up, nearest first.
PLACES = [(0.5, 0.0), (-0.5, 0.0)]
PLACES += [
    (x, sign * y)
    for y in (1.0, 1.9, 2.8, 3.7, 4.6)
    for sign in (1, -1)
    for x in (0, 0.25, -0.25, 0.45, -0.45)
]


class CostPoint(NamedTuple):
    """One system in the plot; `low` and `high` are the interval of its score, None without one."""

    label: str
    kind: str
    cost: float
    score: float
    low: float | None
    high: float | None


def tradeoff(points: Sequence[CostPoint], cost: str, metric: Measure) -> Figure:
    """The figure of score against cost, with the cost on a logarithmic axis."""
    figure, axes = axes_at(0.55, HEIGHT)
    axes.set_xscale("log")
    front = worth_it(points, metric.side)
    axes.plot([p.cost for p in front], [p.score for p in front], **FRONT)
    for point in points:
        colour = KINDS[point.kind]
        if point.low is not None and point.high is not None:
            axes.plot([point.cost] * 2, [point.low, point.high], color=colour, **INTERVAL)
        axes.plot(point.cost, point.score, MARKERS[point.kind], color=colour, **POINT)
    axes.margins(x=0.16, y=0.12)
    axes.autoscale_view()
    _name(axes, figure, points)
    _ticks(axes)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_xlabel(f"{cost}: less is better")
    better = "more" if metric.side > 0 else "less"
    axes.set_ylabel(f"{metric.title}: {better} is better")
    return figure


def worth_it(points: Sequence[CostPoint], side: int) -> list[CostPoint]:
    """The points that no other point beats in both cost and score, by cost; `side` is 1 or -1."""
    front: list[CostPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -side * p.score)):
        if not front or side * point.score > side * front[-1].score:
            front.append(point)
    return front


def _ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    decade = [1.0] if high / low > 100 else [1.0, 2.0, 5.0] if high / low > 5 else range(1, 10)
    axes.xaxis.set_major_locator(LogLocator(subs=list(decade)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    decades = low >= 0.001 and high < 1e5
    axes.xaxis.set_major_formatter(
        (lambda value, _: f"{value:,g}") if decades else LogFormatterSciNotation()
    )


def _name(axes: Axes, figure: Figure, points: Sequence[CostPoint]) -> None:
    """Write a name beside each point, where the name covers no other point and no other name."""
    to_inches = figure.dpi_scale_trans.inverted()
    spots = (axes.transData + to_inches).transform([(p.cost, p.score) for p in points])
    (left, bottom), (_, top) = (axes.transAxes + to_inches).transform([(0, 0), (1, 1)])
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in spots]
    for point, (x, y) in zip(points, spots, strict=True):
        size = LETTER * len(point.label), LINE * 0.75
        boxes = {place: _box(x, y, *size, place) for place in PLACES}
        inside = {
            place: box
            for place, box in boxes.items()
            if left <= box[0] and box[2] <= WIDTH and bottom <= box[1] and box[3] <= top
        }
        free = [p for p, box in inside.items() if not _covered(box, taken)]
        clear = [p for p in free if not _covered(_way(x, y, boxes[p], p), taken)]
        place = [*clear, *free, *inside, *boxes][0]
        taken += [boxes[place], _way(x, y, boxes[place], place)]
        start, low, end, high = boxes[place]
        # Beside its point it is held there: how wide it gets is up to the font of the reader.
        beside = {0.5: (start, "left"), -0.5: (end, "right")}
        across, side = beside.get(place[0], ((start + end) / 2, "center"))
        middle = (low + high) / 2
        inches = figure.dpi_scale_trans
        axes.text(across, middle, point.label, ha=side, transform=inches, **NAME)
        if abs(place[1]) > ASIDE:
            axes.plot([x, across], [y, middle], transform=inches, **LEADER)


Box = tuple[float, float, float, float]


def _box(x: float, y: float, wide: float, high: float, place: tuple[float, float]) -> Box:
    """The left, bottom, right and top of a name in inches, a little away from its point."""
    across, up = place
    centre_x = x + across * (wide + 0.16)
    centre_y = y + up * (high / 2 + 0.07)
    return centre_x - wide / 2, centre_y - high / 2, centre_x + wide / 2, centre_y + high / 2


def _way(x: float, y: float, box: Box, place: tuple[float, float]) -> Box:
    """The box of the line from a point to its name; the name's box where no line is needed."""
    if abs(place[1]) <= ASIDE:
        return box
    middle = (box[0] + box[2]) / 2
    low, high = (y + MARK, box[1]) if place[1] > 0 else (box[3], y - MARK)
    return min(x, middle) - 0.01, low, max(x, middle) + 0.01, high


def _covered(box: Box, taken: Sequence[Box]) -> bool:
    return any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in taken
    )
