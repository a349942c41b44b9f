"""Matplotlib figures as SVG drawings within a page.

Panels are as wide as a telephone, so that nothing is scaled down to read it; a page puts as many
side by side as there is room for. A wider one has a row of its own, and is moved on a telephone.
"""

import io
import re
from collections.abc import Callable, Iterable

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.document import Key, Panel
from harness.report.style import BLUE, GREEN, STYLE, VERMILLION

WIDTH = 3.75  # inches
SIZE = 8.5  # points of type
LETTER = 0.075  # inches that a letter of that size takes
LINE = 0.18  # inches
BOTTOM, TOP, RIGHT = 0.48, 0.12, 0.12  # inches around the axes
KINDS = {"patch-free": BLUE, "patch-based": VERMILLION, "given masks": GREEN}
MARKERS = {"patch-free": "o", "patch-based": "s", "given masks": "D"}
OURS = (Key("patch-free", BLUE, "circle"), Key("patch-based", VERMILLION, "square"))
GIVEN = Key("given masks", GREEN, "diamond")
SCREEN = {
    **STYLE,
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "legend.fontsize": SIZE,
    "xtick.labelsize": SIZE - 0.5,
    "ytick.labelsize": SIZE - 0.5,
}
_ID = re.compile(r"(\bid=\"|href=\"#|url\(#)")


def legend(kinds: Iterable[str]) -> tuple[Key, ...]:
    """The legend of a plot; given masks have an entry where there are any."""
    return (*OURS, GIVEN) if GIVEN.text in kinds else OURS


def panel(name: str, make: Callable[[], Figure], alt: str) -> Panel:
    """The figure of `make` as an SVG panel; `name` must be unique within a page."""
    with style.context(["default", SCREEN]):
        content = io.StringIO()
        figure = make()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )
    return Panel(_ID.sub(rf"\1{name}-", text).strip(), alt, figure.get_figwidth() > WIDTH)


def axes_beside(labels: list[str], height: float) -> tuple[Figure, Axes]:
    """A figure with room for `labels` left of its axes, which are `height` inches high."""
    left = min(LETTER * max(map(len, labels)) + 0.15, WIDTH / 2)
    return axes_at(left, height)


def axes_at(left: float, height: float, *, top: float = TOP) -> tuple[Figure, Axes]:
    """A figure of one column; the axes are `height` inches high, `left` inches from the left."""
    total = height + BOTTOM + top
    figure = Figure((WIDTH, total))
    box = (left / WIDTH, BOTTOM / total, 1 - (left + RIGHT) / WIDTH, height / total)
    axes = figure.add_axes(box)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes
