"""Score every test case: one row for each, a missed target included with its worst score.

Masks are scored on the grid, where networks make them, or on the voxels of the scan, where they are
brought first: then the scores on the grid stand beside, see `harness.systems.case_score.BESIDE`.

Of several targets there is one row for each of them in each case, and a case's score is the mean of
these. A target that no test case has is left out of that mean: no mask of it could be right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.data.case import Grid, Spacing, Volume
from harness.data.reading import View
from harness.data.scan_view import way_back
from harness.data.targets import held, packed
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.case_score import BESIDE, MEANS
from harness.systems.methods import Mask, Method, some_of
from harness.systems.metrics import score
from harness.systems.plugin_metrics import Metric

Line = dict[str, Any]
"""One line of cases.csv: a case, and the target where there are several, with its scores."""
Way = tuple[str, Grid, View]
"""How volumes see the scans of a data set, see `harness.data.datasets.way`."""


class Masks(NamedTuple):
    """The masks of one case."""

    grid: Mask
    scan: Mask | None
    """On the voxels of the scan, where masks are scored there."""


class Evaluation(NamedTuple):
    """The scores of a method on test volumes."""

    rows: list[Line]
    """One row for each volume, and in it for each of several targets: its case and its scores."""
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
    targets: Sequence[str] = ("",),
) -> Evaluation:
    """Score the mask that `method` predicts for each volume.

    `keep` gets case, masks and Dice of each; `extra` are further columns, those of plug-ins. With
    the `way` of the data set, masks are scored on the voxels of the scan. `targets` are the names
    of several, in the order of the method's channels.
    """
    rows: list[Line] = []
    faults: dict[str, str] = {}
    remarked: dict[str, list[str]] = {}
    for volume in volumes:
        there = method.at(volume.case)
        mask = there.segment(volume.image)
        if there.remark:
            remarked.setdefault(there.remark, []).append(volume.case)
        on_grid = _Pair(mask, volume.label, volume.spacing_mm)
        whole = on_grid if way is None else _on_scan(there, volume, mask, way, len(targets))
        found = []
        for place, target in enumerate(targets):
            of = f"{volume.case}, {target}" if target else volume.case
            named = {"case": volume.case, "target": target} if target else {"case": volume.case}
            pair = whole.of(place if target else None)
            values, wrong = extra_metrics.scores(extra or {}, *pair)
            faults |= {f"{name} of {of}": why for name, why in wrong.items()}
            beside = {} if way is None else score(*on_grid.of(place if target else None))._asdict()
            besides = {f"{BESIDE}{name}": each for name, each in beside.items()}
            found.append(named | score(*pair)._asdict() | besides | values)
        dice = float(np.mean([row["dice"] for row in found]))
        keep(volume.case, Masks(mask, None if way is None else whole.mask), dice)
        rows += found
    total = len(volumes)
    remarks = [f"{what} ({some_of(cases, total, 'test')})" for what, cases in remarked.items()]
    return Evaluation(rows, faults, remarks)


class _Pair(NamedTuple):
    """What is compared: prediction and target, both (D, H, W), and the sides of their voxels."""

    mask: Mask
    target: Mask
    spacing_mm: Spacing

    def of(self, place: int | None) -> "_Pair":
        """Return the pair of one of several targets; with None of the only one."""
        if place is None:
            return self._replace(target=self.target > 0)
        return self._replace(mask=held(self.mask, place), target=held(self.target, place))


def _on_scan(method: Method, volume: Volume, mask: Mask, way: Way, targets: int) -> _Pair:
    """Bring the mask of a volume to the voxels of its scan, as `pfbench predict` does."""
    scan = volume.scan
    if scan is None:  # a phantom, made on the grid
        return _Pair(mask, volume.label, volume.spacing_mm)
    masks = [mask] if scan.blocks is None else [method.segment(each) for each in scan.blocks]
    back = way_back(scan.shape, scan.spacing_mm, *way)
    if targets == 1:
        return _Pair(back.mask(masks) > 0, scan.label, scan.spacing_mm)
    each = [back.mask([held(one, k) for one in masks]) for k in range(targets)]
    return _Pair(packed(each), scan.label, scan.spacing_mm)


def there(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the targets that any case has, in order; all of them where no case has any."""
    known = dict.fromkeys(str(row["target"]) for row in rows)
    found = [name for name in known if any(r["target_ml"] for r in rows if r["target"] == name)]
    return found or list(known)


def of_cases(rows: Sequence[Line], names: Sequence[str] = MEANS) -> Sequence[Line]:
    """Return one row for each case: of several targets with the mean of each of `names` over them.

    None where a target has no value.
    """
    if not rows or "target" not in rows[0]:
        return rows
    counted_in = there(rows)
    cases: dict[str, list[Line]] = {}
    for row in rows:
        if row["target"] in counted_in:
            cases.setdefault(row["case"], []).append(row)
    return [
        {"case": case, **{name: _mean([row[name] for row in each]) for name in names}}
        for case, each in cases.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def without_target(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of cases whose reference has no voxel of any target."""
    found = {row["case"] for row in rows if row["target_ml"]}
    return len({row["case"] for row in rows} - found)


def summary(rows: Sequence[Line]) -> dict[str, float]:
    """Return mean and sample standard deviation of each metric; deviation 0 for a single case.

    Of rows with several targets, those of the mean over the targets of a case.
    """
    rows = of_cases(rows)
    figures: dict[str, float] = {}
    for name in MEANS:
        values = np.array([row[name] for row in rows], dtype=float)
        figures[f"{name}_mean"] = float(values.mean())
        figures[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return figures
