"""Look at a folder of volumes and say everything that is wrong with it, in one pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.by_pattern import SHOWN
from harness.data.datasets import DATASETS, DataRequest, contents_of, inspected
from harness.data.layout import no_folder
from harness.data.recognise import request_of_all
from harness.data.target import Target
from harness.data.wording import counted, listed
from harness.errors import DataError, UsageError

WORKERS = 2


class Checked(NamedTuple):
    """Faults, of which none may be left, and what is only odd."""

    faults: list[DataError]
    notes: list[str]
    targets: Mapping[str, Target] = {}
    """Of each case that could be read: in its file, and on the grid."""
    found: str = ""
    """Which data set it is, and what it has."""


def check(root: Path, dataset: str | None, modalities: Sequence[str], **asked: Any) -> Checked:
    """Every fault of every case below `root`; none when it can be used.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has; without a target the first of several is taken. `asked` are further
    fields of a request. Raises UsageError for a name that does not exist.
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
    outcomes, faults, notes = inspected(full, WORKERS)
    seen = {outcome.name: outcome.target for outcome in outcomes if outcome.target}
    return Checked(faults, notes, seen, _said(full, len(outcomes)))


def _said(full: DataRequest, cases: int) -> str:
    targets = listed(contents_of(full).targets, SHOWN)
    title = DATASETS[full.dataset].title
    modalities = listed(full.modalities, SHOWN)
    count = counted(cases, "case")
    return f"{full.dataset} ({title}): {count} with {modalities}; targets {targets}"
