"""The two networks of Point-Unet and the cloud that passes between them.

    image ─► saliency ─► region ─┐
      └──────────────────────────┴─► cloud ─► points ─► class of each point
                                     (CPU)

They are trained one after the other: the saliency network on volumes, then the point network
on clouds around the ground truth. Ho et al., arXiv:2203.08964.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.point_unet.neighbours import RATIOS, PointPyramid
from baselines.point_unet.randla import DIMS, RandLANet
from baselines.point_unet.sampling import Indices, context_aware_sample, point_features
from baselines.san import SAN


class PointCloud(NamedTuple):
    """The points of one volume, ready for the point network."""

    indices: Indices  # (N,) flat voxels of (D, H, W)
    features: Tensor  # (N, 3 + C)
    pyramid: PointPyramid


class PointUNet(nn.Module):
    """`saliency` finds the region, `points` classifies the cloud that is sampled from it.

    `san_width` and `dims` are the widths of the two; `ratios` says by how much each layer
    of the point network thins the cloud. Raises ValueError when there are not as many as `dims`.
    `momentum` is that of its batch norm: 0.01 as published needs hundreds of steps to settle.
    Of one target the point network has two classes, background and target, as published; of K
    targets, which may overlap, K logits, each of target or not.
    """

    def __init__(
        self,
        modalities: int = 1,
        san_width: int = 16,
        dims: Sequence[int] = DIMS,
        ratios: Sequence[int] = RATIOS,
        momentum: float = 0.01,
        targets: int = 1,
    ) -> None:
        super().__init__()
        self.saliency = SAN(modalities, san_width, targets)
        self.points = RandLANet(3 + modalities, 2 if targets == 1 else targets, dims, ratios)
        for layer in self.points.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = momentum
        self.ratios, self.k = self.points.ratios, self.points.k

    def cloud(
        self,
        image: NDArray[np.floating],
        region: NDArray[np.bool_],
        n_points: int,
        rng: np.random.Generator,
        workers: int = 1,
    ) -> PointCloud:
        """image (C, D, H, W), region (D, H, W) -> `n_points` points on the CPU."""
        indices = context_aware_sample(image, region, n_points, rng)
        features = point_features(image, indices)
        pyramid = self.points.pyramid(features[:, :3], workers)
        return PointCloud(indices, torch.from_numpy(features), pyramid)

    def forward(self, features: Tensor, pyramid: PointPyramid) -> Tensor:
        """The second step, on a cloud: (N, 3 + modalities) -> logits (N, 2); (N, K) for K > 1."""
        return self.points(features, pyramid)
