"""Fig. 1: the scores of ResUNet3D against the size of its patches."""

import textwrap
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from harness.report.style import BLUE, GREY, LARGE, NORMAL, SMALL, VERMILLION, Style, write_picture
from harness.runs.measures import DICE, HD95, JACCARD, Measure
from harness.runs.suites import suite

INCHES = (3.5, 5.2)  # a column of a journal
NOTE_LETTERS = 75  # in a line of that width
SHOWN = (DICE, JACCARD, HD95)  # from top to bottom
MARGIN = 1.5  # times fewer and more voxels than there are patches of
SEVERAL = "Mean over the test cases; bars: their standard deviation."
SINGLE = "A single test case."
VALUE: Style = {"size": SMALL, "textcoords": "offset points"}
CROSS: Style = {"marker": "x", "color": VERMILLION, "clip_on": False, "markersize": 4}
REASON: Style = {
    "color": VERMILLION,
    "size": SMALL,
    "rotation": 90,
    "ha": "center",
    "va": "bottom",
}
CURVE: Style = {
    "color": BLUE,
    "marker": "o",
    "markersize": 3.5,
    "linewidth": 1,
    "elinewidth": 0.7,
    "capsize": 2,
}


def ladder_plot(table: pd.DataFrame, out_stem: Path, note: str = "") -> list[Path]:
    """Write `out_stem`.png and .svg: Dice, Jaccard and HD95 against the size of the patch.

    `table` has a row for each size: label ("64×96×96"), voxels (of a patch), status ("ok", or
    what stands at the axis instead of a point), n_cases, and the mean and std over cases of dice,
    jaccard (0 to 1) and hd95 (mm): dice_mean, dice_std and so on. Raises StorageError when a file
    cannot be written.
    """
    return write_picture(partial(draw, table.sort_values("voxels"), note), out_stem)


def draw(table: pd.DataFrame, note: str) -> Figure:
    """The plot as a figure, for `style.write_picture`."""
    figure = Figure(INCHES, layout="constrained")
    places = figure.subplots(len(SHOWN), sharex=True)
    for axes, measure in zip(places, SHOWN, strict=True):
        _draw_measure(axes, table, measure)
    bottom = places[-1]
    bottom.xaxis.set_major_locator(FixedLocator(list(table["voxels"])))
    bottom.set_xticklabels(
        table["label"], rotation=30, ha="right", size=NORMAL, rotation_mode="anchor"
    )
    # By hand, because there may be one size alone, of which no margin in percent makes room.
    bottom.set_xlim(table["voxels"].min() / MARGIN, table["voxels"].max() * MARGIN)
    bottom.set_xlabel("Patch (D × H × W voxels)")
    explanation = SINGLE if table["n_cases"].max() == 1 else SEVERAL
    notes = [textwrap.fill(line, NOTE_LETTERS) for line in (explanation, *note.split("\n"))]
    figure.suptitle(suite("fig1").title, x=0.02, ha="left", size=LARGE, weight="bold")
    figure.supxlabel("\n".join(notes).strip(), x=0.02, ha="left", size=SMALL, color=GREY)
    return figure


def _draw_measure(axes: Axes, table: pd.DataFrame, measure: Measure) -> None:
    done = table[table["status"] == "ok"]
    mean = done[measure.column].astype(float) * measure.scale
    spread = done[measure.spread].astype(float) * measure.scale
    axes.errorbar(done["voxels"], mean, spread, **CURVE)
    for place, value, rising in zip(done["voxels"], mean, mean.diff(-1) < 0, strict=True):
        beside, side = ((4, -4), "top") if rising else ((4, 4), "bottom")
        axes.annotate(f"{value:.1f}", (place, value), beside, va=side, **VALUE)
    missing, bottom = table[table["status"] != "ok"], axes.get_xaxis_transform()
    for place, status in zip(missing["voxels"], missing["status"], strict=True):
        axes.plot(place, 0, transform=bottom, **CROSS)
        axes.text(place, 0.05, status, transform=bottom, **REASON)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.margins(y=0.2)
    axes.set_ylabel(measure.title)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
