"""Score every test case: one row each, a missed target included at its worst value."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.data.case import Volume
from harness.methods import Mask, Method
from harness.metrics import score

MEANS = ("dice", "jaccard", "hd95_mm", "hd95_max_mm", "hd95_voxels", "hd95_official")


def evaluate(
    method: Method, volumes: Sequence[Volume], keep: Callable[[str, Mask, float], None]
) -> list[dict[str, Any]]:
    """One row of scores for each volume, in its order; `keep` gets case, mask and Dice of each."""
    rows = []
    for volume in volumes:
        mask = method.segment(volume.image)
        row = {"case": volume.case, **score(mask, volume.label > 0, volume.spacing_mm)._asdict()}
        keep(volume.case, mask, row["dice"])
        rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean and standard deviation (over cases, population) of each metric."""
    figures: dict[str, float] = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows], dtype=float)
        figures[f"{name}_mean"] = float(values.mean())
        figures[f"{name}_std"] = float(values.std())
    return figures
