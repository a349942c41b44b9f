"""Flip, shift and rotate a volume in its axial plane, image and label in the same way.

Each with probability one half (authors' code): a flip of one of the two in-plane axes, a shift of
-12 to 11 voxels of the low grid along each, a turn of 0-359 degrees about z. The authors' code
shifts image and label by different factors and works on its cached arrays in place; here one
map moves both, once, into new arrays.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

LOW = 2  # voxels of the full grid in one of the low grid, along each axis
SHIFT, PLANE = 12, 192  # low-grid voxels of shift in a plane of 192 (Sec. IV-B)


def augment(
    image: np.ndarray,
    label: np.ndarray,
    rng: np.random.Generator,
    shift_voxels: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Augment an image (C, D, H, W) float32 and its label (D, H, W); return new arrays like both.

    `shift_voxels` is the largest shift in voxels of the low grid; None takes the paper's 12 in
    proportion to the plane. What comes from outside is 0; image linear, label nearest.
    """
    matrix = _draw(rng, label.shape[-2:], shift_voxels)
    if matrix is None:
        return image.copy(), label.copy()
    return transform(image, label, matrix)


def transform(
    image: np.ndarray, label: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Resample image and label by `matrix` (2, 3): input (y, x) = matrix @ (output y, output x, 1).

    Coordinates are voxels from the centre of the plane. Where every voxel comes from a whole one
    (flips, shifts, quarter turns), the image is moved without interpolation, too.
    """
    sources = _sources(matrix, label.shape[-2:])
    if all(np.abs(source - np.rint(source)).max() < 1e-6 for source in sources):
        return _nearest(image, sources), _nearest(label, sources)
    return _linear(image, sources), _nearest(label, sources)


def _draw(
    rng: np.random.Generator, plane: tuple[int, ...], shift_voxels: int | None
) -> np.ndarray | None:
    """Draw the matrix of one augmentation, or None for no change; always as many random numbers."""
    flips, shifts, turns = rng.random(3) < 0.5
    axis = int(rng.integers(2))
    spans = [
        max(1, round(SHIFT * extent / PLANE)) if shift_voxels is None else shift_voxels
        for extent in plane
    ]
    offsets = [LOW * int(rng.integers(-span, max(span, 1))) for span in spans]
    angle = math.radians(int(rng.integers(360)))
    if not (flips or shifts or turns):
        return None
    cos, sin = (math.cos(angle), math.sin(angle)) if turns else (1.0, 0.0)
    linear = np.array([[cos, -sin], [sin, cos]])
    if flips:
        linear[axis] *= -1
    translation = np.array(offsets, dtype=float) if shifts else np.zeros(2)
    return np.column_stack([linear, -linear @ translation])


def _sources(matrix: np.ndarray, plane: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column of the input for each voxel of the output, (H, W) each."""
    height, width = plane
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None, :] - (width - 1) / 2
    rows = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2] + (height - 1) / 2
    columns = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2] + (width - 1) / 2
    return rows, columns


def _nearest(volume: np.ndarray, sources: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return (..., H, W): the voxel nearest to each source, 0 outside. One index for all slices."""
    height, width = volume.shape[-2:]
    rows, columns = (np.rint(source).astype(np.intp) for source in sources)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = np.where(inside, rows * width + columns, 0)
    moved = volume.reshape(-1, height * width).take(index.ravel(), axis=1, mode="clip")
    moved *= inside.ravel()
    return moved.reshape(volume.shape)


def _linear(image: np.ndarray, sources: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Interpolate (C, D, H, W) linearly between four voxels, 0 outside; all slices in one 2-D call.

    Eight slices are its channels, which a core's cache holds, and the rest its batch, over which
    PyTorch runs threads.
    """
    slices = torch.from_numpy(np.array(image)).flatten(0, 1)
    together = math.gcd(len(slices), 8)
    stacks = slices.unflatten(0, (-1, together))
    grid = _sampling_grid(sources).expand(len(stacks), -1, -1, -1)
    moved = grid_sample(stacks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.reshape(image.shape).numpy()


def _sampling_grid(sources: tuple[np.ndarray, np.ndarray]) -> Tensor:
    """Convert sources to grid_sample's units and order (x, y): (1, H, W, 2), -1 to 1 per plane."""
    rows, columns = sources
    height, width = rows.shape
    grid = np.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], axis=-1)
    return torch.from_numpy(grid.astype(np.float32))[None]
