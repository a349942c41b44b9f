"""Choose, from the training cases, how all scans of a data set are seen.

Nothing is asked of the test cases: they are seen as the training cases were.
"""

import contextlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import intensity
from harness.data.case import PAPER_GRID, Case, Grid, Spacing
from harness.data.ingest import Job, content_key, sampled
from harness.data.nifti import outline
from harness.data.reading import UNIT, Limits, Reading, View
from harness.errors import DataError

SMALLEST = 2 * UNIT**3  # voxels: a grid below which not every system can be trained
STEP = 1.02  # by which voxels grow until the grid is small enough
ROUNDING = 1e-6  # of a side: an extent that fits exactly fits
PAPERS_OWN = ("brats", "liver", "phantom")  # seen as the paper sees them unless asked otherwise


@dataclass(frozen=True)
class Sizes:
    """The medians of the training cases' headers: shape, extent and spacing."""

    shape: Grid  # voxels (D, H, W), rounded
    extent_mm: Spacing
    spacing_mm: Spacing
    cases: int


def sizes(examples: Sequence[Job]) -> Sizes | None:
    """Return median sizes of the scans, by their headers; None where no header can be read."""
    found = []
    for job in examples:
        if isinstance(job.source, Case):
            with contextlib.suppress(DataError):  # its faults are told when it is read whole
                found.append(outline(job.source.label, job.view.unoriented))
    if not found:
        return None
    shapes, spacings = (np.array(column, float) for column in zip(*found, strict=True))
    d, h, w = (round(side) for side in np.median(shapes, axis=0))
    extents = _three(np.median(shapes * spacings, axis=0))
    return Sizes((d, h, w), extents, _three(np.median(spacings, axis=0)), len(found))


def view(reading: Reading, reduce: Grid, known: Sizes) -> View:
    """Return the view with its grid and voxel size, asked for or chosen: never finer than the data.

    The grid holds a scan of median extent in sides that every system can take, with no more voxels
    than the paper's grid has, divided by the profile's reduction: 128 x 192 x 192, and in profile
    quick a 36th of it.
    """
    bound = math.prod(PAPER_GRID) // math.prod(reduce)
    voxel = reading.spacing or known.spacing_mm
    if isinstance(reading.grid, tuple):
        grid = reading.grid
        if not reading.spacing:
            axes = zip(voxel, known.extent_mm, grid, strict=True)
            voxel = _three([max(mm, extent / side) for mm, extent, side in axes])
    else:
        grid = _sides(known.extent_mm, voxel)
        while not reading.spacing and math.prod(grid) > max(bound, SMALLEST):
            voxel = _coarser(voxel)
            grid = _sides(known.extent_mm, voxel)
    z, y, x = (max(1, round(mm / own)) for mm, own in zip(voxel, known.spacing_mm, strict=True))
    return View(unoriented=reading.unoriented, grid=grid, voxel_mm=voxel, blocks=(z, y, x))


def _sides(extent_mm: Spacing, voxel_mm: Spacing) -> Grid:
    """Return the smallest sides that every system can take and that hold the extent."""
    needed = [extent / voxel / UNIT for extent, voxel in zip(extent_mm, voxel_mm, strict=True)]
    sides = [UNIT * max(1, math.ceil(need - ROUNDING)) for need in needed]
    if max(sides) == UNIT:
        sides[int(np.argmax(needed))] *= 2
    d, h, w = sides
    return d, h, w


def _coarser(voxel_mm: Spacing) -> Spacing:
    """Enlarge the voxel by one step: the finest axes first; once all are alike, all axes."""
    finest = min(voxel_mm)
    return _three([mm * STEP if mm < finest * STEP**2 else mm for mm in voxel_mm])


def _three(values: Iterable[float]) -> Spacing:
    """Round three values to six digits, which are finer than any scanner's."""
    z, y, x = (float(f"{value:.6g}") for value in values)
    return z, y, x


def told(chosen: View, known: Sizes, reading: Reading) -> str:
    """Return a sentence on the chosen grid, its source, and the meaning of "full resolution"."""
    grid = "x".join(map(str, chosen.grid or ()))
    by_hand = isinstance(reading.grid, tuple) or reading.spacing is not None
    how = "as asked for" if by_hand else "chosen"
    ratio = max(mm / own for mm, own in zip(chosen.voxel_mm, known.spacing_mm, strict=True))
    means = "that of the data" if ratio < 1.01 else f"up to {ratio:.2g} times coarser than the data"
    return (
        f"grid {grid} voxels of {_by(chosen.voxel_mm)} mm (D x H x W), {how}; {known.cases} "
        f"training cases have {_by(known.shape)} voxels of {_by(known.spacing_mm)} mm in the "
        f"median: full resolution is {means}"
    )


def _by(values: Sequence[float]) -> str:
    return "x".join(f"{value:.3g}" for value in values)


def limits(
    reading: Reading, dataset: str, own_way: bool, modalities: Sequence[str]
) -> tuple[Limits | None, ...]:
    """Return the limits of each modality; None where the targets of training cases decide.

    `own_way`: a plug-in that prepares volumes itself, and scales them, too.
    """
    asked = reading.intensity
    if asked == "auto" and own_way:
        asked = "minmax"
    if asked == "auto":
        others: Limits = "minmax" if dataset in PAPERS_OWN else "robust"
        return tuple(None if intensity.is_ct(name) else others for name in modalities)
    if asked == "foreground":
        return (None,) * len(modalities)
    return (asked,) * len(modalities)


def foreground(
    examples: Sequence[Job], cache: Path, workers: int, tell: Callable[[int], None]
) -> list[intensity.Ends]:
    """Return the percentiles of the targets of all `examples`, for each modality; [] without any.

    What was read of a case is kept in the cache; one that cannot be read is left out here, its
    faults are told elsewhere. `tell` gets the number of cases that are done.
    """
    samples = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        targets = pool.map(lambda job: _target_of(job, cache), examples)
        for done, found in enumerate(targets, 1):
            tell(done)
            if found is not None:
                samples.append(found)
    return [intensity.pooled(channel) for channel in zip(*samples, strict=True)]


def _target_of(job: Job, cache: Path) -> list[list[float]] | None:
    """Return intensities of a case's target in each modality; None where it cannot be read."""
    try:
        path = cache / f"target-{content_key(job)}.json"
    except DataError:
        return None
    try:
        found: list[list[float]] | None = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = sampled(job)
        if found is not None:
            _keep(path, found)
    return found


def _keep(path: Path, content: Any) -> None:
    """Write the file whole or not at all; where writing fails, the case is read again next time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(content).encode())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
