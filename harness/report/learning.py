"""Training curves: each term of the loss and the validation Dice, epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.document import Cell, Key, Panel, Plot, Table
from harness.report.panels import BOTTOM, RIGHT, TOP, WIDTH, panel
from harness.report.style import BLUE, GREEN, GREY, SKY_BLUE, VERMILLION
from harness.runs.run_folder import RunFolder

LEFT, UPPER, LOWER, BETWEEN = 0.55, 1.35, 0.75, 0.12  # inches
LINES = 40  # epochs in a data table; of more, every so many-th


class LineStyle(NamedTuple):
    """The line of a term in the plot: `dashes` are lengths drawn and left out, in points."""

    text: str
    colour: str
    dashes: tuple[float, ...] = ()


TERMS = {  # of the framework's loss (Sec. III), in the order of the paper
    "loss": LineStyle("total", "black"),
    "loss_ust": LineStyle("segmentation (UST)", BLUE, (6, 2)),
    "loss_srt": LineStyle("super-resolution (SRT)", VERMILLION, (6, 2, 1, 2)),
    "loss_sgl": LineStyle("self-guidance (SGL)", GREEN, (1, 2)),
    "loss_tel": LineStyle("target-enhanced (TEL)", "#CC79A7", (3, 1)),
    "loss_ssl": LineStyle("self-similarity (SSL)", "#E69F00", (6, 2, 1, 2, 1, 2)),
}
OTHER = LineStyle("another term", SKY_BLUE, (2, 1))
LEAD = (
    "Mean over the training cases of each epoch, the terms before they are weighted; below, the "
    "mean Dice of the validation cases. A thin upright line: the learning rate was divided. "
    "Every seed has its own line."
)


@dataclass(frozen=True, eq=False)
class Training:
    """The histories of one network, one for each seed."""

    name: str
    histories: tuple[pd.DataFrame, ...]

    @property
    def terms(self) -> list[str]:
        columns = dict.fromkeys(
            c for h in self.histories for c in h.columns if c.startswith("loss")
        )
        return sorted(columns, key=lambda c: (list(TERMS).index(c) if c in TERMS else 99, c))

    def alt(self) -> str:
        parts = [f"Training of {self.name}"]
        for name, column in (("loss", "loss"), ("validation Dice", "val_dice")):
            ends = [_ends(h, column) for h in self.histories if column in h]
            parts += [f"{name} from {a:.3g} to {b:.3g}" for a, b in ends[:1]]
        return ", ".join(parts) + f", {max(map(len, self.histories))} epochs."


def _ends(history: pd.DataFrame, column: str) -> tuple[float, float]:
    there = history[column].dropna()
    return (float(there.iloc[0]), float(there.iloc[-1])) if len(there) else (np.nan, np.nan)


def trainings(folders: Sequence[RunFolder]) -> list[Training]:
    """The networks that have a history, the seeds of each together, in the order of the run."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for folder in folders:
        names = folder.run().names
        for trial in folder.trials():
            if epochs := trial.history():
                history = pd.DataFrame(epochs)
                if {"epoch", "loss"} <= set(history.columns):
                    name = names[trial.id].partition(" seed ")[0]
                    found.setdefault(name, {}).setdefault(trial.id, history)
    return [Training(name, tuple(each.values())) for name, each in found.items()]


def plot(found: Sequence[Training]) -> Plot:
    panels: list[Panel] = []
    for number, training in enumerate(found):
        panels.append(panel(f"learn{number}", partial(_draw, training), training.alt()))
    terms = {term: None for training in found for term in training.terms}
    lines = dict.fromkeys(TERMS.get(term, OTHER) for term in (*TERMS, *terms) if term in terms)
    legend = tuple(Key(x.text, x.colour, "line", " ".join(map(str, x.dashes))) for x in lines)
    return Plot("Loss and validation Dice", LEAD, tuple(panels), tuple(map(_data, found)), legend)


def _draw(training: Training) -> Figure:
    total = TOP + 0.2 + UPPER + BETWEEN + LOWER + BOTTOM
    figure = Figure((WIDTH, total))
    wide = 1 - (LEFT + RIGHT) / WIDTH
    lower = figure.add_axes((LEFT / WIDTH, BOTTOM / total, wide, LOWER / total))
    bottom = (BOTTOM + LOWER + BETWEEN) / total
    upper = figure.add_axes((LEFT / WIDTH, bottom, wide, UPPER / total), sharex=lower)
    for history in training.histories:
        for term in [t for t in training.terms if t in history]:
            line = TERMS.get(term, OTHER)
            width, dashes = 1.6 if term == "loss" else 1.2, line.dashes or (None, None)
            loss = history["epoch"], history[term]
            upper.plot(*loss, color=line.colour, dashes=dashes, linewidth=width)
        if "lr" in history:
            for epoch in history["epoch"][history["lr"].diff() < 0]:
                upper.axvline(epoch, color="0.8", linewidth=0.8, zorder=0)
        if "val_dice" in history:
            validated = history[history["val_dice"].notna()]
            dice = validated["epoch"], 100 * validated["val_dice"]
            marker = "." if len(validated) < 20 else ""
            lower.plot(*dice, color="black", linewidth=1.2, marker=marker)
    positive = all(
        (h[t].dropna() > 0).all() for h in training.histories for t in training.terms if t in h
    )
    if positive and len(training.terms) > 1:
        upper.set_yscale("log")
    upper.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    upper.minorticks_off()
    upper.tick_params(axis="x", labelbottom=False)
    upper.set_title(training.name, loc="left", size="medium", weight="bold", pad=5)
    upper.set_ylabel("Loss")
    lower.set_ylabel("Dice (%)")
    lower.set_ylim(0, 100)
    lower.set_xlabel("Epoch")
    lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in (upper, lower):
        axes.grid(axis="y", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.label.set_color(GREY)
    return figure


def _data(training: Training) -> Table:
    """The table of the mean over the seeds, thinned to a number of epochs that can be read."""
    columns = ["epoch", *training.terms, "lr", "val_dice"]
    together = pd.concat(training.histories)
    present = [column for column in columns if column in together]
    mean = together.groupby("epoch", as_index=False)[present[1:]].mean()
    step = -(-len(mean) // LINES)
    kept = mean.iloc[::-1].iloc[::step].iloc[::-1]  # the last epoch is always among them
    rows = tuple(
        tuple(
            Cell("" if pd.isna(v) else f"{v:.0f}" if c == "epoch" else f"{v:.4g}")
            for c, v in r.items()
        )
        for _, r in kept.iterrows()
    )
    notes = (f"every {step}th epoch; all of them are in history.csv",) if step > 1 else ()
    headings = tuple(c.replace("val_dice", "validation Dice").replace("_", " ") for c in present)
    caption = training.name
    if len(training.histories) > 1:
        caption += f", mean of {len(training.histories)} seeds"
    return Table(caption, headings, rows, 0, notes)
