"""The low-resolution image: the mean of each 2x2x2 block.

Equal to trilinear interpolation by one half with half-pixel centres, so that voxel i of the low
grid is centred on voxels 2i and 2i + 1 of the full one.
"""

import numpy as np


def block_mean(image: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Mean over blocks of `size` of the last three axes: (..., D, H, W) -> (..., D/a, H/b, W/c).

    float32, of blocks of one voxel the image itself. Raises ValueError when a block size does not
    divide its axis.
    """
    grid = image.shape[-3:]
    if any(extent % step for extent, step in zip(grid, size, strict=True)):
        raise ValueError(f"blocks of {size} do not divide the grid {grid}")
    total = np.asarray(image, dtype=np.float32)
    for axis, step in zip((-3, -2, -1), size, strict=True):
        if step > 1:
            total = _sum_of_neighbours(total, axis, step)
    if size != (1, 1, 1):
        total = total / np.float32(np.prod(size))
    return total


def _sum_of_neighbours(image: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Sum neighbours by strides, several times faster than a mean over a reshaped array."""
    parts = [slice(None)] * image.ndim
    total: np.ndarray | None = None
    for first in range(step):
        parts[axis] = slice(first, None, step)
        part = image[tuple(parts)]
        total = part.copy() if total is None else np.add(total, part, out=total)
    if total is None:
        raise ValueError(f"a block needs at least one voxel, not {step}")
    return total


def halve(image: np.ndarray) -> np.ndarray:
    """(C, D, H, W) -> (C, D/2, H/2, W/2), float32. Raises ValueError on an odd axis."""
    return block_mean(image, (2, 2, 2))
