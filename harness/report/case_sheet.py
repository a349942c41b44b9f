"""One slice of one case with the mask of every system: Figs. 5 and 6 of the paper.

    ┌ the case, and why it is shown ──────────────────┐
    │ Input     Ground truth   V-Net        UNet3D    │   axial, as radiologists look at it:
    │ scan      one contour    two contours, errors   │   anterior up, the patient's right
    │ ...                                             │   on the left
    └ legend, and what the numbers count ─────────────┘

False positives are plain and false negatives hatched, so that grey paper shows which is which. Of
several targets each has a colour: filled where a system sees it, a line around where it is.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from numpy.typing import NDArray

from harness.report.outline import outline
from harness.report.style import (
    GREY,
    LARGE,
    NORMAL,
    OF_TARGETS,
    SKY_BLUE,
    SMALL,
    VERMILLION,
    YELLOW,
    Style,
)

# (H, W): rows towards anterior, columns towards the patient's right; (K, H, W) of several targets
Plane = NDArray[np.bool_]

PANEL, GAP, LEGEND = 1.42, 0.06, 0.22  # inches; five panels to a page of 190 mm
MIN_COLUMNS, MAX_COLUMNS = 3, 6
# Height of a line and width of a letter (wide: bold or capital), in inches for a point of type.
LINE, LETTER, WIDE_LETTER = 1.2 / 72, 0.54 / 72, 0.62 / 72
MARGIN = 2  # voxels around what is shown
BARS_MM = (100, 50, 20, 10, 5, 2, 1)

STYLES: dict[str, Style] = {
    "false positive": {"facecolor": VERMILLION, "linewidth": 0},
    "false negative": {
        "facecolor": SKY_BLUE,
        "edgecolor": "black",
        "hatch": "/" * 8,
        "linewidth": 0,
    },
    "prediction": {"facecolor": "none", "edgecolor": "white", "linewidth": 0.6},
    "ground truth": {"facecolor": "none", "edgecolor": YELLOW, "linewidth": 0.5},
}
BEHIND_TEXT = {"boxstyle": "square,pad=0.2", "facecolor": "black", "alpha": 0.6, "linewidth": 0}
ON_SCAN: Style = {"size": SMALL, "color": "white", "linespacing": 1.1, "bbox": BEHIND_TEXT}
ON_BLACK: Style = {
    "facecolor": "black",
    "edgecolor": "black",
    "framealpha": 1,
    "fancybox": False,
    "labelcolor": "white",
}
BAR: Style = {
    "color": "white",
    "linewidth": 1.5,
    "solid_capstyle": "butt",
    "scalex": False,
    "scaley": False,
}


@dataclass(frozen=True, eq=False)
class SystemPanel:
    """One system: its mask in the slice, or None and a caption that gives the reason."""

    title: str
    kind: str
    caption: str
    mask: Plane | None


@dataclass(frozen=True, eq=False)
class Sheet:
    """The contents of one picture; `window` holds the intensities shown as black and as white."""

    title: str
    details: str
    modality: str
    image: NDArray[np.float32]  # (H, W), axes as Plane
    window: tuple[float, float]
    target: Plane
    panels: tuple[SystemPanel, ...]
    pixel_mm: tuple[float, float]  # H, W
    notes: str
    targets: tuple[str, ...] = ()
    """The names of several targets; () for one."""


def draw(sheet: Sheet) -> Figure:
    """The sheet as a figure, for `style.write_picture`."""
    sheet = _as_seen(sheet)
    rows = ceil((len(sheet.panels) + 2) / MAX_COLUMNS)
    columns = max(ceil((len(sheet.panels) + 2) / rows), MIN_COLUMNS)
    width = GAP + columns * (PANEL + GAP)
    title = _wrapped(sheet.title, width / (LARGE * WIDE_LETTER))
    details = _wrapped(sheet.details, width / (NORMAL * LETTER))
    notes = _wrapped(sheet.notes, width / (SMALL * LETTER))
    legend = _legend(sheet)
    names = _names(sheet)
    name_height = max(_height(name, NORMAL) for name in names) + GAP
    row_height = name_height + _panel_height(sheet) + GAP
    heights = (
        _height(title, LARGE) + _height(details, NORMAL) + 3 * GAP,
        rows * row_height,
        LEGEND * ceil(len(legend) / (columns * 2)) + _height(notes, SMALL) + GAP,
    )
    figure = Figure((width, sum(heights)))
    head, body, foot = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)[:, 0]
    left = GAP / width
    head.text(left, 1 - GAP / heights[0], title, size=LARGE, weight="bold", va="top")
    head.text(left, GAP / heights[0], details, size=NORMAL, va="bottom")
    grid = body.add_gridspec(
        rows,
        columns,
        left=left,
        right=1 - left,
        wspace=GAP / PANEL,
        top=1 - name_height / heights[1],
        bottom=GAP / heights[1],
        hspace=(name_height + GAP) / _panel_height(sheet),
    )
    _draw_panels([body.add_subplot(cell) for cell in grid], names, sheet)
    foot.legend(
        [Patch(**style) for style in legend.values()],
        list(legend),
        ncols=min(len(legend), columns * 2),
        loc="upper left",
        bbox_to_anchor=(left, 1),
        borderaxespad=0,
        **ON_BLACK,
    )
    foot.text(left, GAP / heights[2], notes, size=SMALL, color=GREY, va="bottom")
    return figure


def _legend(sheet: Sheet) -> dict[str, Style]:
    """What the legend explains: the errors in one target, or the colours of several."""
    if not sheet.targets:
        return STYLES
    return {name: _filled(place) for place, name in enumerate(sheet.targets)}


def _filled(place: int) -> Style:
    """The style of a target where a system sees it; of more than there are colours, hatched."""
    colour = OF_TARGETS[place % len(OF_TARGETS)]
    again = place // len(OF_TARGETS)
    return {"facecolor": colour, "edgecolor": "black", "hatch": "." * 3 * again, "linewidth": 0}


def around(place: int) -> Style:
    """The style of the line around a target where it is."""
    colour = OF_TARGETS[place % len(OF_TARGETS)]
    return {"facecolor": "none", "edgecolor": colour, "linewidth": 0.8}


def _as_seen(sheet: Sheet) -> Sheet:
    """The sheet cropped to the body and masks, anterior up, the patient's right on the left."""
    masks = [panel.mask for panel in sheet.panels if panel.mask is not None]
    low, _ = sheet.window
    planes = [each.reshape(-1, *sheet.image.shape).any(0) for each in (sheet.target, *masks)]
    shown = np.logical_or.reduce([sheet.image > low, *planes])
    box = _box(shown.any(axis=1)), _box(shown.any(axis=0))

    def view(plane: np.ndarray) -> np.ndarray:
        return plane[(..., *box)][..., ::-1, ::-1]

    panels = (
        panel if panel.mask is None else replace(panel, mask=view(panel.mask))
        for panel in sheet.panels
    )
    return replace(sheet, image=view(sheet.image), target=view(sheet.target), panels=tuple(panels))


