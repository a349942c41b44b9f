"""Measure a target in its file and on the grid: volume, parts, the share that is cut off.

A grid coarser than the scan rounds small lesions away, and a crop cuts off what lies outside of it.
Neither shows in a score, which compares masks on the grid: it is told here, case by case.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.data.case import OnScan, Spacing
from harness.data.wording import counted, listed, more
from harness.errors import DataError

SHRUNK = 0.25  # of the target: lost from there on is worth a note
LISTED = 3  # cases that a note names, of many
LINES = 20  # that `pfbench data check` prints


@dataclass(frozen=True)
class Target:
    """The target of one case, in its file and on the grid; parts touch by a corner at least."""

    file_ml: float
    file_parts: int
    grid_ml: float
    grid_parts: int
    cut: float | None = None
    """Share of it that lies outside of what the grid shows; None where that is not known."""

    @property
    def lost(self) -> float:
        """The share of the volume that the grid does not have; 0 where the grid has more."""
        return max(0.0, 1 - self.grid_ml / self.file_ml) if self.file_ml else 0.0

    @property
    def gone(self) -> bool:
        return self.file_ml > 0 and self.grid_ml == 0

    @property
    def shown(self) -> str:
        """ "12.1 ml in 9 parts, 7.9 ml in 4 on the grid, 12 % cut off"."""
        told = (
            f"{_ml(self.file_ml)} in {counted(self.file_parts, 'part')}, "
            f"{_ml(self.grid_ml)} in {self.grid_parts} on the grid"
        )
        return f"{told}, {100 * self.cut:.0f} % cut off" if self.cut else told

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measured(
    mask: np.ndarray,
    spacing_mm: Spacing,
    on_grid: np.ndarray,
    grid_mm: Spacing,
    cut: float | None,
) -> Target:
    """Measure the target of a scan, `mask` (D, H, W) in its file and `on_grid` once prepared."""
    return Target(*_size(mask, spacing_mm), *_size(on_grid, grid_mm), cut)


def _size(mask: np.ndarray, spacing_mm: Spacing) -> tuple[float, int]:
    """Return volume in ml and number of parts, whose voxels touch by face, edge or corner."""
    from scipy.ndimage import label

    box = bounds(mask)
    if box is None:
        return 0.0, 0
    inside = mask[box]
    volume = int(np.count_nonzero(inside)) * math.prod(spacing_mm) / 1000
    return volume, int(label(inside, np.ones((3, 3, 3)))[1])


def bounds(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the smallest box that holds all of `mask` (D, H, W); None for an empty mask."""
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        there = np.flatnonzero(mask.any(axis=others))
        if not len(there):
            return None
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return found[0], found[1], found[2]


def on_scan(label: np.ndarray, spacing_mm: Spacing, blocks: np.ndarray | None = None) -> OnScan:
    """The target of a scan in its box; `label` (D, H, W) is coded as that of a volume."""
    depth, height, width = label.shape
    box = bounds(label > 0) or np.s_[0:0, 0:0, 0:0]
    z, y, x = (part.start for part in box)
    return OnScan((depth, height, width), spacing_mm, (z, y, x), label[box].copy(), blocks)


def vanished(case: str, target: Target, name: str = "") -> DataError:
    """Return the fault of a case of whose target nothing is left; `name` where it has several."""
    cut = target.cut == 1
    cause = "the crop cuts all of it off" if cut else "its voxels are too coarse"
    other_grid = "--grid auto, which cuts nothing off" if cut else "a finer grid"
    return DataError(
        f"nothing is left on the grid of its target{name and f' {name}'}, "
        f"{_ml(target.file_ml)} in "
        f"{counted(target.file_parts, 'part')}: {cause}",
        where=case,
        remedy=(
            f"{other_grid}, or --drop-vanished, which leaves such cases out and counts them under "
            "the table"
        ),
        code="PFB-V35",
    )


