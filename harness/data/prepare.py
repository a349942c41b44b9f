"""The paper's preprocessing (Sec. IV-A): from a scan to a volume on the benchmark's grid.

    crop and resample ─► 128 x 192 x 192 ─► intensities 0 to 1 ─► mean of blocks of `reduce`

Labels follow with nearest neighbours; a block is target where at least half of it is. Minimum and
maximum are those of each modality of each volume on the paper's grid, before blocks are averaged,
so that a reduced volume is the paper's volume seen from further away.
"""

from collections.abc import Callable

import numpy as np

from harness.data.case import Grid, Scan, Spacing, Volume
from harness.data.grid import PAPER_GRID, centred, cubic, linear, nearest, stretched, unit_range
from harness.data.lowres import block_mean
from harness.errors import DataError

LIVER_SPACING_MM = 1.5

REGIONS: dict[str, tuple[int, ...]] = {
    "wt": (1, 2, 3, 4),  # whole tumour; 3 was part of the core until 2016, and the rim since 2023
    "tc": (1, 4),
    "et": (4,),
    "liver": (1,),
}


def brats(scan: Scan, target: str, reduce: Grid, case: str) -> Volume:
    """In-plane 240 -> 192 by cutting 24 voxels from each end, slices 155 -> 128 by resampling."""
    depth, height, width = PAPER_GRID
    slices, rows, columns = scan.label.shape
    z, y, x = stretched(slices, depth), centred(rows, height), centred(columns, width)
    image = linear(linear(linear(scan.image, 3, x), 2, y), 1, z)
    label = nearest(nearest(nearest(scan.label, 2, x), 1, y), 0, z)
    z_mm, y_mm, x_mm = scan.spacing_mm
    return finish(case, image, _region(label, target), (z_mm * slices / depth, y_mm, x_mm), reduce)


def liver(scan: Scan, target: str, reduce: Grid, case: str) -> Volume:
    """1.5 mm: the central 192 x 192 in-plane, and of the slices with liver the central 128.

    The image by cubic B-splines. Raises DataError when no slice has any liver.
    """
    depth, height, width = PAPER_GRID
    steps = [LIVER_SPACING_MM / spacing for spacing in scan.spacing_mm]
    slices, rows, columns = scan.label.shape
    y, x = centred(rows, height, steps[1]), centred(columns, width, steps[2])
    z = centred(slices, max(1, round(slices / steps[0])), steps[0])
    mask = _region(nearest(nearest(nearest(scan.label, 2, x), 1, y), 0, z), target)
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(used):
        raise DataError(
            "no liver in the central part of the volume",
            where=case,
            remedy="leave this case out, or check which label is the liver",
            code="PFB-V25",
        )
    chosen = nearest(used, 0, centred(len(used), depth), fill=-1)
    z = np.where(chosen >= 0, z[chosen], -1)
    mask = mask[chosen] & (chosen >= 0)[:, None, None]
    channels = [_liver_image(channel, (z, y, x)) for channel in scan.image]
    return finish(case, np.stack(channels), mask, (LIVER_SPACING_MM,) * 3, reduce)


def _liver_image(channel: np.ndarray, positions: tuple[np.ndarray, ...]) -> np.ndarray:
    """(D, H, W) at `positions`; outside the scan it is as dark as the scan's darkest voxel.

    Splines overshoot at sharp edges; what leaves the range of the scan is brought back to it.
    """
    low, high = float(channel.min()), float(channel.max())
    for axis in (2, 1, 0):
        channel = cubic(channel, axis, positions[axis], fill=low)
    return np.clip(channel, low, high)


def phantom(scan: Scan, target: str, reduce: Grid, case: str) -> Volume:
    """Made on its grid, `reduce` included: only intensities and region are left to do."""
    return finish(case, scan.image, _region(scan.label, target), scan.spacing_mm, (1, 1, 1))


def _region(label: np.ndarray, target: str) -> np.ndarray:
    """(D, H, W) bool: where the label is one of the target's."""
    wanted = np.zeros(256, bool)
    wanted[list(REGIONS[target])] = True
    return wanted[label]


def finish(
    case: str, image: np.ndarray, mask: np.ndarray, spacing_mm: Spacing, reduce: Grid
) -> Volume:
    """Intensities to 0..1, then blocks to their mean; labels of a half and more are 1."""
    label = block_mean(mask, reduce) >= 0.5 - 1e-6  # thirds and sevenths are not exact
    z, y, x = (mm * factor for mm, factor in zip(spacing_mm, reduce, strict=True))
    reduced = np.clip(block_mean(unit_range(image), reduce), 0, 1)
    return Volume(case, reduced, label.astype(np.uint8), (z, y, x))


Recipe = Callable[[Scan, str, Grid, str], Volume]
RECIPES: dict[str, Recipe] = {"brats": brats, "liver": liver, "phantom": phantom}
