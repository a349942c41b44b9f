"""Read a whole case and say everything that is wrong with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data import nifti
from harness.data.case import Case, Scan
from harness.data.datasets import DATASETS, Request, resolve, survey
from harness.errors import DataError, UsageError

TOLERANCE_MM = 1e-3
BRATS_LABELS = {0, 1, 2, 3, 4}  # 3: non-enhancing core, until 2016


def read_case(case: Case, *, brats: bool) -> Scan:
    """The case as one scan; raises the first DataError that there is."""
    faults, scan = examine(case, brats=brats)
    if scan is None:
        raise faults[0]
    return scan


def examine(case: Case, *, brats: bool) -> tuple[list[DataError], Scan | None]:
    """Every fault of the case, and the scan when there is none."""
    faults: list[DataError] = []
    images: list[nifti.Nifti] = []
    for path in case.images.values():
        try:
            images.append(nifti.read_image(path))
        except DataError as fault:
            faults.append(fault)
    try:
        label = nifti.read_label(case.label)
    except DataError as fault:
        return [*faults, fault], None
    if brats:
        faults += _foreign_labels(case, label.array)
    if faults:
        return faults, None
    first = images[0]
    paths = list(case.images.values())
    others = [*zip(paths[1:], images[1:], strict=True), (case.label, label)]
    for path, other in others:
        faults += _elsewhere(paths[0], first, path, other)
    if not label.array.any():
        what = "the label is empty"
        faults.append(DataError(what, where=str(case.label), remedy="leave the case out",
                                code="PFB-V25"))  # fmt: skip
    if faults:
        return faults, None
    stacked = np.stack([image.array for image in images])
    return [], Scan(stacked, label.array, first.spacing_mm, first.affine, first.stored_axes)


def _elsewhere(
    path: Path, first: nifti.Nifti, other_path: Path, other: nifti.Nifti
) -> list[DataError]:
    """Two files of a case must show the same place."""
    if first.array.shape != other.array.shape:
        what = f"is {other.array.shape} (D, H, W), but {path.name} is {first.array.shape}"
        return [DataError(what, where=str(other_path), code="PFB-V27")]
    apart = float(np.abs(first.affine - other.affine).max())
    if apart > TOLERANCE_MM:
        what = f"lies up to {apart:.3g} mm from {path.name}"
        remedy = "bring both to one grid"
        return [DataError(what, where=str(other_path), remedy=remedy, code="PFB-V28")]
    return []


def _foreign_labels(case: Case, label: np.ndarray) -> list[DataError]:
    values = {int(value) for value in np.unique(label)}
    if values <= BRATS_LABELS:
        return []
    what = f"labels {sorted(values)}, but BraTS has {sorted(BRATS_LABELS)}"
    return [DataError(what, where=str(case.label), remedy="check the file", code="PFB-D11")]


def check(root: Path, dataset: str | None, modalities: Sequence[str]) -> list[DataError]:
    """Every fault of every case below `root`, in one pass; the layout is found when not named.

    Raises UsageError for a name that does not exist.
    """
    if dataset == "phantom":
        raise UsageError("the phantom is made in memory", where="--dataset", remedy="brats")
    if not root.is_dir():
        return [DataError("no such folder", where=str(root), code="PFB-D09")]
    request = Request(dataset or _layout(root), root, tuple(modalities))
    _, wanted, _ = resolve(request)
    if request.dataset == "brats" and not modalities:
        wanted = _present(root)
    found = survey(request, wanted)
    faults = list(found.faults)
    for case in found.cases:
        faults += examine(case, brats=request.dataset == "brats")[0]
    return faults


def _layout(root: Path) -> str:
    flat = ("images", "imagesTr", "dataset.json")
    return "liver" if any((root / name).exists() for name in flat) else "brats"


def _present(root: Path) -> tuple[str, ...]:
    """The modalities of the first patient: without --modalities, all must have the same."""
    from harness.data.phantom import MODALITIES

    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        names = [p.name for p in folder.iterdir()]
        present = [m for m in MODALITIES if any(f"_{m}.nii" in name for name in names)]
        if present:
            return tuple(present)
    return DATASETS["brats"].modalities
