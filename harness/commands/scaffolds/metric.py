"""NAME: say in one sentence what it tells that Dice and HD95 do not."""

import numpy as np

from harness.plugin import Metric


def volume_error(pred: np.ndarray, target: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Absolute difference of the volumes in ml; masks (D, H, W), spacing in mm."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return abs(int(pred.sum()) - int(target.sum())) * voxel_ml


METRICS = {"NAME": Metric("NAME (ml)", volume_error, better="min")}
