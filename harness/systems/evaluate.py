"""Score every test case: one row each, a missed target included at its worst value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.data.case import Volume
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.case_score import MEANS
from harness.systems.methods import Mask, Method
from harness.systems.metrics import score
from harness.systems.plugin_metrics import Metric


def evaluate(
    method: Method,
    volumes: Sequence[Volume],
    keep: Callable[[str, Mask, float], None],
    extra: Mapping[str, Metric] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """One row of scores for each volume, in its order, and why an extra metric has no value.

    `keep` gets case, mask and Dice of each; `extra` are further columns, those of plug-ins.
    """
    rows = []
    faults: dict[str, str] = {}
    for volume in volumes:
        mask = method.segment(volume.image)
        row = {"case": volume.case, **score(mask, volume.label > 0, volume.spacing_mm)._asdict()}
        keep(volume.case, mask, row["dice"])
        truth = volume.label > 0
        values, wrong = extra_metrics.scores(extra or {}, mask, truth, volume.spacing_mm)
        faults |= {f"{name} of {volume.case}": why for name, why in wrong.items()}
        rows.append(row | values)
    return rows, faults


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean and standard deviation of the sample of cases, 0 of a single one, of each metric."""
    figures: dict[str, float] = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows], dtype=float)
        figures[f"{name}_mean"] = float(values.mean())
        figures[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return figures
