"""Look at a folder of volumes and say everything that is wrong with it, in one pass."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.data import brats
from harness.data.case import Case
from harness.data.datasets import DATASETS, Request, complete, same_images, survey
from harness.data.layout import no_folder, nothing_here
from harness.data.scans import examine, mixed_editions
from harness.errors import DataError, UsageError

WORKERS = 2


def check(root: Path, dataset: str | None, modalities: Sequence[str]) -> list[DataError]:
    """Every fault of every case below `root`; none when it can be used.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has. Raises UsageError for a name that does not exist.
    """
    if dataset == "phantom":
        what, remedy = "the phantom is made in memory", "--dataset brats"
        raise UsageError(what, where="--dataset", remedy=remedy, code="PFB-C02")
    if not root.is_dir():
        return [no_folder(root)]
    try:
        name = dataset or _layout(root)
        wanted = tuple(modalities)
        if name == "brats" and not wanted:
            wanted = brats.modalities_of(root)
        full = complete(Request(name, root, wanted))
    except DataError as fault:
        return [fault]
    found = survey(full.dataset, root, full.modalities)
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = list(pool.map(lambda case: _look(case, full), found.cases))
    faults = [*found.faults, *(fault for one in looked for fault in one[0])]
    faults += mixed_editions(
        {case.id: one[1] for case, one in zip(found.cases, looked, strict=True)}
    )
    images = {case.id: one[2] for case, one in zip(found.cases, looked, strict=True) if one[2]}
    return faults + same_images(images)


def _look(case: Case, request: Request) -> tuple[tuple[DataError, ...], tuple[int, ...], str]:
    """Faults, labels, and a hash of the voxels of one case."""
    findings = examine(case, request.dataset, request.target)
    if findings.scan is None:
        return findings.faults, findings.labels, ""
    return (), findings.labels, hashlib.sha256(findings.scan.image.data).hexdigest()


def _layout(root: Path) -> str:
    """Which data set it looks like. Raises DataError when like none."""
    if any((root / name).exists() for name in ("dataset.json", "images", "imagesTr")):
        return "liver"
    if any(path.is_dir() for path in root.iterdir()):
        return "brats"
    raise nothing_here(root, f"the layout of {' or '.join(sorted(set(DATASETS) - {'phantom'}))}")
