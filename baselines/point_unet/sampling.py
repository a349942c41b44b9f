"""Which voxels become points: all of the region, and others at random until N are reached.

Ho et al., arXiv:2203.08964, context-aware sampling; the region is the ground truth in
training and the saliency network's answer at test. They do not say what becomes of a region
larger than the cloud: here a part of it at random, beside a tenth of background, without which
there would be nothing to tell the target from. Axes: (C, D, H, W); points are flat indices into
(D, H, W), in C order.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
BACKGROUND = 10  # one point in so many, at least, is outside of the region


def room(n_points: int) -> int:
    """The largest region, in voxels, that is in a cloud of `n_points` as a whole."""
    return n_points - n_points // BACKGROUND


def context_aware_sample(
    image: NDArray[np.floating], region: NDArray[np.bool_], n_points: int, rng: np.random.Generator
) -> Indices:
    """`n_points` voxels in random order: all of `region`, and candidates outside to fill up.

    Candidates are the voxels where any modality of `image` (C, D, H, W) is not zero, or every
    voxel of an image that is zero throughout. Of a region larger than `room` so many voxels are
    drawn at random, more only where there are not enough candidates outside. A voxel occurs twice
    only when there are fewer voxels to take than points; each then occurs at least once.

    Raises ValueError when `region` (D, H, W) is on another grid or `n_points` is below 1.
    """
    if region.shape != image.shape[1:]:
        raise ValueError(f"the region's grid {region.shape} is not the image's {image.shape[1:]}")
    if n_points < 1:
        raise ValueError(f"a cloud needs at least one point, not {n_points}")
    inside = np.flatnonzero(region)
    candidates = _candidates(image)
    outside = candidates[~region.ravel()[candidates]]
    kept = _draw(inside, max(room(n_points), n_points - len(outside)), rng)
    others = _draw(outside, n_points - len(kept), rng)
    both = np.concatenate([inside, outside])
    repeats = rng.choice(both, n_points - len(kept) - len(others))
    return rng.permutation(np.concatenate([kept, others, repeats]))


def _candidates(image: NDArray[np.floating]) -> Indices:
    found = np.flatnonzero((image != 0).any(axis=0))
    return found if len(found) else np.arange(image[0].size)


def _draw(voxels: Indices, most: int, rng: np.random.Generator) -> Indices:
    """All of `voxels`, or `most` of them without repetition."""
    if len(voxels) <= most:
        return voxels
    return rng.choice(voxels, most, replace=False, shuffle=False)


def point_features(image: NDArray[np.floating], indices: Indices) -> NDArray[np.float32]:
    """What the point network reads of each voxel: (z/D, y/H, x/W, intensities), (N, 3 + C)."""
    channels, *sides = image.shape
    places = np.stack(np.unravel_index(indices, sides), axis=1) / np.array(sides)
    intensities = image.reshape(channels, -1)[:, indices].T
    return np.concatenate([places, intensities], axis=1).astype(np.float32)