def summary(targets: Mapping[str, Target], dropped: Mapping[str, Target]) -> list[str]:
    """Return the notes under a table on the targets of cases used and of cases left out."""
    notes = []
    left = {case: one for case, one in targets.items() if not one.gone}  # those are faults
    shrunk = {case: one for case, one in left.items() if one.lost >= SHRUNK}
    if shrunk:
        notes.append(
            f"on the grid {_cases(len(shrunk), len(targets))} lost a quarter or more of the target "
            f"({_listed(shrunk, lambda one: one.shown)})"
        )
    cut = {case: one for case, one in left.items() if (one.cut or 0) >= SHRUNK}
    if cut:
        shares = _listed(cut, lambda one: f"{100 * (one.cut or 0):.0f} %")
        notes.append(
            f"the crop cuts off a quarter or more of the target in "
            f"{_cases(len(cut), len(targets))} ({shares})"
        )
    if dropped:
        notes.append(
            f"left out, because nothing of the target is left on the grid: "
            f"{_cases(len(dropped), len(targets) + len(dropped))} "
            f"({_listed(dropped, lambda one: _ml(one.file_ml))})"
        )
    return notes


@dataclass(frozen=True)
class Ceiling:
    """How well the label of a scan, brought to the grid and back, agrees with itself."""

    dice: float
    hd95_mm: float


def ceiling_in_words(cases: Mapping[str, Ceiling]) -> str:
    """A sentence on the best scores that the grid allows on the scans; "" without any case."""
    if not cases:
        return ""
    low = min(cases, key=lambda case: cases[case].dice)
    far = max(cases, key=lambda case: cases[case].hd95_mm)
    dice = statistics.mean(one.dice for one in cases.values())
    hd95_mm = statistics.median(one.hd95_mm for one in cases.values())
    return (
        f"ceiling of the grid, a label brought to it and back to its scan: Dice {100 * dice:.1f} % "
        f"in the mean ({100 * cases[low].dice:.1f} % in {low}), HD95 {hd95_mm:.2g} mm in the "
        f"median ({cases[far].hd95_mm:.2g} mm in {far})"
    )


def shown(targets: Mapping[str, Mapping[str, Target]]) -> list[str]:
    """Return lines for a person on each target (name -> case -> target), see `_shown`."""
    named = len(targets) > 1
    return [
        f"{name}: {line}" if named else line
        for name, cases in targets.items()
        for line in _shown(cases)
    ]


def _shown(targets: Mapping[str, Target]) -> list[str]:
    """Return lines for a person: targets that lost a quarter or more, worst first, and the sum."""
    worst = sorted(targets, key=lambda case: (-targets[case].lost, case))
    lost = [case for case in worst if targets[case].lost >= SHRUNK]
    lines = [f"target of {case}: {targets[case].shown}" for case in lost[:LINES]]
    if len(lost) > LINES:
        lines.append(f"{more(len(lost) - LINES)}: --json lists all")
    return [*lines, total(targets)] if targets else []


def total(targets: Mapping[str, Target]) -> str:
    """Return one line on all targets: "target: 840 ml in 41 parts, on the grid 820 ml in 40"."""
    every = targets.values()
    file_ml, grid_ml = sum(one.file_ml for one in every), sum(one.grid_ml for one in every)
    file_parts, grid_parts = sum(x.file_parts for x in every), sum(x.grid_parts for x in every)
    without = sum(one.file_ml == 0 for one in every)
    empty = f"; {_cases(without, len(targets))} without target" if without else ""
    return (
        f"target: {_ml(file_ml)} in {counted(file_parts, 'part')}, on the grid {_ml(grid_ml)} in "
        f"{grid_parts}{empty}"
    )


def _listed(targets: Mapping[str, Target], shown: Callable[[Target], str]) -> str:
    """Return the first few cases with a word on each."""
    worst = sorted(targets, key=lambda case: (-targets[case].lost, case))
    return listed((f"{case}: {shown(targets[case])}" for case in worst), LISTED, "; ")


def _cases(some: int, of: int) -> str:
    return f"{some} of {counted(of, 'case')}"


def _ml(volume: float) -> str:
    return f"{volume:.3g} ml"
