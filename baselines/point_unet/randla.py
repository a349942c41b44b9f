"""RandLA-Net: classifies the points of a cloud from features gathered in its neighbourhoods.

    features ─ 8 ─ layer 32 ───────────────────────────────────────► (+) 32 ─ 64 ─ 32 ─ classes
                   └ thin ─ layer 128 ──────────────────────► (+) 32 ┘ up
                     └ 32     └ thin ─ layer 256 ───► (+) 128 ┘ up
                                └ 128    └ ...  ────────┘ up

    layer    x ─ h ─ aggregate h ─ aggregate d ─ 2d ─ + ─ LReLU           h = d / 2
             └────────────────────────────────── 2d ──┘
    thin     keep the first N / ratio points, each with the maximum over its neighbours
    up       the feature of the nearest point that was kept
    (+)      concatenation with the thinned map of that level (the layer's own map at the first)

Hu et al., arXiv:1911.11236, Sec. 3; the five-layer setting of Ho et al., arXiv:2203.08964.
A port in circulation repeats the centre's own feature where the neighbours' belong; here
they are gathered.
Axes: (N, C), N points; (N, k, C) where a point has k neighbours. Numbers are output channels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.point_unet.neighbours import NEIGHBOURS, RATIOS, PointPyramid, build_pyramid

DIMS = (16, 64, 128, 256, 512)  # arXiv:2203.08964, authors' code
STEM = 8  # arXiv:1911.11236


class PointNorm(nn.BatchNorm1d):
    """Batch norm over all axes but the last; TensorFlow's momentum 0.99 is 0.01 here."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).view_as(x)


class SharedMLP(nn.Sequential):
    """The same linear map, norm and activation for each point: (..., i) -> (..., o)."""

    def __init__(self, inputs: int, outputs: int, activate: bool = True) -> None:
        layers: list[nn.Module] = [nn.Linear(inputs, outputs), PointNorm(outputs)]
        super().__init__(*layers, *([nn.LeakyReLU(0.2)] if activate else []))


class Aggregate(nn.Module):
    """A feature of the neighbourhood: what is there, where it is, and how much it matters."""

    def __init__(self, places: int, channels: int, outputs: int) -> None:
        """`places`: channels of the encoded places; `channels`: of the features and their code."""
        super().__init__()
        self.encode = SharedMLP(places, channels)
        self.score = nn.Linear(2 * channels, 2 * channels, bias=False)
        self.mix = SharedMLP(2 * channels, outputs)

    def forward(self, x: Tensor, places: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, channels), places (N, k, places) -> (N, outputs), (N, k, channels)."""
        code = self.encode(places)
        around = torch.cat([x[neighbours], code], dim=-1)  # (N, k, 2 channels)
        weights = self.score(around).softmax(dim=1)
        return self.mix((weights * around).sum(dim=1)), code


class Layer(nn.Module):
    """Two aggregations in a row, so that a point hears of its neighbours' neighbours."""

    recomputed = True

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.narrow = SharedMLP(inputs, half)
        self.near = Aggregate(10, half, half)
        self.far = Aggregate(half, half, dim)
        self.widen = SharedMLP(dim, 2 * dim, activate=False)
        self.shortcut = SharedMLP(inputs, 2 * dim, activate=False)

    def forward(self, x: Tensor, positions: Tensor, neighbours: Tensor) -> Tensor:
        """x (N, inputs), positions (N, 3), neighbours (N, k) -> (N, 2 dim)."""
        near, code = self.near(self.narrow(x), relative_places(positions, neighbours), neighbours)
        far, _ = self.far(near, code, neighbours)
        return F.leaky_relu(self.widen(far) + self.shortcut(x), 0.2)


def relative_places(positions: Tensor, neighbours: Tensor) -> Tensor:
    """Distance, offset, own place, neighbour's place: (N, 3), (N, k) -> (N, k, 10). Eq. 1."""
    theirs = positions[neighbours]
    own = positions[:, None].expand_as(theirs)
    offset = own - theirs
    return torch.cat([offset.norm(dim=-1, keepdim=True), offset, own, theirs], dim=-1)


class RandLANet(nn.Module):
    """(N, inputs) features and their pyramid -> (N, classes) logits.

    Each of `dims` is a layer, after which the cloud is thinned by one of `ratios`; a point has
    `k` neighbours. Training needs two points on the deepest level for the batch norm: 1,024
    with the default ratios. 4,992,762 parameters by default; 1,240,826 with four layers of
    dims (16, 64, 128, 256). Raises ValueError when `dims` and `ratios` differ in length.
    """

    def __init__(
        self,
        inputs: int = 4,
        classes: int = 2,
        dims: Sequence[int] = DIMS,
        ratios: Sequence[int] = RATIOS,
        k: int = NEIGHBOURS,
    ) -> None:
        super().__init__()
        if len(dims) != len(ratios):
            raise ValueError(f"{len(dims)} layers cannot have {len(ratios)} thinning ratios")
        self.ratios, self.k = tuple(ratios), k
        wide = [2 * dim for dim in dims]
        skips = [wide[0], *wide[:-1]]  # finest first
        self.stem = SharedMLP(inputs, STEM)
        self.layers = nn.ModuleList(map(Layer, [STEM, *wide[:-1]], dims))
        self.bottleneck = SharedMLP(wide[-1], wide[-1])
        self.decoders = nn.ModuleList(
            SharedMLP(deep + skip, skip)
            for deep, skip in zip([*skips[1:], wide[-1]], skips, strict=True)
        )
        self.head = nn.Sequential(
            SharedMLP(wide[0], 64), SharedMLP(64, 32), nn.Dropout(0.5), nn.Linear(32, classes)
        )

    def pyramid(self, positions: NDArray[np.floating], workers: int = 1) -> PointPyramid:
        """What `forward` needs to know of shuffled `positions` (N, 3); see `build_pyramid`."""
        return build_pyramid(positions, self.ratios, self.k, workers)

    def forward(self, features: Tensor, pyramid: PointPyramid) -> Tensor:
        x = self.stem(features)
        skips = []
        for level, layer in enumerate(self.layers):
            neighbours = pyramid.neighbours[level]
            y = layer(x, pyramid.positions[level], neighbours)
            skips.append(x if level else y)
            x = y[neighbours[: len(pyramid.positions[level + 1])]].amax(dim=1)
        x = self.bottleneck(x)
        for level in reversed(range(len(skips))):
            up = x[pyramid.upsample[level]]
            x = self.decoders[level](torch.cat([up, skips[level]], dim=-1))
        return self.head(x)


def point_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, mean over the points: logits (N, classes), labels (N,) of any type.

    Of several targets, labels (N, K): binary, for each of K logits, and the mean over them, too.
    """
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels.long())