def _box(shown: NDArray[np.bool_]) -> slice:
    """The slice from the first to the last line that is `shown`, with a margin; all if none is."""
    lines = np.flatnonzero(shown)
    if not len(lines):
        return slice(None)
    return slice(max(0, lines[0] - MARGIN), lines[-1] + 1 + MARGIN)


def _wrapped(text: str, letters: float) -> str:
    """The text wrapped to `letters` letters a line; existing line breaks and words stay whole."""
    lines = (textwrap.fill(line, int(letters), break_on_hyphens=False) for line in text.split("\n"))
    return "\n".join(lines)


def _height(text: str, size: float) -> float:
    """The height of `text` in inches."""
    return (text.count("\n") + 1) * size * LINE


def _names(sheet: Sheet) -> list[str]:
    """The headings of the panels: two lines, more where a title is long."""
    systems = [
        f"{_wrapped(panel.title, PANEL / (NORMAL * WIDE_LETTER))}\n{panel.kind}"
        for panel in sheet.panels
    ]
    return [f"Input\n{sheet.modality}", "Ground truth\n", *systems]


def _panel_height(sheet: Sheet) -> float:
    rows, columns = sheet.image.shape
    high, wide = sheet.pixel_mm
    return PANEL * rows * high / (columns * wide)


def _draw_panels(places: Sequence[Axes], names: Sequence[str], sheet: Sheet) -> None:
    for axes, name in zip(places, names, strict=False):  # the last row may have room to spare
        axes.set_title(name, size=NORMAL, pad=2, va="bottom")
    for axes in places:
        axes.set(xticks=[], yticks=[], frame_on=False)
    first, second, *others = places
    _draw_scan(first, sheet)
    _draw_scale(first, sheet)
    _draw_scan(second, sheet)
    if sheet.targets:
        _draw_targets(second, sheet.target, sheet.target)
    else:
        _add(second, STYLES["ground truth"], sheet.target)
    for axes, panel in zip(others, sheet.panels, strict=False):
        if panel.mask is None:
            axes.text(0.5, 0.5, panel.caption, ha="center", va="center", transform=axes.transAxes)
            axes.set(frame_on=True)
        else:
            _draw_scan(axes, sheet)
            draw_mask = _draw_targets if sheet.targets else _draw_errors
            draw_mask(axes, panel.mask, sheet.target)
            _label(axes, 0.03, 0.97, panel.caption, va="top")


def _draw_scan(axes: Axes, sheet: Sheet) -> None:
    low, high = sheet.window
    tall, wide = sheet.pixel_mm
    axes.imshow(
        sheet.image, "gray", vmin=low, vmax=high, aspect=tall / wide, interpolation="bilinear"
    )


def _draw_scale(axes: Axes, sheet: Sheet) -> None:
    """Draw a scale bar of at most a third of the width, and an R at the patient's right."""
    rows, columns = sheet.image.shape
    wide = sheet.pixel_mm[1]
    length = next((mm for mm in BARS_MM if mm <= columns * wide / 3), BARS_MM[-1])
    right, below = 0.97 * columns, 0.97 * rows
    axes.plot([right - length / wide, right], [below, below], **BAR)
    _label(axes, 0.97, 0.05, f"{length} mm", ha="right", va="bottom")
    _label(axes, 0.03, 0.03, "R", va="bottom")


def _draw_errors(axes: Axes, mask: Plane, target: Plane) -> None:
    _add(axes, STYLES["false positive"], mask & ~target)
    _add(axes, STYLES["false negative"], target & ~mask)
    _add(axes, STYLES["prediction"], mask)
    _add(axes, STYLES["ground truth"], target)


def _draw_targets(axes: Axes, masks: Plane, targets: Plane) -> None:
    """Fill where a system sees each target, the largest first, and draw lines where they are."""
    for place in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        _add(axes, {**_filled(int(place)), "alpha": 0.7}, masks[place])
    draw_lines(axes, targets)


def draw_lines(axes: Axes, targets: Plane) -> None:
    """Draw a line around each target, `targets` (K, H, W)."""
    for place, target in enumerate(targets):
        _add(axes, around(place), target)


def _add(axes: Axes, style: Style, plane: Plane) -> None:
    if plane.any():
        axes.add_patch(PathPatch(outline(plane), joinstyle="miter", **style))


def _label(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, transform=axes.transAxes, **ON_SCAN, **style)
