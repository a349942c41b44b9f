"""Read a case whole: each of its files, and the faults of files that do not belong together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.data.case import Case, FaultyCase, Scan
from harness.data.header import Unoriented, distance_mm, same_place
from harness.data.nifti import INTERPOLATED, Nifti, place, read_image, read_label
from harness.data.target import bounds
from harness.errors import DataError

WHOLE_TUMOUR = "wt"  # the target that means the same in every edition of BraTS


@dataclass(frozen=True)
class Rules:
    """The labels that a mask of a data set may hold."""

    dataset: str
    target: str
    labels: frozenset[int] = frozenset()
    """Empty: whatever is there."""
    editions: bool = False
    """Label 3 has had two meanings, as in BraTS."""
    unoriented: Unoriented = "refuse"
    """Files that do not say how they lie, see `harness.data.header.parse`."""
    cavity: bool = False
    """Label 4 beside 3 may be a resection cavity, as in BraTS of unknown year."""
    parts: tuple[int, ...] = ()
    """Of several targets in binary masks, the number of the target of each mask; a voxel of the
    label then has bit k where target k is."""


@dataclass(frozen=True)
class Findings:
    """The scan of a case, its faults and notes; `scan` is None when there are faults."""

    scan: Scan | None
    faults: tuple[DataError, ...]
    labels: tuple[int, ...] = ()


def examine(case: Case | FaultyCase, rules: Rules) -> Findings:
    """Read every file of `case`; every fault is told, not only the first, and of which case."""
    found = _examined(case, rules)
    faults = tuple(
        DataError(one.what, where=_of(case.id, one.where), remedy=one.remedy, code=one.code)
        for one in found.faults
    )
    notes = [note.partition(": ") for note in found.scan.notes] if found.scan else []
    told = tuple(f"{_of(case.id, file)}: {text}" for file, _, text in notes)
    return replace(found, faults=faults, scan=found.scan and replace(found.scan, notes=told))


def _of(case: str, file: str) -> str:
    """The `file`, with its case where its folder and name do not tell the case."""
    told = re.search(rf"(?<![^\W_]){re.escape(case)}(?![^\W_])", file)
    return file if told else f"{file} of {case}"


def _examined(case: Case | FaultyCase, rules: Rules) -> Findings:
    faults: list[DataError] = []
    channels: list[np.ndarray] = []
    images: dict[Path, Nifti] = {}
    for modality, path in case.images.items():
        channel = case.channels.get(modality)
        reading = partial(read_image, channel=channel, unoriented=rules.unoriented)
        image = _attempt(reading, path, faults)
        if image is not None:
            images[path] = image
            channels.append(image.array)
    voxels = max((image.array.size for image in images.values()), default=0)
    read = partial(read_label, image_voxels=voxels, unoriented=rules.unoriented)
    mask = _mask(case, read, faults, rules.parts)
    if case.label is None or mask is None:
        return Findings(None, (*faults, *misplaced(images)))
    counts = _counts(mask.array)
    labels = tuple(int(value) for value in np.flatnonzero(counts))
    faults += misplaced({**images, case.label: mask}, case.label)
    faults += _foreign(case.label, mask.array, counts, rules)
    faults += _ambiguous(case.label, labels, rules)
    if faults or isinstance(case, FaultyCase):
        return Findings(None, tuple(faults), labels)
    notes = [note for nifti in (*images.values(), mask) for note in nifti.notes]
    if labels == (0,):
        notes.append(f"{place(case.label)}: the label is empty")
    scan = Scan(
        np.stack(channels) if len(channels) > 1 else channels[0][None],  # a view costs nothing
        mask.array,
        mask.spacing_mm,
        mask.affine,
        mask.stored_axes,
        tuple(notes),
    )
    return Findings(scan, (), labels)


def _mask(
    case: Case | FaultyCase,
    read: Callable[[Path], Nifti],
    faults: list[DataError],
    parts: Sequence[int] = (),
) -> Nifti | None:
    """Return the label of a case; of binary masks bit k where any mask of target k is above 0."""
    if case.label is None or not case.masks:
        return None if case.label is None else _attempt(read, case.label, faults)
    masks = {path: _attempt(read, path, faults) for path in case.masks}
    whole = {path: mask for path, mask in masks.items() if mask is not None}
    apart = misplaced(whole, case.label)
    faults += apart
    if apart or len(whole) < len(masks):
        return None
    first, *_ = whole.values()
    label = np.zeros(first.array.shape, np.uint8)
    for mask, part in zip(whole.values(), parts or (0,) * len(whole), strict=True):
        label |= (mask.array > 0).astype(np.uint8) << np.uint8(part)
    notes = tuple(note for mask in whole.values() for note in mask.notes)
    return replace(first, array=label, notes=notes)


def _counts(label: np.ndarray) -> np.ndarray:
    """Count the voxels of each of the labels 0 to 255.

    Most have 0: they are looked at eight at once, in the order in which they are stored.
    """
    stored = label[tuple(slice(None, None, -1 if step < 0 else 1) for step in label.strides)]
    voxels = stored.ravel(order="K")
    whole = voxels.size // 8 * 8
    words = voxels[:whole].view(np.uint64)
    some = np.concatenate([words[words != 0].view(np.uint8), voxels[whole:]])
    counts = np.bincount(some, minlength=256)
    counts[0] += voxels.size - some.size
    return counts


def mixed_editions(labels: dict[str, Sequence[int]]) -> list[DataError]:
    """Return the fault of a data set where some masks call the rim 4 and others 3."""
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
    """Return a fault for each file that does not share the grid of the first."""
    if not files:
        return []
    faults = []
    first, *others = files
    for other in others:
        shape, size = files[first].array.shape, files[other].array.shape
        number = "D13" if other != label else "V27" if shape != size else "V28"
        places = files[first].affine, files[other].affine
        if shape != size:
            what = f"shape {size} (D, H, W), but {place(first)} has {shape}"
        elif not same_place(*places, shape[::-1]):
            apart = distance_mm(*places, shape[::-1])
            what = f"lies elsewhere than {place(first)}: a corner is {apart:.3g} mm away"
        else:
            continue
        remedy = "resample it to the grid of the other"
        faults.append(DataError(what, where=place(other), remedy=remedy, code=f"PFB-{number}"))
    return faults


def _foreign(label: Path, mask: np.ndarray, counts: np.ndarray, rules: Rules) -> list[DataError]:
    """Return the labels that the data set does not have, with their numbers of voxels."""
    if not rules.labels:
        return []
    foreign = [value for value in np.flatnonzero(counts) if int(value) not in rules.labels]
    if not foreign:
        return []
    listed = ", ".join(f"{value}: {counts[value]:,}" for value in foreign[:5])
    what = f"labels that {rules.dataset} does not have (label: voxels) {listed}"
    remedy = f"bring them to {', '.join(map(str, sorted(rules.labels)))}"
    if all(is_rim(mask, int(value)) for value in foreign):
        what = f"{what}, a rim between others as interpolation leaves it"
        remedy = INTERPOLATED
    return [DataError(what, where=place(label), remedy=remedy, code="PFB-V24")]


def is_rim(mask: np.ndarray, value: int) -> bool:
    """Return whether a label (D, H, W) is nowhere thicker than two voxels and amid other labels.

    A spline across the border of 0 and 4 leaves voxels of 1, 2 and 3 there.
    """
    from scipy.ndimage import binary_erosion

    box = bounds(mask == value)
    if box is None:
        return False
    d, h, w = (slice(max(0, part.start - 1), part.stop + 1) for part in box)
    near = mask[d, h, w]
    between = near.min() < value < near.max()
    return bool(between) and not binary_erosion(near == value, np.ones((3, 3, 3))).any()


def _ambiguous(label: Path, labels: Sequence[int], rules: Rules) -> list[DataError]:
    """Return the fault of labels whose meaning differs by edition: 3 and 4."""
    listed = ", ".join(map(str, labels))
    declared = f"labels {{{listed}}} vs declared {{0, 1, 2, 4}}"
    if rules.cavity and {3, 4} <= set(labels):
        what = f"{declared}: 4 is tumour until 2021 and a resection cavity since 2024"
        remedy = "--edition 2016 or --edition 2024"
    elif rules.editions and rules.target != WHOLE_TUMOUR and 3 in labels:
        what = f"{declared}: what 3 means for '{rules.target}' is unknown"
        remedy = "--edition YEAR, which decides it, or --target wt"
    else:
        return []
    return [DataError(what, where=place(label), remedy=remedy, code="PFB-D11")]
