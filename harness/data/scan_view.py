"""An unlabelled scan as a network sees it, and the way back to the scan's own voxels.

    scan ── as in training ──► the paper's voxels ── blocks of 128 slices ──► images
    scan ◄── nearest, linear ── stack of answers ◄── mean where blocks overlap ── answers

BraTS, and the phantom in its layout, is one block, as in training. A liver network was trained on
slices that a label says have liver; a new scan has no label, so as many blocks as it takes, evenly
spread, cover all of its slices. A scan too short for one block lies in the middle of it. As in
training each block has intensities of its own, from its darkest voxel to its brightest.

The paper's voxels are evenly spaced along each axis of the scan, so the way back is one factor and
one offset per axis.
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
    fitted_positions,
    intensities,
    liver_image,
    liver_positions,
    whole_image,
    whole_positions,
)
from harness.data.reading import PAPERS, View


@dataclass(frozen=True, eq=False)
class ScanView:
    """The images of one scan that a network sees, and their places in the scan.

    Answers for the images, one on top of the other, make a stack; blocks may overlap in it.
    """

    images: Sequence[np.ndarray]  # each (C, D, H, W) float32 in [0, 1]
    starts: tuple[int, ...]  # in the stack: the first slice of each image
    places: Positions  # in voxels of the stack: each slice, row and column of the scan

    def mask(self, masks: Sequence[np.ndarray]) -> np.ndarray:
        """Turn one mask (D, H, W) for each image into the scan's mask, (D, H, W) uint8, 0 or 1.

        Where blocks overlap, half of them suffice. A voxel of the scan is what the voxel is that
        covers it, and 0 where the network saw nothing.
        """
        answer = self._stack(masks) >= 0.5
        for axis, places in enumerate(self.places):
            answer = nearest(answer, axis, places)
        return answer.astype(np.uint8)

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


def view_of(
    image: np.ndarray, spacing_mm: Spacing, dataset: str, reduce: Grid, view: View = PAPERS
) -> ScanView:
    """Show a scan (C, D, H, W) as a network trained on `dataset` reduced by `reduce` sees it.

    `view` is that of the training. An image that lies where one of it lay is that image, bit for
    bit.
    """
    image, ends = clipped(image, view.limits)
    if view.grid:
        whole, positions = _on_grid(image, spacing_mm, view)
        images = [intensities(whole, view.blocks, ends)]
        z, y, x = map(_places, image.shape[1:], positions, view.blocks)
        return ScanView(images, (0,), (z, y, x))
    whole, positions = _WHOLE[dataset](image, spacing_mm, reduce[0])
    block = PAPER_GRID[0] // reduce[0]
    starts = _spread(whole.shape[1] // reduce[0], block)
    images = [
        intensities(whole[:, start * reduce[0] :][:, : PAPER_GRID[0]], reduce, ends)
        for start in starts
    ]
    z, y, x = map(_places, image.shape[1:], positions, reduce)
    return ScanView(images, starts, (z, y, x))


def _brats(image: np.ndarray, spacing_mm: Spacing, thickness: int) -> tuple[np.ndarray, Positions]:
    _, slices, rows, columns = image.shape
    positions = brats_positions((slices, rows, columns))
    return brats_image(image, positions), positions


def _liver(image: np.ndarray, spacing_mm: Spacing, thickness: int) -> tuple[np.ndarray, Positions]:
    """Resample all slices, extended to one block or more and to a multiple of `thickness`."""
    _, slices, rows, columns = image.shape
    needed = math.ceil(slices * spacing_mm[0] / LIVER_SPACING_MM / thickness) * thickness
    planes = max(PAPER_GRID[0], needed)
    positions = liver_positions((slices, rows, columns), spacing_mm, planes)
    return liver_image(image, positions), positions


def _entire(image: np.ndarray, spacing_mm: Spacing, thickness: int) -> tuple[np.ndarray, Positions]:
    _, slices, rows, columns = image.shape
    positions = whole_positions((slices, rows, columns), spacing_mm)
    return whole_image(image, positions), positions


def _on_grid(image: np.ndarray, spacing_mm: Spacing, view: View) -> tuple[np.ndarray, Positions]:
    """Resample all of a scan on a grid that is not the paper's."""
    _, slices, rows, columns = image.shape
    grid = view.grid or PAPER_GRID
    shape = (slices, rows, columns)
    positions = fitted_positions(shape, spacing_mm, grid, view.voxel_mm, view.blocks)
    return whole_image(image, positions), positions


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


Whole = Callable[[np.ndarray, Spacing, int], tuple[np.ndarray, Positions]]
_WHOLE: dict[str, Whole] = {"brats": _brats, "phantom": _brats, "liver": _liver, "folder": _entire}


def _spread(length: int, block: int) -> tuple[int, ...]:
    """Return the starts of the fewest blocks that cover `length`, two of them at its ends."""
    count = math.ceil(length / block)
    return tuple(round(start) for start in np.linspace(0, length - block, count))


def _places(have: int, positions: np.ndarray, reduce: int) -> np.ndarray:
    """Return the place of each of `have` voxels among `positions`, in blocks of `reduce` each."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    return ((np.arange(have) - positions[0]) / step + 0.5) / reduce - 0.5
