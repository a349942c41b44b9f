"""Look at a folder of volumes and say everything that is wrong with it, in one pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.data import brats, folder
from harness.data.case import Grid
from harness.data.datasets import DATASETS, Request, complete, inspected
from harness.data.layout import no_folder, nothing_here
from harness.data.reading import PLAIN, Reading
from harness.data.target import Target
from harness.errors import DataError, UsageError

WORKERS = 2


class Checked(NamedTuple):
    """Faults, of which none may be left, and what is only odd."""

    faults: list[DataError]
    notes: list[str]
    targets: Mapping[str, Target] = {}
    """Of each case that could be read: in its file, and on the grid."""


def check(
    root: Path,
    dataset: str | None,
    modalities: Sequence[str],
    target: str = "",
    reading: Reading = PLAIN,
    reduce: Grid = (1, 1, 1),
) -> Checked:
    """Every fault of every case below `root`; none when it can be used.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has; without `target` the first of several is taken. Raises UsageError for a
    name that does not exist.
    """
    if dataset == "phantom":
        what, remedy = "the phantom is made in memory", "--dataset brats"
        raise UsageError(what, where="--dataset", remedy=remedy, code="PFB-C02")
    if not root.is_dir():
        return Checked([no_folder(root)], [])
    try:
        name = dataset or layout_of(root)
        wanted = tuple(modalities)
        if name == "brats" and not wanted:
            wanted = brats.modalities_of(root)
        contents = DATASETS[name].contents_of(root) if name in DATASETS else None
        if not target and contents and not contents.default:
            target = next(iter(contents.targets))
        full = complete(Request(name, root, wanted, target, reduce, reading=reading))
    except DataError as fault:
        return Checked([fault], [])
    outcomes, faults, notes = inspected(full, WORKERS)
    seen = {outcome.name: outcome.target for outcome in outcomes if outcome.target}
    return Checked(faults, notes, seen)


def layout_of(root: Path) -> str:
    """Which data set it looks like. Raises DataError when like none."""
    if any((root / name).exists() for name in ("dataset.json", "images", "imagesTr")):
        return "folder" if folder.names_other_organ(root) else "liver"
    if any(path.is_dir() for path in root.iterdir()):
        return "brats"
    raise nothing_here(root, f"the layout of {' or '.join(sorted(set(DATASETS) - {'phantom'}))}")
