"""Slices of chosen test cases with every system's mask, as pictures within a report."""

from collections.abc import Sequence
from functools import partial
from math import prod

from harness.data.case import Volume
from harness.errors import PfbenchError
from harness.report.case_choice import sheets
from harness.report.case_sheet import Sheet, draw
from harness.report.document import Bullets, Cell, Picture, Section, Table
from harness.report.style import png
from harness.results.rows import merged_rows
from harness.runs.run_folder import RunFolder

DPI = 130
QUICK_VOXELS = 50e6  # to label components in takes a few seconds
LEAD = (
    "Cases are chosen by rule, not by taste: the best, the median and the worst by mean Dice over "
    "the systems, and the one in which patch-based systems see most that is nowhere near a target.",
)


def quick(folders: Sequence[RunFolder]) -> bool:
    """Whether drawing takes seconds, not minutes: components are counted in every test case."""
    found = merged_rows(folders)
    cases = [case for split in folders[0].splits().values() for case in split.test]
    grid = folders[0].run().protocol["data"]["grid"]
    patched = sum(row.kind == "patch-based" for row in found)
    return len(cases) * prod(grid) * max(patched, 1) <= QUICK_VOXELS


def sheets_section(folders: Sequence[RunFolder]) -> Section:
    """The pictures of the first folder that can be drawn; else the reasons why none can be."""
    reasons = []
    for folder in folders:
        try:
            volume = partial(_volume, folder)
            pictures = [_picture(sheet) for _, sheet in sheets(folder, volume)]
            return Section("pictures", "Pictures", LEAD, tuple(pictures))
        except PfbenchError as error:
            reasons.append(f"Not drawn: {error.what.replace(str(folder.path), 'RUN_DIR')}.")
    return Section("pictures", "Pictures", LEAD, (Bullets(tuple(dict.fromkeys(reasons))),))


def _volume(folder: RunFolder, case: str, of: str) -> Volume:
    return folder.volume(case, of=of)


def _picture(sheet: Sheet) -> Picture:
    rows = tuple(
        (Cell(panel.title), Cell(panel.kind), Cell(panel.caption.replace("\n", ", ")))
        for panel in sheet.panels
    )
    data = Table(sheet.title, ("System", "Kind", "In the picture"), rows, 3)
    seen = "; ".join(f"{row[0].text}: {row[2].text}" for row in rows)
    alt = f"Axial slice of {sheet.title} with the ground truth and the mask of each system. {seen}."
    return Picture(png(partial(draw, sheet), DPI), alt, sheet.title, (data,))
