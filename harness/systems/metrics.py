"""How well a predicted mask agrees with the true mask: overlap and surface distance.

Masks are (D, H, W) arrays whose non-zero voxels are foreground; spacing is (D, H, W) in mm.

Empty masks. Both empty: Dice and Jaccard 1, HD95 0. One empty: 0, 0 and the diagonal of the
volume, the worst value there is, so that missing a tumour never helps an average.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.systems.case_score import CaseScore
from harness.systems.surface_distances import DIRECTED, POOLED, Surfaces

Mask = NDArray[Any]  # (D, H, W), non-zero is foreground
Spacing = Sequence[float]  # (D, H, W) in mm
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
    first, second = (mask.ravel() for mask in _masks(pred, target))
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


def hd95(
    pred: Mask, target: Mask, spacing: Spacing, method: Literal["pooled", "max"] = "pooled"
) -> float:
    """Return the 95th percentile of the distances between the surfaces, in mm.

    "pooled" takes one percentile over both directions (medpy), "max" the larger of the two
    directed percentiles (MONAI). 0 when both masks are empty, the diagonal of the volume when
    one is. Raises ValueError for unequal shapes, a spacing that is not three positive numbers
    or an unknown method.
    """
    if method not in ("pooled", "max"):
        raise ValueError(f"unknown method {method!r}: 'pooled' or 'max'")
    pred, target = _masks(pred, target)
    spacing = _checked(spacing)
    present = bool(pred.any()), bool(target.any())
    if not all(present):
        return _diagonal(pred.shape, spacing) if any(present) else 0.0
    groups = POOLED if method == "pooled" else DIRECTED
    return max(Surfaces(pred, target).percentiles(spacing, groups))


def score(pred: Mask, target: Mask, spacing: Spacing) -> CaseScore:
    """Compute every metric of one case. Raises ValueError like `hd95`."""
    pred, target = _masks(pred, target)
    spacing = _checked(spacing)
    counts = overlap(pred, target)
    voxel_ml = math.prod(spacing) / 1000
    return CaseScore(
        counts.dice,
        counts.jaccard,
        *_distances(pred, target, spacing, counts),
        pred_ml=counts.pred * voxel_ml,
        target_ml=counts.target * voxel_ml,
        failed=(counts.pred == 0) != (counts.target == 0),
    )


def _distances(
    pred: Mask, target: Mask, spacing: Spacing, counts: Overlap
) -> tuple[float, float, float, float]:
    """Return the four distances hd95_mm, hd95_max_mm, hd95_voxels and hd95_official."""
    if not (counts.pred or counts.target):
        return 0.0, 0.0, 0.0, 0.0
    if not (counts.pred and counts.target):
        worst = _diagonal(pred.shape, spacing)
        return worst, worst, _diagonal(pred.shape, (1, 1, 1)), 0.0
    surfaces = Surfaces(pred, target)
    pooled, *directed = surfaces.percentiles(spacing, (*POOLED, *DIRECTED))
    if len(set(spacing)) == 1:
        voxels = pooled / spacing[0]
    else:
        voxels = surfaces.percentiles((1, 1, 1), POOLED)[0]
    return pooled, max(directed), voxels, voxels


def _masks(pred: Mask, target: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = (np.ascontiguousarray(mask, dtype=bool) for mask in (pred, target))
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(
            f"prediction {np.shape(pred)} and target {np.shape(target)} must be (D, H, W) masks "
            "of one shape"
        )
    return first, second


def _checked(spacing: Spacing) -> tuple[float, ...]:
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"spacing must be three positive numbers in mm (D, H, W), not {values}")
    return values


def _diagonal(shape: Sequence[int], spacing: Spacing) -> float:
    """Return the diagonal of the volume: 312.7 mm for BraTS on its 128 × 192 × 192 grid."""
    return math.hypot(*(size * step for size, step in zip(shape, spacing, strict=True)))
