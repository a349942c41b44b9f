"""Who is near whom in a cloud of points, and in each of its thinned copies.

    level 0    N points, shuffled                 neighbours (N, k)      upsample (N,)
    level 1    the first N / ratio of them        neighbours (n, k)      upsample (n,)
    ...
    last       the deepest: positions only, as no layer works on it

Hu et al., RandLA-Net, arXiv:1911.11236: because the points are shuffled, keeping the first of
them is a random sub-sampling. Built on the CPU by k-d trees; exact, and the same every time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

RATIOS = (4, 4, 4, 4, 2)  # arXiv:2203.08964, authors' code
NEIGHBOURS = 16  # arXiv:1911.11236


class PointPyramid(NamedTuple):
    """A cloud and its thinned copies; level l + 1 is the first part of level l."""

    positions: tuple[Tensor, ...]  # of L + 1 levels, each (n, 3)
    neighbours: tuple[Tensor, ...]  # of L levels, (n, k): the nearest of the same level
    upsample: tuple[Tensor, ...]  # of L levels, (n,): the nearest of the next level

    def to(self, device: torch.device | str) -> "PointPyramid":
        return PointPyramid(*(tuple(t.to(device) for t in field) for field in self))


def build_pyramid(
    positions: NDArray[np.floating],
    ratios: Sequence[int] = RATIOS,
    k: int = NEIGHBOURS,
    workers: int = 1,
) -> PointPyramid:
    """The pyramid of shuffled `positions` (N, 3), one level for each of `ratios`.

    The nearest neighbours of a point include itself, and there are fewer than `k` of them on
    a level with fewer than `k` points. A level always keeps at least one point. `workers`:
    threads for the search, -1 for all cores; they do not change the result.

    Raises ValueError when `positions` is empty or not (N, 3).
    """
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise ValueError(f"positions must be (N, 3) with N >= 1, not {positions.shape}")
    counts = [len(positions)]
    for ratio in ratios:
        counts.append(max(1, counts[-1] // ratio))
    levels = [np.ascontiguousarray(positions[:count], dtype=np.float32) for count in counts]
    trees = [cKDTree(level) for level in levels]

    def nearest(finer: int, coarser: int, most: int) -> Tensor:
        ranks = list(range(1, min(most, counts[coarser]) + 1))
        found = trees[coarser].query(levels[finer], k=ranks, workers=workers)[1]
        return torch.from_numpy(found.astype(np.int64))

    depth = range(len(ratios))
    return PointPyramid(
        positions=tuple(torch.from_numpy(level) for level in levels),
        neighbours=tuple(nearest(level, level, k) for level in depth),
        upsample=tuple(nearest(level, level + 1, 1)[:, 0] for level in depth),
    )
