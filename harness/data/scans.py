"""Read a case whole: every file of it, and whether they belong together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.data.case import Case, Remains, Scan
from harness.data.nifti import Nifti, place, read_image, read_label
from harness.errors import DataError

AFFINE_TOLERANCE = 1e-3
LABELS = {  # what may be in a mask
    "brats": frozenset({0, 1, 2, 3, 4}),  # 3: until 2016 and since 2023, see `ambiguous`
    "liver": frozenset({0, 1, 2}),  # 2: tumours, in most public sets
}
SHARED = ("wt", "liver")  # targets that mean the same in every edition


@dataclass(frozen=True)
class Findings:
    """What reading a case brought to light; `scan` is None when there are faults."""

    scan: Scan | None
    faults: tuple[DataError, ...]
    labels: tuple[int, ...] = ()


def examine(case: Case | Remains, dataset: str, target: str) -> Findings:
    """Read every file of `case`, and report every fault of theirs, not only the first."""
    faults: list[DataError] = []
    images = {
        path: image
        for path in case.images.values()
        if (image := _attempt(read_image, path, faults)) is not None
    }
    voxels = max((image.array.size for image in images.values()), default=0)
    read = partial(read_label, image_voxels=voxels)
    mask = None if case.label is None else _attempt(read, case.label, faults)
    if case.label is None or mask is None:
        return Findings(None, (*faults, *misplaced(images)))
    counts = np.bincount(mask.array.ravel(), minlength=256)
    labels = tuple(int(value) for value in np.flatnonzero(counts))
    faults += misplaced({**images, case.label: mask}, case.label)
    faults += _foreign(case.label, counts, dataset)
    faults += _ambiguous(case.label, labels, target)
    if faults or isinstance(case, Remains):
        return Findings(None, tuple(faults), labels)
    notes = [note for nifti in (*images.values(), mask) for note in nifti.notes]
    if labels == (0,):
        notes.append(f"{place(case.label)}: the label is empty")
    stacked = np.stack([image.array for image in images.values()])
    scan = Scan(stacked, mask.array, mask.spacing_mm, mask.affine, mask.stored_axes, tuple(notes))
    return Findings(scan, (), labels)


def mixed_editions(labels: dict[str, Sequence[int]]) -> list[DataError]:
    """The fault of a data set where some masks call the rim 4 and others 3."""
    old = sorted(case for case, values in labels.items() if 4 in values and 3 not in values)
    new = sorted(case for case, values in labels.items() if 3 in values and 4 not in values)
    if not (old and new):
        return []
    what = f"{len(old)} masks have label 4 and no 3 (as {old[0]}), {len(new)} the reverse"
    return [DataError(what, where=new[0], remedy="bring all to 0, 1, 2, 4", code="PFB-D11")]


def _attempt(read: Callable[[Path], Nifti], path: Path, faults: list[DataError]) -> Nifti | None:
    try:
        return read(path)
    except DataError as error:
        faults.append(error)
        return None


def misplaced(files: dict[Path, Nifti], label: Path | None = None) -> list[DataError]:
    """One fault for each file that does not share the grid of the first."""
    if not files:
        return []
    faults = []
    first, *others = files
    for other in others:
        shape, size = files[first].array.shape, files[other].array.shape
        number = "D13" if other != label else "V27" if shape != size else "V28"
        apart = float(np.abs(files[first].affine - files[other].affine).max())
        if shape != size:
            what = f"shape {size} (D, H, W), but {place(first)} has {shape}"
        elif apart > AFFINE_TOLERANCE:
            what = f"lies elsewhere than {place(first)}: affines differ by {apart:.3g}"
        else:
            continue
        remedy = "resample it to the grid of the other"
        faults.append(DataError(what, where=place(other), remedy=remedy, code=f"PFB-{number}"))
    return faults


def _foreign(label: Path, counts: np.ndarray, dataset: str) -> list[DataError]:
    """Labels that the data set does not have, with how many voxels have them."""
    foreign = [value for value in np.flatnonzero(counts) if int(value) not in LABELS[dataset]]
    if not foreign:
        return []
    listed = ", ".join(f"{value}: {counts[value]:,}" for value in foreign[:5])
    what = f"labels that {dataset} does not have (label: voxels) {listed}"
    remedy = f"bring them to {', '.join(map(str, sorted(LABELS[dataset])))}"
    return [DataError(what, where=place(label), remedy=remedy, code="PFB-V24")]


def _ambiguous(label: Path, labels: Sequence[int], target: str) -> list[DataError]:
    """Label 3 is core in old editions and rim in new ones; only the whole tumour is the same."""
    if target in SHARED or 3 not in labels:
        return []
    listed = ", ".join(map(str, labels))
    what = f"labels {{{listed}}} vs declared {{0, 1, 2, 4}}: what 3 means for '{target}' is unknown"
    remedy = "bring them to 0, 1, 2, 4, or take --target wt"
    return [DataError(what, where=place(label), remedy=remedy, code="PFB-D11")]
