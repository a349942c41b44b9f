"""Five kinds of prediction and truth on the paper's grid, 128 × 192 × 192.

lesion            a brain tumour of 42,000 voxels, Dice 0.88
lesion islands    and three false positives of 440 voxels far away
lesion scattered  and one voxel in two thousand false positive anywhere
liver             640,000 voxels, Dice 0.95
liver noise       and one voxel in five hundred flipped anywhere
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
SHAPE = (128, 192, 192)
SPACING_MM = (155 / 128, 1.0, 1.0)  # BraTS after its 155 slices became 128


def pairs() -> Iterator[tuple[str, Mask, Mask]]:
    """Name, prediction, target; the same at every call."""
    rng = np.random.default_rng(0)
    lesion = _body(rng, (64, 90, 110), 23, roughness=1.0)
    truth = _body(rng, (64, 91, 109), 23, roughness=1.0)
    yield "lesion", lesion, truth
    islands = [(30, 30, 30), (100, 150, 40), (60, 40, 160)]
    yield "lesion islands", lesion | _union(_body(rng, at, 5, 0.5) for at in islands), truth
    yield "lesion scattered", lesion | (rng.random(SHAPE) < 1 / 2000), truth
    liver = _body(rng, (64, 96, 80), 57, roughness=1.7)
    truth = _body(rng, (64, 97, 81), 57, roughness=1.7)
    yield "liver", liver, truth
    yield "liver noise", liver ^ (rng.random(SHAPE) < 1 / 500), truth


def _body(
    rng: np.random.Generator, centre: tuple[int, int, int], radius_mm: float, roughness: float
) -> Mask:
    """A ball whose surface moves in and out by `roughness` mm (standard deviation)."""
    places = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    offsets = zip(places, centre, SPACING_MM, strict=True)
    distance = np.sqrt(sum(((place - middle) * step) ** 2 for place, middle, step in offsets))
    coarse = rng.standard_normal([size // 4 for size in SHAPE])
    relief = ndimage.zoom(ndimage.gaussian_filter(coarse, 1.5), 4, order=1)
    return np.ascontiguousarray(distance + roughness * relief / relief.std() < radius_mm)


def _union(masks: Iterator[Mask]) -> Mask:
    return np.logical_or.reduce(list(masks))
