"""Look at a folder of volumes and say everything that is wrong with it, in one pass."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.data import brats, folder
from harness.data.case import Case, Remains
from harness.data.datasets import DATASETS, Request, complete, rules, same_images, survey
from harness.data.layout import no_folder, nothing_here
from harness.data.reading import PLAIN, Reading
from harness.data.scans import Rules, examine, mixed_editions
from harness.errors import DataError, UsageError

WORKERS = 2


class Checked(NamedTuple):
    """Faults, of which none may be left, and what is only odd."""

    faults: list[DataError]
    notes: list[str]


def check(
    root: Path, dataset: str | None, modalities: Sequence[str], reading: Reading = PLAIN
) -> Checked:
    """Every fault of every case below `root`; none when it can be used.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has. Raises UsageError for a name that does not exist.
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
        target = "" if contents is None or contents.default else next(iter(contents.targets))
        full = complete(Request(name, root, wanted, target, reading=reading))
    except DataError as fault:
        return Checked([fault], [])
    found = survey(full.dataset, root, full.modalities)
    allowed = rules(full)
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = list(pool.map(lambda case: _look(case, allowed), found.cases))
        rest = list(pool.map(lambda case: _look(case, allowed), found.remains))
    faults = [*found.faults, *(fault for one in (*rest, *looked) for fault in one.faults)]
    if allowed.editions:
        faults += mixed_editions({one.case: one.labels for one in looked})
    faults += same_images({one.case: one.image_sha256 for one in looked if one.image_sha256})
    return Checked(faults, [*found.notes, *(note for one in looked for note in one.notes)])


class _Look(NamedTuple):
    """What is kept of a case after its voxels have been looked at."""

    case: str
    faults: tuple[DataError, ...]
    labels: tuple[int, ...]
    image_sha256: str = ""
    notes: tuple[str, ...] = ()


def _look(case: Case | Remains, allowed: Rules) -> _Look:
    findings = examine(case, allowed)
    if findings.scan is None:
        return _Look(case.id, findings.faults, findings.labels)
    content = hashlib.sha256(np.ascontiguousarray(findings.scan.image).data).hexdigest()
    return _Look(case.id, (), findings.labels, content, findings.scan.notes)


def layout_of(root: Path) -> str:
    """Which data set it looks like. Raises DataError when like none."""
    if any((root / name).exists() for name in ("dataset.json", "images", "imagesTr")):
        return "folder" if folder.names_other_organ(root) else "liver"
    if any(path.is_dir() for path in root.iterdir()):
        return "brats"
    raise nothing_here(root, f"the layout of {' or '.join(sorted(set(DATASETS) - {'phantom'}))}")
