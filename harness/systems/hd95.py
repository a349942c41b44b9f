"""HD95: the 95th percentile of the distances between the surfaces of two masks.

Masks are (D, H, W) arrays whose non-zero voxels are foreground; spacing is (D, H, W) in mm. Both
empty: 0. One empty: the diagonal of the volume, the worst value there is, so that missing a tumour
never helps an average. `harness.systems.surface_distances` finds the percentiles.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from harness.systems.overlap import Mask, as_masks
from harness.systems.surface_distances import DIRECTED, POOLED, Spacing, Surfaces


class Distances(NamedTuple):
    """The distance between two masks, by each of its definitions."""

    mm: float
    """Pooled over both directions (medpy)."""
    max_mm: float
    """The larger of the two directed percentiles (MONAI)."""
    voxels: float
    """Pooled, in voxels, as the paper prints it."""
    official: float
    """Pooled, in voxels, and 0 for an empty prediction, as the released code has it."""


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
    pred, target = as_masks(pred, target)
    spacing = checked_spacing(spacing)
    present = bool(pred.any()), bool(target.any())
    if not all(present):
        return _diagonal(pred.shape, spacing) if any(present) else 0.0
    groups = POOLED if method == "pooled" else DIRECTED
    return max(Surfaces(pred, target).percentiles(spacing, groups))


def distances(pred: Mask, target: Mask, spacing: Spacing) -> Distances:
    """Return the distance by each definition. Raises ValueError like `hd95`."""
    pred, target = as_masks(pred, target)
    spacing = checked_spacing(spacing)
    present = bool(pred.any()), bool(target.any())
    if not any(present):
        return Distances(0.0, 0.0, 0.0, 0.0)
    if not all(present):
        worst = _diagonal(pred.shape, spacing)
        return Distances(worst, worst, _diagonal(pred.shape, (1, 1, 1)), 0.0)
    surfaces = Surfaces(pred, target)
    pooled, *directed = surfaces.percentiles(spacing, (*POOLED, *DIRECTED))
    if len(set(spacing)) == 1:
        voxels = pooled / spacing[0]
    else:
        voxels = surfaces.percentiles((1, 1, 1), POOLED)[0]
    return Distances(pooled, max(directed), voxels, voxels)


def checked_spacing(spacing: Spacing) -> tuple[float, ...]:
    """Return a spacing as numbers. Raises ValueError unless it is three positive numbers."""
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(0 < value < math.inf for value in values):
        raise ValueError(f"spacing must be three positive numbers in mm (D, H, W), not {values}")
    return values


def _diagonal(shape: Sequence[int], spacing: Spacing) -> float:
    """Return the diagonal of the volume: 312.7 mm for BraTS on its 128 × 192 × 192 grid."""
    return math.hypot(*(size * step for size, step in zip(shape, spacing, strict=True)))
