"""ResUNet3D↑: the half-size volume goes in, the probability comes out and is interpolated.

    image ─ 2x2x2 mean ─► ResUNet3D ─ sigmoid ─► x2 tricubic ─ >= 0.5 ─► mask
     HR                      LR                     HR

Wang et al., arXiv:2210.14645, Sec. IV-C. The network is `baselines.resunet3d.ResUNet3D`;
this file holds what lies around it. The paper interpolates after Lekien and Marsden (2005);
with central differences their tricubic is the tensor product of Keys' kernel (1981), a = -0.5.
PyTorch has no tricubic interpolation, and its 2-D bicubic has a = -0.75.
Axes: (B, C, D, H, W); d h w is the low grid, D H W = 2d 2h 2w the full one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

# Keys' kernel, a = -0.5, a quarter of a voxel from sample i: weights of i-2, i-1, i, i+1.
# The output at +1/4 has the same weights in reverse order, on i-1 .. i+2.
QUARTER = (-0.0234375, 0.2265625, 0.8671875, -0.0703125)


def low_resolution_label(label: Tensor) -> Tensor:
    """Label of a low voxel: 1 where at least half of its 2x2x2 voxels are target.

    (B, K, D, H, W) of 0 and 1 -> (B, K, d, h, w) float of 0 and 1.
    Raises ValueError when a side is odd.
    """
    if any(side % 2 for side in label.shape[2:]):
        raise ValueError(f"halving needs even sides, not {tuple(label.shape[2:])}")
    return (F.avg_pool3d(label.float(), 2) >= 0.5).float()


def upsample_keys(probability: Tensor) -> Tensor:
    """Twice the grid by tricubic (Keys) interpolation, on half-pixel centres, edges repeated.

    (B, C, d, h, w) -> (B, C, 2d, 2h, 2w). Exact for quadratic intensities away from the
    edges. A cubic overshoots: beside a sharp border the result leaves [0, 1] a little, which
    a threshold does not notice.
    """
    for axis in (2, 3, 4):
        probability = _double(probability, axis)
    return probability


def _double(x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    samples = torch.arange(-2, size + 2, device=x.device).clamp(0, size - 1)
    padded = x.index_select(axis, samples)  # sample i lies at i + 2
    even = _weigh([padded.narrow(axis, j, size) for j in range(4)], QUARTER)
    odd = _weigh([padded.narrow(axis, j + 1, size) for j in range(4)], QUARTER[::-1])
    return torch.stack((even, odd), axis + 1).flatten(axis, axis + 1)


def _weigh(samples: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * samples[0]
    for sample, weight in zip(samples[1:], weights[1:], strict=True):
        total = total + weight * sample
    return total


def upsample_bspline(probability: Tensor) -> Tensor:
    """Twice the grid by a cubic B-spline with aligned corners, on the CPU (authors' code).

    (B, C, d, h, w) -> (B, C, 2d, 2h, 2w) on the input's device. Output i lies at input
    i (d - 1) / (2d - 1): up to half a voxel off the grid that `upsample_keys` writes.
    """
    # "mirror" is what the spline's prefilter assumes; it never reads beyond the corners
    zoomed = [
        ndimage.zoom(channel, 2, order=3, mode="mirror")
        for channel in probability.detach().cpu().numpy().reshape(-1, *probability.shape[2:])
    ]
    result = torch.from_numpy(np.stack(zoomed)).to(probability)
    return result.unflatten(0, probability.shape[:2])
