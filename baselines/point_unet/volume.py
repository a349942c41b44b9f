"""From classified points back to a mask of the volume.

Ho et al., arXiv:2203.08964: a voxel that was not sampled is background; small islands and
threads that this leaves are removed by an opening.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from baselines.point_unet.sampling import Indices

# The 3x3 squares of the three planes through a voxel: a cube without its eight corners.
SQUARES = ndimage.generate_binary_structure(3, 2)

Value = TypeVar("Value", bound=np.generic)


def scatter_to_volume(
    values: NDArray[Value], indices: Indices, shape: Sequence[int]
) -> NDArray[Value]:
    """`values` (N,) at the flat `indices` of a volume (D, H, W) that is zero elsewhere."""
    volume = np.zeros(tuple(shape), dtype=values.dtype)
    volume.flat[indices] = values
    return volume


def open_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a cube without corners, 3 voxels wide, can cover without leaving `mask` (D, H, W).

    Erosion, then dilation; what lies outside the volume counts as background.
    """
    return ndimage.binary_opening(mask, SQUARES)
