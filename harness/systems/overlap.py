"""How well a predicted mask overlaps the true mask: Dice and Jaccard, from counts of voxels.

Masks are (D, H, W) arrays whose non-zero voxels are foreground. Both empty: 1. One empty: 0.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[Any]  # (D, H, W), non-zero is foreground
PART = 1 << 18  # voxels that are counted at once: they stay in the cache, and most hold no target


class Overlap(NamedTuple):
    """The voxel counts of the prediction, of the target and of their intersection."""

    pred: int
    target: int
    common: int

    @property
    def dice(self) -> float:
        total = self.pred + self.target
        return 2 * self.common / total if total else 1.0

    @property
    def jaccard(self) -> float:
        union = self.pred + self.target - self.common
        return self.common / union if union else 1.0


def overlap(pred: Mask, target: Mask) -> Overlap:
    """Count the voxels of an overlap in one pass. Raises ValueError on unequal shapes."""
    first, second = (mask.ravel() for mask in as_masks(pred, target))
    both = np.empty(min(PART, first.size), bool)
    in_first = in_second = in_both = np.int64(0)
    for start in range(0, first.size, PART):
        one, other = first[start : start + PART], second[start : start + PART]
        count, other_count = np.count_nonzero(one), np.count_nonzero(other)
        in_first += count
        in_second += other_count
        if count and other_count:
            in_both += np.count_nonzero(np.logical_and(one, other, out=both[: one.size]))
    return Overlap(int(in_first), int(in_second), int(in_both))


def dice(pred: Mask, target: Mask) -> float:
    """2 |P ∩ T| / (|P| + |T|); 1 when both are empty. Raises ValueError on unequal shapes."""
    return overlap(pred, target).dice


def jaccard(pred: Mask, target: Mask) -> float:
    """|P ∩ T| / |P ∪ T|; 1 when both are empty. Raises ValueError on unequal shapes."""
    return overlap(pred, target).jaccard


def as_masks(pred: Mask, target: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return both as boolean (D, H, W) arrays. Raises ValueError on unequal shapes."""
    first, second = (np.ascontiguousarray(mask, dtype=bool) for mask in (pred, target))
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(
            f"prediction {np.shape(pred)} and target {np.shape(target)} must be (D, H, W) masks "
            "of one shape"
        )
    return first, second
