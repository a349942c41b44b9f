"""The paper's preprocessing (Sec. IV-A): from a scan to a volume on the benchmark's grid.

    crop and resample ─► 128 x 192 x 192 ─► intensities 0 to 1 ─► mean of blocks of `reduce`

Labels follow with nearest neighbours; a block is target where at least half of it is. Minimum and
maximum are those of each modality of each volume on the paper's grid, before blocks are averaged,
so that a reduced volume is the paper's volume seen from further away.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from harness.data.case import PAPER_GRID, Grid, Scan, Spacing, Volume
from harness.data.grid import centred, cubic, linear, nearest, stretched, unit_range
from harness.data.intensity import Ends
from harness.data.lowres import block_mean
from harness.errors import DataError

LIVER_SPACING_MM = 1.5
SAME_SIZE = 1e-5  # of a voxel: what headers and rounded settings differ by

Positions = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Where the paper's voxels lie on each axis (z, y, x) of a scan, in voxels of the scan."""


def brats(scan: Scan, labels: Sequence[int], reduce: Grid, case: str) -> Volume:
    """In-plane 240 -> 192 by cutting 24 voxels from each end, slices 155 -> 128 by resampling."""
    positions = brats_positions(_grid(scan.label))
    image = brats_image(scan.image, positions)
    z_mm, y_mm, x_mm = scan.spacing_mm
    spacing_mm = (z_mm * len(scan.label) / PAPER_GRID[0], y_mm, x_mm)
    mask = region(covering(scan.label, positions), labels)
    made = finish(case, image, mask, spacing_mm, reduce, scan.ends)
    return replace(made, cut=cut_off(region(scan.label, labels), positions))


def brats_positions(shape: Grid) -> Positions:
    """All slices of a scan of `shape` (D, H, W) on 128, its central 192 x 192 in-plane."""
    depth, height, width = PAPER_GRID
    slices, rows, columns = shape
    return stretched(slices, depth), centred(rows, height), centred(columns, width)


def brats_image(image: np.ndarray, positions: Positions) -> np.ndarray:
    """(C, D, H, W) of a scan at `positions`, by linear interpolation."""
    z, y, x = positions
    return linear(linear(linear(image, 3, x), 2, y), 1, z)


def liver(scan: Scan, labels: Sequence[int], reduce: Grid, case: str) -> Volume:
    """1.5 mm: the central 192 x 192 in-plane, and of the slices with liver the central 128.

    The image by cubic B-splines. Raises DataError for a scan without any liver; where all of it
    lies outside of the central part, the label is empty.
    """
    planes = max(1, round(len(scan.label) / (LIVER_SPACING_MM / scan.spacing_mm[0])))
    z, y, x = liver_positions(_grid(scan.label), scan.spacing_mm, planes)
    mask = region(covering(scan.label, (z, y, x)), labels)
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(used) and region(scan.label, labels).any():
        used = np.arange(planes)
    if not len(used):
        raise DataError(
            "no liver in the volume",
            where=case,
            remedy="leave this case out, or check which label is the liver",
            code="PFB-V25",
        )
    chosen = nearest(used, 0, centred(len(used), PAPER_GRID[0]), fill=-1)
    cut = cut_off(region(scan.label, labels), (z[chosen[chosen >= 0]], y, x))
    z = np.where(chosen >= 0, z[chosen], -1)
    mask = mask[chosen] & (chosen >= 0)[:, None, None]
    image = liver_image(scan.image, (z, y, x))
    made = finish(case, image, mask, (LIVER_SPACING_MM,) * 3, reduce, scan.ends)
    return replace(made, cut=cut)


def liver_positions(shape: Grid, spacing_mm: Spacing, planes: int) -> Positions:
    """`planes` x 192 x 192 positions, 1.5 mm apart, around the middle of a scan of `shape`."""
    _, height, width = PAPER_GRID
    steps = [LIVER_SPACING_MM / mm for mm in spacing_mm]
    z, y, x = map(centred, shape, (planes, height, width), steps)
    return z, y, x


