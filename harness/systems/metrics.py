"""Every metric of one case: how well a predicted mask agrees with the true mask."""

import math

from harness.systems.case_score import CaseScore
from harness.systems.hd95 import checked_spacing, distances
from harness.systems.overlap import Mask, as_masks, overlap
from harness.systems.surface_distances import Spacing


def score(pred: Mask, target: Mask, spacing: Spacing) -> CaseScore:
    """Compute every metric of one case; masks (D, H, W), spacing (D, H, W) in mm.

    Raises ValueError for unequal shapes or a spacing that is not three positive numbers.
    """
    pred, target = as_masks(pred, target)
    spacing = checked_spacing(spacing)
    counts = overlap(pred, target)
    voxel_ml = math.prod(spacing) / 1000
    return CaseScore(
        counts.dice,
        counts.jaccard,
        *distances(pred, target, spacing),
        pred_ml=counts.pred * voxel_ml,
        target_ml=counts.target * voxel_ml,
        failed=(counts.pred == 0) != (counts.target == 0),
    )
