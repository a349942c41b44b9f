"""The style of pfbench's pictures, and writing them so that equal content gives equal files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from harness.runs.files import write_bytes

Style = dict[str, Any]
"""Keyword arguments of one of matplotlib's artists."""

# Okabe and Ito, 2008: told apart with every kind of colour vision.
VERMILLION, SKY_BLUE, BLUE, YELLOW = "#D55E00", "#56B4E9", "#0072B2", "#F0E442"
GREEN, PURPLE, ORANGE = "#009E73", "#CC79A7", "#E69F00"
OF_TARGETS = (YELLOW, VERMILLION, SKY_BLUE, GREEN, PURPLE, ORANGE, BLUE)
"""The colours of several targets, in their order; then again."""
GREY = "#595959"
SMALL, NORMAL, LARGE = 6.0, 7.0, 9.0  # points
PNG_DPI = 300  # what journals ask for

STYLE = {
    "font.size": NORMAL,
    "hatch.linewidth": 0.5,
    "axes.linewidth": 0.6,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "svg.fonttype": "none",  # text stays text: searchable, and in the reader's own font
    "svg.hashsalt": "pfbench",  # names of its parts from their content, not drawn by lot
}


def png(make: Callable[[], Figure], dpi: int) -> bytes:
    """The PNG of the figure that `make` returns, drawn in the house style."""
    with style.context(["default", STYLE]):
        content = io.BytesIO()
        make().savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    return content.getvalue()


def write_picture(make: Callable[[], Figure], stem: Path) -> list[Path]:
    """Write the figure of `make` as `stem`.png and `stem`.svg; equal figures give equal bytes.

    `make` is called with the house style in force, whatever the user's matplotlibrc says. Raises
    StorageError when a file cannot be written.
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    with style.context(["default", STYLE]):
        figure = make()
        for path, dated in zip(paths, ("Software", "Date"), strict=True):
            content = io.BytesIO()
            figure.savefig(content, format=path.suffix[1:], dpi=PNG_DPI, metadata={dated: None})
            write_bytes(path, content.getvalue())
    return paths
