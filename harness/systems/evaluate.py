"""Score every test case: one row for each, a missed target included with its worst score.

Masks are scored on the grid, where networks make them, or on the voxels of the scan, where they are
brought first: then the scores on the grid stand beside, see `harness.systems.case_score.BESIDE`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.data.case import Grid, Spacing, Volume
from harness.data.reading import View
from harness.data.scan_view import way_back
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.case_score import BESIDE, MEANS
from harness.systems.methods import Mask, Method, counted
from harness.systems.metrics import score
from harness.systems.plugin_metrics import Metric

Way = tuple[str, Grid, View]
"""How volumes see the scans of a data set, see `harness.data.datasets.way`."""


class Masks(NamedTuple):
    """The masks of one case."""

    grid: Mask
    scan: Mask | None
    """On the voxels of the scan, where masks are scored there."""


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
    keep: Callable[[str, Masks, float], None],
    extra: Mapping[str, Metric] | None = None,
    way: Way | None = None,
) -> Evaluation:
    """Score the mask that `method` predicts for each volume.

    `keep` gets case, masks and Dice of each; `extra` are further columns, those of plug-ins. With
    the `way` of the data set, masks are scored on the voxels of the scan.
    """
    rows = []
    faults: dict[str, str] = {}
    remarked: dict[str, list[str]] = {}
    for volume in volumes:
        there = method.at(volume.case)
        mask = there.segment(volume.image)
        if there.remark:
            remarked.setdefault(there.remark, []).append(volume.case)
        on_grid = _Pair(mask, volume.label > 0, volume.spacing_mm)
        pair = on_grid if way is None else _on_scan(there, volume, mask, way)
        row = {"case": volume.case, **score(*pair)._asdict()}
        keep(volume.case, Masks(mask, None if way is None else pair.mask), row["dice"])
        values, wrong = extra_metrics.scores(extra or {}, *pair)
        faults |= {f"{name} of {volume.case}": why for name, why in wrong.items()}
        beside = {} if way is None else score(*on_grid)._asdict()
        rows.append(row | {f"{BESIDE}{name}": each for name, each in beside.items()} | values)
    total = len(volumes)
    remarks = [f"{what} ({counted(cases, total, 'test')})" for what, cases in remarked.items()]
    return Evaluation(rows, faults, remarks)


class _Pair(NamedTuple):
    """What is compared: prediction and target, both (D, H, W), and the sides of their voxels."""

    mask: Mask
    target: Mask
    spacing_mm: Spacing


def _on_scan(method: Method, volume: Volume, mask: Mask, way: Way) -> _Pair:
    """Bring the mask of a volume to the voxels of its scan, as `pfbench predict` does."""
    scan = volume.scan
    if scan is None:  # a phantom, made on the grid
        return _Pair(mask, volume.label > 0, volume.spacing_mm)
    masks = [mask] if scan.blocks is None else [method.segment(each) for each in scan.blocks]
    back = way_back(scan.shape, scan.spacing_mm, *way)
    return _Pair(back.mask(masks) > 0, scan.label > 0, scan.spacing_mm)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return mean and sample standard deviation of each metric; deviation 0 for a single case."""
    figures: dict[str, float] = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows], dtype=float)
        figures[f"{name}_mean"] = float(values.mean())
        figures[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return figures
