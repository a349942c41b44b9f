"""Plots of scores: case by case, and the ranks of the systems in resamples."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.panels import KINDS, MARKERS, axes_beside
from harness.report.style import GREY, Style
from harness.results.rankings import Ranking
from harness.results.standings import Standing

ROW = 0.3  # inches for a system
MANY = 60  # cases beyond which points are small and pale
RASTER = 200  # cases beyond which points are pixels, not shapes
SHARE = 0.12  # of the resamples, from which on a number fits into its bar
SPARSE: Style = {"alpha": 0.6, "markersize": 3.2, "markeredgewidth": 0}
CROWDED: Style = {"alpha": 0.25, "markersize": 1.6, "markeredgewidth": 0}
MEAN: Style = {"markersize": 5.5, "markeredgecolor": "black", "markeredgewidth": 0.8}
_RANKS = colormaps["cividis"]


def strip(standing: Standing, kinds: Mapping[str, str]) -> Figure:
    """The figure of each case of each system, with quartiles, and the centre with its interval."""
    titles = [standing.titles[key] for key in standing.scores]
    figure, axes = axes_beside(titles, ROW * len(titles))
    for place, (key, scores) in enumerate(standing.scores.items()):
        values, colour = scores.means.to_numpy(), KINDS[kinds[key]]
        dots = CROWDED if len(values) > MANY else SPARSE
        jitter = 0.22 * np.sin(2.4 * np.arange(len(values)))  # spread, and the same each time
        raster = len(values) > RASTER
        axes.plot(values, place + jitter, "o", color=colour, rasterized=raster, **dots)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        axes.barh(place, high - low, 0.62, low, color="none", edgecolor=GREY, linewidth=0.7)
        axes.plot([middle] * 2, [place - 0.31, place + 0.31], color=GREY, linewidth=1.2)
        found = standing.intervals[key]
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place] * 2, color="black", linewidth=1.6)
        axes.plot(found.estimate, place, MARKERS[kinds[key]], color=colour, **MEAN)
    _list_systems(axes, titles)
    axes.use_sticky_edges = False  # a box that starts at the first mark leaves it room, too
    axes.autoscale_view()
    axes.set_xlabel(standing.metric.title)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    return figure


def rank_bars(standing: Standing, found: Ranking) -> Figure:
    """The figure of the share of resamples in which a system took each rank, the best on top."""
    frequencies = found.frequencies
    if frequencies is None:
        raise ValueError(found.note)
    order = list(found.ranks.sort_values(kind="stable").index)
    titles = [standing.titles[key] for key in order]
    figure, axes = axes_beside(titles, ROW * len(titles))
    tones = _RANKS(np.linspace(0.05, 0.95, len(order)))
    for place, key in enumerate(order):
        start = 0.0
        for rank, tone in zip(frequencies.columns, tones, strict=True):
            share = float(frequencies.loc[key, rank])
            if share:
                axes.barh(place, share, 0.74, start, color=tone, edgecolor="white", linewidth=0.8)
            if share >= SHARE:
                dark = 0.3 * tone[0] + 0.59 * tone[1] + 0.11 * tone[2] < 0.5
                middle, ink = start + share / 2, "white" if dark else "black"
                axes.text(middle, place, f"{rank}", ha="center", va="center", color=ink)
            start += share
    _list_systems(axes, titles)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    axes.set_xlabel(f"Resamples with each rank, by {standing.metric.label}")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _list_systems(axes: Axes, titles: list[str]) -> None:
    """Label the rows with the systems, from top to bottom in the order of the table."""
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
