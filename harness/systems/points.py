"""Point-Unet on volumes: where SAN sees a target, points are dense; RandLA-Net decides on each.

In training the dense region is the ground truth, at test what SAN predicts (Ho et al.).
"""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.point_unet import (
    PointPyramid,
    PointUNet,
    open_mask,
    point_loss,
    scatter_to_volume,
)
from harness.systems.methods import Grid, Image, Mask, Method, Stage, WholeVolume, rng_of
from models.precision import autocast


class Points(Method):
    """Two networks trained one after the other: saliency on volumes, classes on points."""

    network: PointUNet

    def __init__(
        self,
        network: PointUNet,
        grid: Grid,
        *,
        points: int,
        post: Literal["none", "open"],
        learning_rate_factor: float,
    ) -> None:
        super().__init__(network, grid)
        self.points = points
        self.post = post
        self.learning_rate_factor = learning_rate_factor

    @property
    def saliency(self) -> WholeVolume:
        """The first of the two, as the system that it is on its own."""
        whole = WholeVolume(self.network.saliency, self.grid)
        whole.precision = self.precision
        return whole

    @property
    def stages(self) -> tuple[Stage, ...]:
        [saliency] = self.saliency.stages
        points = (
            super()
            .stages[0]
            ._replace(
                name="points",
                network=self.network.points,
                learning_rate_factor=self.learning_rate_factor,
            )
        )
        return saliency._replace(name="saliency"), points

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        indices, features, pyramid = self.network.cloud(image, label, self.points, rng)
        target = torch.from_numpy(label.ravel()[indices].astype(np.int64))
        return features, pyramid, target

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        features, pyramid, target = sample
        return {"total": point_loss(self.network.points(features, pyramid).float(), target)}

    def probability(self, image: Image) -> NDArray[np.float32]:
        region = self.saliency.segment(image)
        indices, features, pyramid = self.network.cloud(image, region, self.points, rng_of(image))
        self.network.points.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network.points(features.to(self.device), pyramid.to(self.device))
            lesion = logits.float().softmax(dim=-1)[:, 1].cpu().numpy()
        return scatter_to_volume(lesion, indices, self.grid)

    def segment(self, image: Image) -> Mask:
        mask = super().segment(image)
        return open_mask(mask) if self.post == "open" else mask

    def forward(self, image: Tensor) -> Tensor:
        """Both networks once, on shapes: points have no places before there are values."""
        self.saliency.forward(image)
        features = image.new_empty(self.points, 3 + len(image))
        return self.network.points(features, shapes_only(self.network, self.points, image.device))


def shapes_only(network: PointUNet, count: int, device: torch.device) -> PointPyramid:
    """The neighbours of `count` points without their values, to count operations."""
    sizes = [count]
    for ratio in network.ratios:
        sizes.append(max(1, sizes[-1] // ratio))
    integers = partial(torch.empty, dtype=torch.long, device=device)
    return PointPyramid(
        tuple(torch.empty(size, 3, device=device) for size in sizes),
        tuple(integers((size, min(network.k, size))) for size in sizes[:-1]),
        tuple(integers(size) for size in sizes[:-1]),
    )
