"""Metrics of plug-ins: they add columns to cases.csv and never change the existing ones.

A metric that fails on a case leaves its cell empty, and then has no mean either: a mean over the
cases that were easy would be no fair number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.data.case import Spacing


@dataclass(frozen=True)
class Metric:
    """A metric of a plug-in: `function(pred, target, spacing_mm)` returns a number.

    Masks are (D, H, W) bool, the spacing is in mm.

    The masks are copies, which cannot be written to; either may be empty. `better` is which end of
    it is best.
    """

    title: str
    function: Callable[[np.ndarray, np.ndarray, Spacing], float]
    better: Literal["max", "min", ""] = "max"


def scores(
    metrics: Mapping[str, Metric], pred: np.ndarray, target: np.ndarray, spacing_mm: Spacing
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the value of each metric, None where it failed, and the reason of each failure."""
    values: dict[str, float | None] = {}
    faults: dict[str, str] = {}
    for name, metric in metrics.items():
        values[name] = None
        try:
            value = float(metric.function(_locked(pred), _locked(target), spacing_mm))
        except Exception as error:  # somebody else's code: whatever it raises costs one cell
            faults[name] = f"{type(error).__name__}: {error}"
            continue
        if np.isfinite(value):
            values[name] = value
        else:
            faults[name] = f"returned {value}"
    return values, faults


def summary(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Return mean and sample standard deviation of each metric that has a value in every case."""
    figures: dict[str, float] = {}
    for name in names:
        values = [row[name] for row in rows]
        if values and None not in values:
            figures[f"{name}_mean"] = float(np.mean(values))
            figures[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return figures


def _locked(mask: np.ndarray) -> np.ndarray:
    """A copy that is not written to by accident; what is written on purpose stays in it."""
    own = mask.copy()
    own.flags.writeable = False
    return own
