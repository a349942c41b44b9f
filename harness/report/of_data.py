"""The description of a data set for people, as text or as a page with pictures."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.data.describe import CaseSeen, Description, Slice, TargetSeen
from harness.report import html
from harness.report.case_sheet import ON_BLACK, around, draw_lines
from harness.report.document import (
    Bullets,
    Cell,
    Document,
    Facts,
    Picture,
    Section,
    Table,
    words,
)
from harness.report.style import NORMAL, png

DPI = 110
COLUMNS, PANEL, HEAD, LEGEND = 4, 1.6, 0.34, 0.3  # inches
FOOTER = (
    "Made by pfbench data describe from the volumes of a folder, of which it holds slices: keep it "
    "where you keep them. This page asks no other machine for anything."
)
LEAD = (
    "Axial slices with most of the targets, anterior up, the patient's right on the left; the "
    "intensities of percentiles 1 to 99 of the first modality, and the contour of each target."
)
SIZES = ("ml", "ml on the grid", "Kept", "Pieces", "Pieces on the grid")


def as_text(found: Description) -> str:
    """The description as text: the summary, a line for each case, faults and notes."""
    lines = [f"{what:<14} {value}" for what, value in _facts(found)]
    table = _cases_table(found)
    rows = [list(table.headings), *([cell.text for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines += ["", *(_line(row, widths, table.texts) for row in rows), ""]
    lines += [str(fault) for fault in found.faults]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines).rstrip()


def _line(row: Sequence[str], widths: Sequence[int], texts: int) -> str:
    cells = (
        cell.ljust(width) if number < texts else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def page(found: Description) -> str:
    """The description as an HTML page, with a picture of some of the cases."""
    return html.render(document(found))


def document(found: Description) -> Document:
    """The description of a data set as a report."""
    count = len(found.cases)
    figures = [("Cases", str(count), found.dataset), ("Patients", str(found.patients), "")]
    if found.sites:
        figures.append(("Sites", str(len(found.sites)), ", ".join(found.sites[:4])))
    faults = tuple(f"{len(found.faults)} faults: {fault}" for fault in found.faults[:1])
    sections = [
        Section(
            "summary",
            "In short",
            (),
            (Facts(tuple(_facts(found))), Bullets(found.notes, "To look at twice")),
        ),
        Section("labels", "Labels", (), (_labels_table(found), _grid_table(found))),
        Section("pictures", "Pictures", (LEAD,), tuple(_pictures(found))),
        Section("cases", "Cases", (), (_cases_table(found), _intensities_table(found))),
    ]
    if found.faults:
        listed = Bullets(tuple(map(str, found.faults)))
        sections.insert(1, Section("faults", "Faults", (), (listed,)))
    subtitle = f"{found.title}; target {', '.join(found.targets)}"
    return Document(
        f"Data set {found.dataset}",
        subtitle,
        faults,
        tuple(figures),
        tuple(sections),
        kicker="pfbench data describe",
        footer=FOOTER,
    )


def _facts(found: Description) -> list[tuple[str, str]]:
    cases = found.cases
    facts = [
        ("data set", f"{found.dataset} ({found.title})"),
        (
            "cases",
            f"{len(cases)} of {found.patients} patients"
            + (f" at {len(found.sites)} sites" if found.sites else ""),
        ),
    ]
    if cases:
        facts += [
            ("shape", _range(((case.shape) for case in cases), "voxels (D × H × W)", "{:.0f}")),
            ("spacing", _range((case.spacing_mm for case in cases), "mm", "{:g}")),
            ("extent", _range((_extent(case) for case in cases), "mm", "{:.0f}")),
            (
                "grid",
                f"{'×'.join(map(str, found.grid))} voxels of "
                + _range((case.grid_mm for case in cases), "mm", "{:.3g}"),
            ),
        ]
        for name in found.targets:
            facts += _of_target(name, [case.targets[name] for case in cases])
    return facts


def _of_target(name: str, seen: Sequence[TargetSeen]) -> list[tuple[str, str]]:
    size = (
        f"{_spread([one.ml for one in seen])} ml, pieces: {_spread([one.pieces for one in seen])}"
    )
    kept = [100 * one.kept for one in seen if one.kept is not None]
    on_grid = [("on the grid", f"{_spread(kept)} % of it")] if kept else []
    return [("target", f"{name}: {size}"), *on_grid]


def _extent(case: CaseSeen) -> tuple[float, ...]:
    return tuple(n * mm for n, mm in zip(case.shape, case.spacing_mm, strict=True))


def _range(values: Iterable[tuple[float, ...]], unit: str, form: str) -> str:
    """The median of each axis as text, with the range where cases differ."""
    axes = list(zip(*values, strict=True))
    middle = " × ".join(form.format(median(axis)) for axis in axes)
    ends = (" × ".join(form.format(end(axis)) for axis in axes) for end in (min, max))
    low, high = ends
    return f"{middle} {unit}" + ("" if low == high else f" (from {low} to {high})")


def _spread(values: Sequence[float]) -> str:
    """The median as text, with the range where values differ."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return f"{median(values):.3g}" + ("" if low == high else f" ({low} to {high})")


