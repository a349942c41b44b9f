"""Pictures of the points of a study and their scores.

    STUDY/figures/<study>-history      every point, in their order
                          slices       against each parameter
                          parallel     a line for each point
                          importance   which parameters mattered

The default is vermilion and the best a star or a thick line in all of them.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, log
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator

from harness.report.style import (
    BLUE,
    GREY,
    LARGE,
    NORMAL,
    SMALL,
    VERMILLION,
    YELLOW,
    Style,
    write_picture,
)
from harness.results.caveats import SYNTHETIC
from harness.runs.records import StudyManifest
from harness.runs.run_folder import RunFolder
from tuning.importance import ALIKE, compared, importance
from tuning.search import Range

COLUMN, PAGE = 3.5, 7.0  # inches: one column of a journal, and both
BODY = 2.2  # inches: a picture without its title, legend and notes
ACROSS = 3  # panels
LINE = 1.35 / 72  # inches for a point of type
NOTE_LETTERS = 21  # to an inch
LEGEND_ENTRIES = 0.9  # to an inch
DICE = "Validation Dice (%)"
STOPPED = "Stopped points: their last score, after fewer epochs."
STOPPED_LINES = "Dotted: stopped points, without their last score, which is after fewer epochs."
# Dark is good, to all eyes and in grey; its palest would be lost on white.
COLOURS = ListedColormap(colormaps["cividis_r"](np.linspace(0.1, 1, 256)))
MARKS: dict[str, Style] = {
    "complete": {"marker": "o", "color": BLUE, "markersize": 3.5},
    "stopped": {"marker": "o", "color": GREY, "markersize": 3, "fillstyle": "none"},
}
FAILED: Style = {
    "marker": "x",
    "color": VERMILLION,
    "markersize": 4,
    "linestyle": "none",
    "label": "failed",
    "clip_on": False,
}
DEFAULT: Style = {"marker": "s", "color": VERMILLION, "markersize": 7, "fillstyle": "none"}
BEST: Style = {
    "marker": "*",
    "color": "black",
    "markerfacecolor": YELLOW,
    "markersize": 7.5,
    "markeredgewidth": 0.6,
}
THICK: Style = {"color": COLOURS(1.0), "linewidth": 2.4}
THICK_DEFAULT: Style = {"color": VERMILLION, "linewidth": 1.6, "linestyle": "--"}
BEHIND_TEXT = {"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
ON_TOP: Style = {"color": VERMILLION, "size": SMALL, "ha": "center", "va": "bottom"}
BEST_SO_FAR: Style = {
    "where": "post",
    "color": "black",
    "linewidth": 0.8,
    "label": "best so far",
}
TICK: Style = {
    "va": "center",
    "textcoords": "offset points",
    "size": SMALL,
    "zorder": 4,
    "bbox": BEHIND_TEXT,
}
LEGEND: Style = {
    "loc": "upper left",
    "frameon": False,
    "borderaxespad": 0,
    "borderpad": 0,
    "handlelength": 1.6,
    "columnspacing": 1.2,
}


def draw(folder: RunFolder, table: pd.DataFrame) -> list[Path]:
    """Write the pictures of every study in the folder that has a score; returns the files.

    `table` has a row for each point: study, number, state (complete, stopped, failed or
    unfinished), value (validation Dice, 0 to 1, of complete points), last (the last score of
    any point) and a column for each parameter. Unfinished points are not shown. Raises
    StorageError when a file cannot be written.
    """
    return [
        path
        for name, made in pictures(folder, table).items()
        for kind, make in made.items()
        for path in write_picture(make, folder.path / "figures" / f"{name}-{kind}")
    ]


def pictures(folder: RunFolder, table: pd.DataFrame) -> dict[str, dict[str, Callable[[], Figure]]]:
    """The functions that draw the pictures: study -> kind -> function; `table` as for `draw`."""
    run = folder.study()
    return {name: _pictures(_Found.of(name, run, table)) for name in run.suites}


@dataclass(frozen=True, eq=False)
class _Found:
    """One study: its points in order, with the score of each in percent or NaN."""

    name: str
    points: pd.DataFrame
    space: dict[str, Range]
    reference: dict[str, float]
    synthetic: bool

    @classmethod
    def of(cls, name: str, run: StudyManifest, table: pd.DataFrame) -> "_Found":
        points = table[table["study"] == name].sort_values("number", ignore_index=True)
        value, last = points["value"].astype(float), points["last"].astype(float)
        score = value.where(points["state"] == "complete", last)
        shown = points["state"].isin(list(MARKS))
        spans = run.protocol["spaces"][name]
        return cls(
            name,
            points.assign(score=100 * score.where(shown)),
            {parameter: Range(**span) for parameter, span in spans.items()},
            run.references[name],
            run.synthetic,
        )

    def of_state(self, state: str) -> pd.DataFrame:
        return self.points[self.points["state"] == state]

    def if_stopped(self, note: str) -> list[str]:
        """The given note in a list if the study has stopped points, else []."""
        return [note] if len(self.of_state("stopped")) else []

    @property
    def default(self) -> pd.DataFrame:
        """The row of the default point; no row while the default is not complete."""
        complete = self.of_state("complete")
        same = [complete[name] == value for name, value in self.reference.items()]
        return complete[np.logical_and.reduce(same)][:1]

    @property
    def best(self) -> pd.DataFrame:
        """The row of the best point; no row when no point is complete."""
        return self.of_state("complete").nlargest(1, "score")

    def span(self, name: str) -> Range:
        """The range of a parameter, extended to the default where the default lies outside."""
        span, value = self.space[name], self.reference[name]
        return Range(min(span.low, value), max(span.high, value), span.log, span.integer)


def _pictures(found: _Found) -> dict[str, Callable[[], Figure]]:
    """The pictures that can be drawn; {} when no point has a score."""
    if not found.points["score"].notna().any():
        return {}
    pictures: dict[str, Callable[[], Figure]] = {
        "history": partial(_history, found),
        "slices": partial(_slices, found),
    }
    if len(found.space) > 1 and len(found.best):
        pictures["parallel"] = partial(_parallel, found)
    shares = importance(found.points, found.space)
    if shares:
        pictures["importance"] = partial(_importance, found, shares)
    return pictures


def _history(found: _Found) -> Figure:
    figure = Figure((COLUMN, BODY), layout="constrained")
    axes = figure.subplots()
    complete = found.of_state("complete")
    best = complete["score"].cummax().tolist()
    if best:
        numbers = [*complete["number"], found.points["number"].iloc[-1]]
        axes.step(numbers, [*best, best[-1]], **BEST_SO_FAR)
    _mark_points(axes, found, "number")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Point")
    axes.set_ylabel(DICE)
    notes = ["Mean validation Dice of the trials of each point after the last epoch."]
    notes += found.if_stopped(STOPPED)
    return _framed(figure, f"{found.name}: history", notes, found.synthetic)


def _slices(found: _Found) -> Figure:
    columns = min(len(found.space), ACROSS)
    rows = ceil(len(found.space) / columns)
    figure = Figure((COLUMN if columns == 1 else PAGE, BODY * rows), layout="constrained")
    places = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in places.flat[len(found.space) :]:
        axes.remove()
    for axes, name in zip(places.flat, found.space, strict=False):
        _draw_slice(axes, found, name)
    for axes in places[:, 0]:
        axes.set_ylabel(DICE)
    notes = ["Vertical line: the default value."]
    notes += found.if_stopped(STOPPED)
    title = f"{found.name}: score against each parameter"
    return _framed(figure, title, notes, found.synthetic)


def _draw_slice(axes: Axes, found: _Found, name: str) -> None:
    span, default = found.span(name), found.reference[name]
    axes.set_xscale("log" if span.log else "linear")
    axes.axvline(default, color=VERMILLION, linewidth=0.8, linestyle="--", zorder=1)
    axes.text(default, 1.01, _short(default), transform=axes.get_xaxis_transform(), **ON_TOP)
    _mark_points(axes, found, name)
    axes.update_datalim([(span.low, 0), (span.high, 0)], updatey=False)
    axes.autoscale_view()
    axes.set_xticks(_ticks(span), [_short(tick) for tick in _ticks(span)])
    axes.minorticks_off()
    axes.set_xlabel(name)


def _mark_points(axes: Axes, found: _Found, column: str) -> None:
    """Draw the score of each point against a column, and mark the points without a score."""
    for state, style in MARKS.items():
        _mark(axes, found.of_state(state), column, state, style)
    failed = found.of_state("failed")
    if len(failed):
        axes.plot(failed[column], [0] * len(failed), transform=axes.get_xaxis_transform(), **FAILED)
    for label, point, style in (("default", found.default, DEFAULT), ("best", found.best, BEST)):
        _mark(axes, point, column, _with_score(label, point), style)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, points: pd.DataFrame, column: str, label: str, style: Style) -> None:
    points = points[points["score"].notna()]
    if len(points):
        axes.plot(points[column], points["score"], **style, linestyle="none", label=label)


def _with_score(label: str, point: pd.DataFrame) -> str:
    """The label with the score of the point: "best (81.2)"."""
    return label + "".join(f" ({score:.1f})" for score in point["score"])


def _parallel(found: _Found) -> Figure:
    figure = Figure((PAGE, BODY), layout="constrained")
    axes = figure.subplots()
    complete = found.of_state("complete").sort_values("score")  # the best on top
    scores = _wide(complete["score"].min(), complete["score"].max())
    for _, point in found.of_state("stopped").iterrows():
        axes.plot(_heights(point, found), color="0.7", linewidth=0.6, linestyle=":")
    for _, point in complete.iterrows():
        height = _share(point["score"], scores)
        axes.plot([*_heights(point, found), height], color=COLOURS(height), linewidth=0.9)
    thick = (("best", found.best, THICK), ("default", found.default, THICK_DEFAULT))
    for label, points, style in thick:
        for _, point in points.iterrows():
            heights = [*_heights(point, found), _share(point["score"], scores)]
            axes.plot(heights, **style, label=_with_score(label, points))
    _draw_scales(axes, found, scores)
    notes = ["Colour: validation Dice of the complete points."]
    notes += found.if_stopped(STOPPED_LINES)
    return _framed(figure, f"{found.name}: parallel coordinates", notes, found.synthetic)


def _heights(point: pd.Series, found: _Found) -> list[float]:
    """The heights, 0 to 1, at which the line of a point crosses the scale of each parameter."""
    return [_share(point[name], found.span(name)) for name in found.space]


def _wide(low: float, high: float) -> Range:
    """The range for scores in percent, widened when the scores are equal."""
    return Range(low, high) if high - low > 100 * ALIKE else Range(low - 0.5, high + 0.5)


def _share(value: float, span: Range) -> float:
    """The position of a value within its range, 0 to 1."""
    if span.log:
        return log(value / span.low) / log(span.high / span.low)
    return (value - span.low) / (span.high - span.low)


def _draw_scales(axes: Axes, found: _Found, scores: Range) -> None:
    """Draw an upright scale for each parameter, then the scale of the scores with its colours."""
    last = len(found.space)
    for place, name in enumerate(found.space):
        _draw_scale(axes, place, name, found.span(name), right=False)
    _draw_scale(axes, last, DICE, scores, right=True)
    axes.imshow(
        np.linspace(0, 1, 256)[:, None],
        cmap=COLOURS,
        origin="lower",
        aspect="auto",
        extent=(last + 0.01, last + 0.04, 0, 1),
    )
    axes.axis((-0.02, last + 0.05, -0.02, 1.02))
    axes.set_axis_off()


def _draw_scale(axes: Axes, place: int, name: str, span: Range, *, right: bool) -> None:
    axes.plot([place, place], [0, 1], color="black", linewidth=0.6, zorder=3)
    for tick in _ticks(span):
        offset, side = ((3, 0), "left") if right else ((-3, 0), "right")
        where = place + 0.04 * right, _share(tick, span)
        axes.annotate(_short(tick), where, offset, ha=side, **TICK)
    label = name.replace(".", ".\n")  # protocol.learning_rate is too wide to stand beside others
    axes.annotate(
        label, (place, 0), (0, -6), size=NORMAL, textcoords="offset points", ha="center", va="top"
    )


def _importance(found: _Found, shares: dict[str, float]) -> Figure:
    figure = Figure((COLUMN, 0.5 + 0.25 * len(shares)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(shares), list(shares.values()), color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3, size=SMALL)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)  # room for the number beside a bar of 1
    axes.set_xlabel("Share of the variance of the score")
    axes.spines[["top", "right"]].set_visible(False)
    count = len(compared(found.points, found.space))
    notes = [
        "What each parameter explains alone; the rest takes several together.",
        f"fANOVA (Hutter et al., 2014) of {count} complete points; rough if few.",
        *found.if_stopped("Stopped points are left out."),
    ]
    return _framed(figure, f"{found.name}: importance", notes, found.synthetic)


def _ticks(span: Range) -> list[float]:
    """Tick values: a few round numbers within the range."""
    if span.log:
        subs = (1, 2, 5) if span.high / span.low < 100 else (1,)
        ticks = LogLocator(subs=subs).tick_values(span.low, span.high)
    else:
        locator = MaxNLocator(5, steps=[1, 2, 5, 10], integer=span.integer)
        ticks = locator.tick_values(span.low, span.high)
    slack = 1e-9  # ticks are rounded, and the ends of a range are often ticks
    return [float(tick) for tick in ticks if -slack <= _share(tick, span) <= 1 + slack]


def _short(value: float) -> str:
    """A number as short text: 0.002 -> "0.002", 0.0002 -> "2e-4"."""
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.4g}"
    digits, _, exponent = f"{value:.3e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


def _framed(figure: Figure, title: str, notes: list[str], synthetic: bool) -> Figure:
    """The figure with a title and legend above the plot and notes below the plot."""
    width, body = figure.get_size_inches()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = int(width * LEGEND_ENTRIES)
    lines = [textwrap.fill(note, int(width * NOTE_LETTERS)) for note in notes]
    lines += [SYNTHETIC.note] if synthetic else []
    text = "\n".join(lines)
    head = LARGE * LINE + ceil(len(labels) / columns) * NORMAL * LINE + 0.1
    foot = (text.count("\n") + 1) * SMALL * LINE + 0.05 if text else 0
    height = head + body + foot
    figure.set_size_inches(width, height)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, foot / height, 1, body / height)))
    left = 0.07 / width
    figure.text(left, 1 - 0.04 / height, title, size=LARGE, weight="bold", va="top")
    figure.text(left, 0.04 / height, text, size=SMALL, color=GREY, va="bottom")
    if labels:
        top = 1 - (LARGE * LINE + 0.05) / height
        figure.legend(handles, labels, ncols=columns, bbox_to_anchor=(left, top), **LEGEND)
    return figure
