"""The scores of one case: the columns of one row of cases.csv."""

from typing import NamedTuple


class CaseScore(NamedTuple):
    """One row of cases.csv: the value of every metric for one case."""

    dice: float
    jaccard: float
    hd95_mm: float
    """HD95 in mm, one percentile over the distances in both directions (medpy)."""
    hd95_max_mm: float
    """HD95 in mm, the larger of the percentiles of the two directions (MONAI)."""
    hd95_voxels: float
    """HD95 in voxels, both directions pooled, as the authors' code computes it: Table V."""
    hd95_official: float
    """`hd95_voxels`, but 0 when either mask is empty: the authors' code on any exception."""
    pred_ml: float
    target_ml: float
    failed: bool
    """Whether exactly one of the two masks is empty."""


BESIDE = "grid_"
"""Where masks are scored on the scan: before the names of the columns with the scores on the grid.
"""
MEANS = tuple(name for name in CaseScore._fields if name not in ("pred_ml", "target_ml", "failed"))
"""The scores that are averaged over the test cases."""
