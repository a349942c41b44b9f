"""The scores of one case: what a row of cases.csv holds."""

from typing import NamedTuple


class CaseScore(NamedTuple):
    """One row of the results: every metric of one case."""

    dice: float
    jaccard: float
    hd95_mm: float
    """Both directions pooled (medpy), in mm."""
    hd95_max_mm: float
    """The larger of the two directed percentiles (MONAI), in mm."""
    hd95_voxels: float
    """Pooled without the spacing, as the authors' code calls it: Table V."""
    hd95_official: float
    """`hd95_voxels`, but 0 when either mask is empty: the authors' code on any exception."""
    pred_ml: float
    target_ml: float
    failed: bool
    """Exactly one of the two masks is empty."""


MEANS = tuple(name for name in CaseScore._fields if name not in ("pred_ml", "target_ml", "failed"))
"""The scores that are averaged over the test cases."""