def liver_image(image: np.ndarray, positions: Positions) -> np.ndarray:
    """(C, D, H, W) of a scan at `positions`; outside it as dark as its darkest voxel.

    Splines overshoot at sharp edges; what leaves the range of the scan is brought back to it.
    """
    return _each(image, positions, _spline)


def _each(
    image: np.ndarray,
    positions: Positions,
    resample: Callable[[np.ndarray, Positions], np.ndarray],
) -> np.ndarray:
    """(C, D, H, W): every channel at `positions`; of a scan without channels there is none."""
    made = np.empty((len(image), *map(len, positions)), np.float32)
    for channel, place in zip(image, made, strict=True):
        place[...] = resample(channel, positions)
    return made


def _spline(channel: np.ndarray, positions: Positions) -> np.ndarray:
    low, high = float(channel.min()), float(channel.max())
    for axis in (2, 1, 0):
        channel = cubic(channel, axis, positions[axis], fill=low)
    return np.clip(channel, low, high)


def whole(scan: Scan, labels: Sequence[int], reduce: Grid, case: str) -> Volume:
    """Prepare all of a scan, undistorted: in the smallest cubic voxels with which it fits the grid.

    Nothing is cut off, so that no target can be lost; what the grid has beyond the scan is as
    dark as the scan's darkest voxel. The image by linear interpolation.
    """
    positions = whole_positions(_grid(scan.label), scan.spacing_mm)
    mask = region(covering(scan.label, positions), labels)
    side_mm = whole_voxel_mm(_grid(scan.label), scan.spacing_mm)
    image = whole_image(scan.image, positions)
    made = finish(case, image, mask, (side_mm,) * 3, reduce, scan.ends)
    return replace(made, cut=0.0)


def whole_voxel_mm(shape: Grid, spacing_mm: Spacing) -> float:
    """Side of the cubic voxels with which a scan of `shape` fits the paper's grid."""
    extents = (n * mm / side for n, mm, side in zip(shape, spacing_mm, PAPER_GRID, strict=True))
    return max(extents)


def whole_positions(shape: Grid, spacing_mm: Spacing) -> Positions:
    """The paper's grid around the middle of a scan of `shape`."""
    side_mm = whole_voxel_mm(shape, spacing_mm)
    steps = [side_mm / mm for mm in spacing_mm]
    z, y, x = map(_around_the_middle, shape, PAPER_GRID, steps)
    return z, y, x


def whole_image(image: np.ndarray, positions: Positions) -> np.ndarray:
    """(C, D, H, W) of a scan at `positions`; outside it as dark as its darkest voxel."""
    return _each(image, positions, _linear)


def _linear(channel: np.ndarray, positions: Positions) -> np.ndarray:
    low = float(channel.min())
    for axis in (2, 1, 0):
        channel = linear(channel, axis, positions[axis], fill=low)
    return channel


def fitted(
    scan: Scan,
    labels: Sequence[int],
    reduce: Grid,
    case: str,
    *,
    grid: Grid,
    voxel_mm: Spacing,
) -> Volume:
    """Prepare all of a scan amid `grid`, a voxel of `voxel_mm` the mean of `reduce` places.

    Of a scan that is larger than the grid the voxels are as much larger on all axes as it takes;
    nothing is cut off. The image by linear interpolation; what the grid has beyond the scan is as
    dark as the scan's darkest voxel.
    """
    shape = _grid(scan.label)
    positions = fitted_positions(shape, scan.spacing_mm, grid, voxel_mm, reduce)
    mask = region(covering(scan.label, positions), labels)
    larger = enlargement(shape, scan.spacing_mm, grid, voxel_mm)
    z, y, x = (mm * larger / by for mm, by in zip(voxel_mm, reduce, strict=True))
    image = whole_image(scan.image, positions)
    return replace(finish(case, image, mask, (z, y, x), reduce, scan.ends), cut=0.0)


