"""An unlabelled scan as a network sees it, and the way back to the scan's own voxels.

    scan ── as in training ──► the paper's voxels ── blocks of 128 slices ──► images
    scan ◄── nearest, linear ── stack of answers ◄── mean where blocks overlap ── answers

BraTS, and the phantom in its layout, is one block, as in training. A liver network was trained on
slices that a label says have liver; a new scan has no label, so as many blocks as it takes, evenly
spread, cover all of its slices. A scan too short for one block lies in the middle of it. As in
training each block has intensities of its own, from its darkest voxel to its brightest.

The paper's voxels are evenly spaced along each axis of the scan, so the way back is one factor and
one offset per axis. The data set, its reduction and its view decide on the way; together they are
the last three arguments of every function here, see `harness.data.datasets.way`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.case import PAPER_GRID, Grid, Spacing
from harness.data.grid import linear, nearest
from harness.data.intensity import clipped
from harness.data.prepare import (
    LIVER_SPACING_MM,
    Positions,
    brats_image,
    brats_positions,
    covering,
    fitted_positions,
    intensities,
    liver_image,
    liver_positions,
    majority,
    whole_image,
    whole_positions,
)
from harness.data.reading import PAPERS, View


@dataclass(frozen=True, eq=False)
class WayBack:
    """Where the voxels of one scan lie in what a network answers.

    Answers for the images of a scan, one on top of the other, make a stack; blocks may overlap in
    it.
    """

    starts: tuple[int, ...]  # in the stack: the first slice of each image
    places: Positions  # in voxels of the stack: each slice, row and column of the scan

    def mask(self, masks: Sequence[np.ndarray]) -> np.ndarray:
        """Turn one mask (D, H, W) for each image into the scan's mask, (D, H, W) uint8, 0 or 1.

        Where blocks overlap, half of them suffice. A voxel of the scan is what the voxel is that
        covers it, and 0 where the network saw nothing.
        """
        return self.brought(self._stack(masks) >= 0.5).astype(np.uint8)

    def brought(self, stack: np.ndarray) -> np.ndarray:
        """Bring one mask (D, H, W) of the whole stack to the scan, with the values of the stack."""
        for axis, places in enumerate(self.places):
            stack = nearest(stack, axis, places)
        return stack

    def probability(self, probabilities: Sequence[np.ndarray]) -> np.ndarray:
        """Turn one probability (D, H, W) for each image into the scan's, (D, H, W) float32.

        The mean where blocks overlap, interpolated; 0 where the network saw nothing. Brought back
        to 0..1, which the cubic interpolation of ResUNet3D↑ leaves by a little.
        """
        answer = np.clip(self._stack(probabilities), 0, 1)
        for axis, places in enumerate(self.places):
            answer = linear(answer, axis, places)
        return answer

    def _stack(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mean of the answers in each voxel of the stack."""
        depth, *plane = answers[0].shape
        total = np.zeros((self.starts[-1] + depth, *plane), np.float32)
        count = np.zeros((len(total), 1, 1), np.float32)
        for start, answer in zip(self.starts, answers, strict=True):
            total[start : start + depth] += answer
            count[start : start + depth] += 1
        return total / count


@dataclass(frozen=True, eq=False)
class ScanView(WayBack):
    """The images of one scan that a network sees, and the way back from its answers."""

    images: Sequence[np.ndarray]  # each (C, D, H, W) float32 in [0, 1]


def view_of(
    image: np.ndarray, spacing_mm: Spacing, dataset: str, reduce: Grid, view: View = PAPERS
) -> ScanView:
    """Show a scan (C, D, H, W) as a network trained on `dataset` reduced by `reduce` sees it.

    `view` is that of the training. An image that lies where one of it lay is that image, bit for
    bit.
    """
    image, ends = clipped(image, view.limits)
    _, slices, rows, columns = image.shape
    positions, blocks = _positions((slices, rows, columns), spacing_mm, dataset, reduce, view)
    back = way_back((slices, rows, columns), spacing_mm, dataset, reduce, view)
    whole = (whole_image if view.grid else _IMAGES[dataset])(image, positions)
    depth = _depth(reduce, view) * blocks[0]
    images = [
        intensities(whole[:, start * blocks[0] :][:, :depth], blocks, ends) for start in back.starts
    ]
    return ScanView(back.starts, back.places, images)


