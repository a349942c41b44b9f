"""Check a folder of volumes and report every fault in it, in one pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.datasets import DATASETS
from harness.data.ingest import Score
from harness.data.layout import no_folder
from harness.data.missing_files import SHOWN
from harness.data.recognise import request_of_all
from harness.data.request import DataRequest, contents_of
from harness.data.target import Target
from harness.data.volumes import inspected
from harness.data.wording import counted, listed
from harness.errors import DataError, UsageError

WORKERS = 2


class Checked(NamedTuple):
    """The result of a check: faults, of which none may be left, and notes on oddities."""

    faults: list[DataError]
    notes: list[str]
    targets: Mapping[str, Mapping[str, Target]] = {}
    """Target -> case -> the size of that target in the file and on the grid."""
    found: str = ""
    """A sentence that names the recognised data set, its modalities and its targets."""


def check(
    root: Path,
    dataset: str | None,
    modalities: Sequence[str],
    score: Score | None = None,
    **asked: Any,
) -> Checked:
    """Find every fault of every case below `root`; the data can be used when there is none.

    Without `dataset` the layout is looked up; without `modalities` every patient has to have all
    that any of them has; without a target the first of several is taken. `asked` are further
    fields of a request; `score` tells how masks agree, for the ceiling of the grid. Raises
    UsageError for a name that does not exist.
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
    outcomes, faults, notes = inspected(full, WORKERS, score)
    seen = {
        name: {one.name: one.targets[name] for one in outcomes if one.targets}
        for name in full.target.split(",")
    }
    return Checked(faults, notes, seen, _said(full, len(outcomes)))


def _said(full: DataRequest, cases: int) -> str:
    targets = listed(contents_of(full).targets, SHOWN)
    title = DATASETS[full.dataset].title
    modalities = listed(full.modalities, SHOWN)
    count = counted(cases, "case")
    return f"{full.dataset} ({title}): {count} with {modalities}; targets {targets}"
