"""Several targets in one array, and the label map that shows them in one file.

    label (D, H, W) of unsigned integers     bit k of a voxel is set where target k is

Of one target that is 0 and 1. So nothing that moves voxels as wholes, such as a crop, a flip or a
file, has to know how many targets there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.regions import Labels, drawing_order

Label = NDArray[Any]  # (D, H, W) unsigned integers or bool, bit k: target k
Masks = NDArray[np.bool_]  # (K, D, H, W)
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


def label_map(masks: Sequence[NDArray[Any]], targets: Mapping[str, Labels]) -> NDArray[np.uint8]:
    """Draw masks (K, D, H, W) into one label map (D, H, W) uint8, see `harness.data.regions`."""
    found = np.zeros(masks[0].shape, np.uint8)
    for place, value in drawing_order(targets):
        found[np.asarray(masks[place]) > 0] = value
    return found
