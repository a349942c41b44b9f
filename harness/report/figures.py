"""`pfbench figures`: draws case sheets in `figures/<suite>/` and Fig. 1 in `figures/`."""

from collections.abc import Sequence
from pathlib import Path

from harness.data.case import Volume
from harness.report.case_choice import draw_sheets
from harness.report.patch_size_plot import ladder_plot
from harness.results import tables
from harness.results.caveats import SYNTHETIC
from harness.runs.run_folder import RunFolder
from harness.runs.suites import SUITES

FOLDER = "figures"
LADDER = "fig1"


def draw(run_dir: Path, suite: str | None, cases: Sequence[str], cache: Path | None) -> list[Path]:
    """Draw one sheet for each chosen test case, and Fig. 1 where it was run; returns the files.

    Raises UsageError for a suite or case that the run does not have, DataError where its prepared
    volumes are gone, StateError where no system has finished.
    """
    folder = RunFolder(run_dir)
    suites = list(folder.run().suites)
    chosen = suite or ("table5" if "table5" in suites else suites[0])

    def volume(case: str, of: str) -> Volume:
        return folder.volume(case, cache, of)

    place = folder.path / FOLDER / chosen
    before = set(place.glob("*"))
    sheets = draw_sheets(folder, volume, place, suite=chosen, cases=cases)
    if not cases:
        _drop(before - set(sheets))
    return [*sheets, *draw_ladder(folder)]


def _drop(sheets: set[Path]) -> None:
    """Delete the sheets that the rules chose earlier in the run; sheets of cases asked for stay."""
    for path in sheets:
        if not path.name.startswith("chosen"):
            path.unlink()


def draw_ladder(folder: RunFolder) -> list[Path]:
    """Draw Fig. 1 from the run's table; returns the files, [] when none of its sizes was run."""
    run = folder.run()
    if LADDER not in run.suites:
        return []
    [its_table] = [each for each in tables.build(folder).tables if each.suite == LADDER]
    sizes = [row.key for row in SUITES[LADDER].rows]  # a --model beside them has none
    frame = its_table.means[its_table.means["key"].isin(sizes)].copy()
    if frame.empty:
        return []
    frame["label"] = [its_table.cells[key][0] for key in frame["key"]]
    frame["voxels"] = [_voxels(label) for label in frame["label"]]
    note = f"{SYNTHETIC.note}\n" if run.synthetic else ""
    note += f"Profile {run.profile}"
    return ladder_plot(frame, folder.path / FOLDER / LADDER, note)


def _voxels(label: str) -> int:
    """The number of voxels of a size: "64×96×96" -> 589824."""
    total = 1
    for side in label.split("×"):
        total *= int(side)
    return total
