"""Several targets in one array, and the label map that shows them in one file.

    label (D, H, W) of unsigned integers     bit k of a voxel is set where target k is

Of one target that is 0 and 1. So nothing that moves voxels as wholes, such as a crop, a flip or a
file, has to know how many targets there are.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

Label = NDArray[Any]  # (D, H, W) unsigned integers or bool, bit k: target k
Masks = NDArray[np.bool_]  # (K, D, H, W)
Labels = tuple[int, ...]
"""The values in a file that one target consists of."""

ABSENT = {
    "train": ": it cannot be learned",
    "validation": ": it counts for no choice of weights",
    "test": ": it gets no score",
}
MOST = 64  # targets: the bits of the widest integer
KINDS = (np.uint8, np.uint16, np.uint32, np.uint64)


def packed(masks: Sequence[NDArray[Any]] | Masks) -> Label:
    """Pack masks (K, D, H, W) into one label (D, H, W), in the narrowest integers that hold K bits.

    Raises ValueError for more than `MOST`.
    """
    if not 0 < len(masks) <= MOST:
        raise ValueError(f"{len(masks)} targets; a label holds 1 to {MOST}")
    kind = next(kind for kind in KINDS if np.iinfo(kind).bits >= len(masks))
    label = np.zeros(masks[0].shape, kind)
    for place, mask in enumerate(masks):
        label[np.asarray(mask) > 0] |= kind(1 << place)
    return label


def held(label: Label, place: int) -> NDArray[np.bool_]:
    """Return the mask of target number `place`, counted from 0; same shape as `label`."""
    kind = label.dtype.type
    if kind is np.bool_:
        return label if place == 0 else np.zeros(label.shape, bool)
    return (label & kind(1 << place)) != 0


def unpacked(label: Label, count: int) -> Masks:
    """Unpack a label (D, H, W) of `count` targets into masks (K, D, H, W)."""
    return np.stack([held(label, place) for place in range(count)])


def absences(
    absent: Mapping[str, Collection[str]], parts: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return what must be said of cases without a target, for each target and part of a split.

    `absent`: target -> the cases without any of it; `parts`: "train" -> its cases.
    """
    notes = []
    for target, without in absent.items():
        for part, cases in parts.items():
            some = sum(case in without for case in cases)
            if some and some == len(cases):
                what = ABSENT.get(part, "")
                notes.append(f"none of the {some} {part} cases has any {target}{what}")
            elif some:
                notes.append(f"{some} of {len(cases)} {part} cases without {target}")
    return notes


def exclusive(labels: Sequence[Labels]) -> bool:
    """Return whether no label belongs to two targets, so that a voxel is of one target at most."""
    every = [value for values in labels for value in values]
    return len(labels) > 1 and len(set(every)) == len(every)


def drawing_order(targets: Mapping[str, Labels]) -> list[tuple[int, int]]:
    """Return number and value of each target, in the order in which one label map is drawn.

    As nnU-Net draws regions: a target that holds another comes before it, and has the first of its
    labels that no later one has. Whole tumour 2, then core 1, then enhancing 4. Raises UsageError
    where two targets overlap and neither holds the other, or are the same: no map shows both.
    """
    names, sets = list(targets), [set(labels) for labels in targets.values()]
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            one, other = sets[first], sets[second]
            if one & other and not (one < other or other < one):
                what = f"{names[first]} and {names[second]} overlap: one label map shows one there"
                raise UsageError(what, where="predict", remedy="--separate", code="PFB-C02")
    order = sorted(range(len(names)), key=lambda place: -len(sets[place]))
    drawn = []
    for at, place in enumerate(order):
        later = set[int]().union(*(sets[other] for other in order[at + 1 :]))
        own = sorted(sets[place] - later)
        if not own:
            what = f"{names[place]} has no label of its own beside the targets within it"
            raise UsageError(what, where="predict", remedy="--separate", code="PFB-C02")
        drawn.append((place, own[0]))
    return drawn


def label_map(masks: Sequence[NDArray[Any]], targets: Mapping[str, Labels]) -> NDArray[np.uint8]:
    """Draw masks (K, D, H, W) into one label map (D, H, W) uint8, see `drawing_order`."""
    found = np.zeros(masks[0].shape, np.uint8)
    for place, value in drawing_order(targets):
        found[np.asarray(masks[place]) > 0] = value
    return found