def way_back(
    shape: Grid, spacing_mm: Spacing, dataset: str, reduce: Grid, view: View = PAPERS
) -> WayBack:
    """Return the way back to a scan of `shape` (D, H, W), of which no voxel need be read."""
    positions, blocks = _positions(shape, spacing_mm, dataset, reduce, view)
    starts = _spread(len(positions[0]) // blocks[0], _depth(reduce, view))
    z, y, x = map(_places, shape, positions, blocks)
    return WayBack(starts, (z, y, x))


def there_and_back(
    mask: np.ndarray, spacing_mm: Spacing, dataset: str, reduce: Grid, view: View = PAPERS
) -> np.ndarray:
    """Bring the mask (D, H, W) bool of a scan to the grid and back: the best a network can do."""
    depth, height, width = mask.shape
    shape = (depth, height, width)
    positions, blocks = _positions(shape, spacing_mm, dataset, reduce, view)
    back = way_back(shape, spacing_mm, dataset, reduce, view)
    return back.brought(majority(covering(mask, positions), blocks))


def _positions(
    shape: Grid, spacing_mm: Spacing, dataset: str, reduce: Grid, view: View
) -> tuple[Positions, Grid]:
    """Return positions in a scan of `shape`, and how many of them a voxel is the mean of."""
    if view.grid:
        found = fitted_positions(shape, spacing_mm, view.grid, view.voxel_mm, view.blocks)
        return found, view.blocks
    return _POSITIONS[dataset](shape, spacing_mm, reduce[0]), reduce


def _depth(reduce: Grid, view: View) -> int:
    """Return the number of slices of one image."""
    return view.grid[0] if view.grid else PAPER_GRID[0] // reduce[0]


def _brats(shape: Grid, spacing_mm: Spacing, thickness: int) -> Positions:
    return brats_positions(shape)


def _liver(shape: Grid, spacing_mm: Spacing, thickness: int) -> Positions:
    """Return positions on all slices, extended to one block and to a multiple of `thickness`."""
    needed = math.ceil(shape[0] * spacing_mm[0] / LIVER_SPACING_MM / thickness) * thickness
    return liver_positions(shape, spacing_mm, max(PAPER_GRID[0], needed))


def _entire(shape: Grid, spacing_mm: Spacing, thickness: int) -> Positions:
    return whole_positions(shape, spacing_mm)


_POSITIONS: dict[str, Callable[[Grid, Spacing, int], Positions]] = {
    "brats": _brats,
    "phantom": _brats,
    "liver": _liver,
    "folder": _entire,
}
_IMAGES: dict[str, Callable[[np.ndarray, Positions], np.ndarray]] = {
    "brats": brats_image,
    "phantom": brats_image,
    "liver": liver_image,
    "folder": whole_image,
}


def reduction(grid: Grid, view: View) -> Grid:
    """Return how many voxels of the paper's grid, per axis, a voxel of `grid` averages.

    On another grid the number is one.
    """
    z, y, x = (
        (1, 1, 1)
        if view.grid
        else (whole // side for whole, side in zip(PAPER_GRID, grid, strict=True))
    )
    return z, y, x


def _spread(length: int, block: int) -> tuple[int, ...]:
    """Return the starts of the fewest blocks that cover `length`, two of them at its ends."""
    count = math.ceil(length / block)
    return tuple(round(start) for start in np.linspace(0, length - block, count))


def _places(have: int, positions: np.ndarray, reduce: int) -> np.ndarray:
    """Return the place of each of `have` voxels among `positions`, in blocks of `reduce` each."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    return ((np.arange(have) - positions[0]) / step + 0.5) / reduce - 0.5