def _labels_table(found: Description) -> Table:
    values = sorted({value for case in found.cases for value in case.labels})
    rows = []
    for value in values:
        seen = [case.labels[value] for case in found.cases if value in case.labels]
        rows.append(
            [
                str(value),
                str(len(seen)),
                _spread([one.ml for one in seen]),
                _spread([one.pieces for one in seen]),
            ]
        )
    headings = ("Label", "Cases with it", "ml, where it is", "Pieces")
    return Table("Labels as they stand in the files", headings, words(rows), 1)


def _grid_table(found: Description) -> Table:
    every = [each for case in found.cases for each in _named_targets(case)]
    worst = sorted(
        (each for each in every if each[-1].kept is not None),
        key=lambda each: each[-1].kept or 0,
    )[:10]
    rows = [_on_grid(*each) for each in worst]
    headings = ("Case", "Target", *SIZES)
    return Table("Where the grid does most to a target", headings, words(rows), 2)


def _named_targets(case: CaseSeen) -> list[tuple[str, str, TargetSeen]]:
    return [(case.id, name, target) for name, target in case.targets.items()]


def _on_grid(case: str, name: str, target: TargetSeen) -> list[str]:
    kept = "" if target.kept is None else f"{100 * target.kept:.0f} %"
    return [
        case,
        name,
        f"{target.ml:.3g}",
        f"{target.ml_on_grid:.3g}",
        kept,
        str(target.pieces),
        str(target.pieces_on_grid),
    ]


def _cases_table(found: Description) -> Table:
    with_patient = found.patients < len(found.cases)
    columns: list[tuple[str, Callable[[CaseSeen, str], str]]] = [("Case", lambda case, _: case.id)]
    if with_patient:
        columns.append(("Patient", lambda case, _: case.patient))
    if found.sites:
        columns.append(("Site", lambda case, _: case.site))
    columns.append(("Target", lambda _, name: name))
    texts = len(columns)
    columns += [
        ("Shape", lambda case, _: "×".join(map(str, case.shape))),
        ("Spacing (mm)", lambda case, _: "×".join(f"{mm:g}" for mm in case.spacing_mm)),
        ("Target (ml)", lambda case, name: f"{case.targets[name].ml:.3g}"),
        ("Pieces", lambda case, name: str(case.targets[name].pieces)),
        ("On the grid (ml)", lambda case, name: f"{case.targets[name].ml_on_grid:.3g}"),
        ("Pieces", lambda case, name: str(case.targets[name].pieces_on_grid)),
    ]
    rows = tuple(
        tuple(Cell(value(case, name)) for _, value in columns)
        for case in found.cases
        for name in found.targets
    )
    return Table("Every case", tuple(name for name, _ in columns), rows, texts)


def _intensities_table(found: Description) -> Table:
    headings = ("Case", "Modality", "Minimum", "0.1 %", "Median", "99.9 %", "Maximum")
    rows = [
        [case.id, name, *(f"{value:.4g}" for value in percentiles)]
        for case in found.cases
        for name, percentiles in case.intensities.items()
    ]
    return Table("Intensities of all voxels", headings, words(rows), 2)


def _pictures(found: Description) -> list[Picture]:
    shown = [(case, case.slice) for case in found.cases if case.slice is not None]
    if not shown:
        return []
    rows = [_on_grid(*each) for case, _ in shown for each in _named_targets(case)]
    data = Table("The targets of these cases", ("Case", "Target", *SIZES), words(rows), 2)
    names = ", ".join(case.id for case, _ in shown)
    alt = f"Axial slices of {names} with the contours of {', '.join(found.targets)}."
    return [Picture(png(partial(_drawn, shown, found.targets), DPI), alt, "Cases", (data,))]


def _drawn(shown: Sequence[tuple[CaseSeen, Slice]], targets: Sequence[str]) -> Figure:
    lines = -(-len(shown) // COLUMNS)
    high = lines * (PANEL + HEAD) + LEGEND
    figure = Figure((COLUMNS * PANEL, high))
    places = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    sides = {"left": 0.01, "right": 0.99, "bottom": LEGEND / high, "top": 1 - HEAD / high}
    figure.subplots_adjust(**sides, wspace=0.04, hspace=0.3)
    for axes in places:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, (case, seen) in zip(places, shown, strict=False):
        image, planes = seen.image[::-1, ::-1], seen.targets[:, ::-1, ::-1]
        tall, wide = seen.pixel_mm
        axes.imshow(image, "gray", vmin=0, vmax=1, aspect=tall / wide)
        draw_lines(axes, planes)
        sizes = ", ".join(f"{one.ml:.3g}" for one in case.targets.values())
        axes.set_title(f"{case.id}\n{sizes} ml", size=NORMAL, pad=2)
    lines_of = [Patch(**around(place)) for place in range(len(targets))]
    figure.legend(lines_of, targets, loc="lower left", ncols=len(targets), **ON_BLACK)
    return figure