def enlargement(shape: Grid, spacing_mm: Spacing, grid: Grid, voxel_mm: Spacing) -> float:
    """How many times larger than `voxel_mm` voxels have to be for a scan to fit; at least 1."""
    axes = zip(shape, spacing_mm, grid, voxel_mm, strict=True)
    return max(1.0, *(have * mm / (side * voxel) for have, mm, side, voxel in axes))


def fitted_positions(
    shape: Grid, spacing_mm: Spacing, grid: Grid, voxel_mm: Spacing, blocks: Grid
) -> Positions:
    """`blocks` positions for each voxel of a grid around the middle of a scan of `shape`."""
    larger = enlargement(shape, spacing_mm, grid, voxel_mm)
    z, y, x = (
        _around_the_middle(have, side * by, voxel * larger / by / mm)
        for have, mm, side, voxel, by in zip(shape, spacing_mm, grid, voxel_mm, blocks, strict=True)
    )
    return z, y, x


def _around_the_middle(have: int, count: int, step: float) -> np.ndarray:
    """`count` positions, `step` voxels apart, around the middle of an axis of `have` voxels.

    One voxel apart they are voxels: between two of them an image would be blurred, and its label
    half a voxel off.
    """
    return centred(have, count, 1.0 if math.isclose(step, 1, rel_tol=SAME_SIZE) else step)


def phantom(scan: Scan, labels: Sequence[int], reduce: Grid, case: str) -> Volume:
    """Prepare a phantom, made on its grid, `reduce` included: intensities and region only."""
    mask = region(scan.label, labels)
    return finish(case, scan.image, mask, scan.spacing_mm, (1, 1, 1), scan.ends)


def _grid(label: np.ndarray) -> Grid:
    depth, height, width = label.shape
    return depth, height, width


def covering(label: np.ndarray, positions: Positions) -> np.ndarray:
    """(D, H, W) of a scan at `positions`, each from the voxel that covers it."""
    z, y, x = positions
    return nearest(nearest(nearest(label, 2, x), 1, y), 0, z)


def cut_off(mask: np.ndarray, positions: Positions) -> float:
    """Return the share of `mask` (D, H, W) away from all positions; 0 of an empty mask."""
    all_of_it = np.count_nonzero(mask)
    if not all_of_it:
        return 0.0
    seen = mask[tuple(_near(have, at) for have, at in zip(mask.shape, positions, strict=True))]
    return 1 - float(np.count_nonzero(seen)) / float(all_of_it)


def _near(have: int, positions: np.ndarray) -> slice:
    """Return which of `have` voxels of an axis lie between its positions, or half a step beyond."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1) if len(positions) > 1 else 1.0
    beyond = max(step, 1.0) / 2
    first = max(0, math.ceil(positions[0] - beyond))
    return slice(first, min(have, math.floor(positions[-1] + beyond) + 1))


def region(label: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """(D, H, W) bool: where the label is one of the target's."""
    found = np.zeros(label.shape, bool)
    for value in labels:
        found |= label == value
    return found


def finish(
    case: str,
    image: np.ndarray,
    mask: np.ndarray,
    spacing_mm: Spacing,
    reduce: Grid,
    ends: Sequence[Ends] = (),
) -> Volume:
    """Intensities to 0..1, then blocks to their mean; labels of a half and more are 1.

    `ends` are those of the scan, see `Scan`.
    """
    label = majority(mask, reduce).astype(np.uint8)
    z, y, x = (mm * factor for mm, factor in zip(spacing_mm, reduce, strict=True))
    return Volume(case, intensities(image, reduce, ends), label, (z, y, x))


def majority(mask: np.ndarray, reduce: Grid) -> np.ndarray:
    """(D, H, W) on the paper's grid -> bool, where half of a block or more is target."""
    return block_mean(mask, reduce) >= 0.5 - 1e-6  # thirds and sevenths are not exact


def intensities(image: np.ndarray, reduce: Grid, ends: Sequence[Ends] = ()) -> np.ndarray:
    """(C, D, H, W) on the paper's grid -> each modality in 0..1, then the mean of its blocks."""
    means = block_mean(unit_range(image, ends), reduce)
    return np.clip(means, 0, 1, out=means)
