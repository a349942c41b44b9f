"""Score every test case: one row for each, a missed target included with its worst score."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.data.case import Volume
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.case_score import MEANS
from harness.systems.methods import Mask, Method, counted
from harness.systems.metrics import score
from harness.systems.plugin_metrics import Metric


class Evaluation(NamedTuple):
    """The scores of a method on test volumes."""

    rows: list[dict[str, Any]]
    """One row for each volume, in the order of the volumes: its case and its scores."""
    faults: dict[str, str]
    """The reason why an extra metric has no value: "metric of case" -> one sentence."""
    remarks: list[str]
    """Sentences about the masks, printed under every table."""


def evaluate(
    method: Method,
    volumes: Sequence[Volume],
    keep: Callable[[str, Mask, float], None],
    extra: Mapping[str, Metric] | None = None,
) -> Evaluation:
    """Score the mask that `method` predicts for each volume.

    `keep` gets case, mask and Dice of each; `extra` are further columns, those of plug-ins.
    """
    rows = []
    faults: dict[str, str] = {}
    remarked: dict[str, list[str]] = {}
    for volume in volumes:
        there = method.at(volume.case)
        mask = there.segment(volume.image)
        if there.remark:
            remarked.setdefault(there.remark, []).append(volume.case)
        row = {"case": volume.case, **score(mask, volume.label > 0, volume.spacing_mm)._asdict()}
        keep(volume.case, mask, row["dice"])
        truth = volume.label > 0
        values, wrong = extra_metrics.scores(extra or {}, mask, truth, volume.spacing_mm)
        faults |= {f"{name} of {volume.case}": why for name, why in wrong.items()}
        rows.append(row | values)
    total = len(volumes)
    remarks = [f"{what} ({counted(cases, total, 'test')})" for what, cases in remarked.items()]
    return Evaluation(rows, faults, remarks)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return mean and sample standard deviation of each metric; deviation 0 for a single case."""
    figures: dict[str, float] = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows], dtype=float)
        figures[f"{name}_mean"] = float(values.mean())
        figures[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return figures
