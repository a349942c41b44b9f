"""Look at a folder of volumes and say everything that is wrong with it, in one pass."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.data.by_pattern import some
from harness.data.case import Case, Contents, Remains
from harness.data.datasets import (
    DATASETS,
    Request,
    contents_of,
    rules,
    same_images,
    survey,
)
from harness.data.layout import no_folder
from harness.data.recognise import request_of_all
from harness.data.scans import Rules, examine, mixed_editions
from harness.errors import DataError, UsageError

WORKERS = 2


class Checked(NamedTuple):
    """Faults, of which none may be left, and what is only odd."""

    faults: list[DataError]
    notes: list[str]
    found: str = ""
    """Which data set it is, and what it has."""


def check(root: Path, dataset: str | None, modalities: Sequence[str], **asked: Any) -> Checked:
    """Every fault of every case below `root`; none when it can be used.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has. `asked` are further fields of a request. Raises UsageError for a name
    that does not exist.
    """
    if dataset == "phantom":
        what, remedy = "the phantom is made in memory", "--dataset brats"
        raise UsageError(what, where="--dataset", remedy=remedy, code="PFB-C02")
    if not root.is_dir():
        return Checked([no_folder(root)], [])
    try:
        full = request_of_all(root, dataset, modalities, **asked)
    except DataError as fault:
        return Checked([fault], [])
    found = survey(full)
    allowed = rules(full)
    with ThreadPoolExecutor(WORKERS) as pool:
        looked = list(pool.map(lambda case: _look(case, allowed), found.cases))
        rest = list(pool.map(lambda case: _look(case, allowed), found.remains))
    faults = [*found.faults, *(fault for one in (*rest, *looked) for fault in one.faults)]
    if allowed.editions:
        faults += mixed_editions({one.case: one.labels for one in looked})
    faults += same_images({one.case: one.image_sha256 for one in looked if one.image_sha256})
    notes = [*found.notes, *(note for one in looked for note in one.notes)]
    return Checked(faults, notes, _said(full, len(found.cases) + len(found.remains)))


def _said(full: Request, cases: int) -> str:
    contents: Contents = contents_of(full)
    targets = some(list(contents.targets))
    title = DATASETS[full.dataset].title
    return (
        f"{full.dataset} ({title}): {cases} cases with {some(full.modalities)}; targets {targets}"
    )


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
