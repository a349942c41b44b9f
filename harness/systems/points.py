"""Point-Unet on volumes: points are dense where SAN sees a target; RandLA-Net classifies each.

In training the dense region is the ground truth, at test what SAN predicts (Ho et al.).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.point_unet import (
    PointCloud,
    PointPyramid,
    PointUNet,
    open_mask,
    point_loss,
    room,
    scatter_to_volume,
)
from harness.data.case import Volume
from harness.data.targets import packed, unpacked
from harness.systems.methods import (
    Grid,
    Image,
    Mask,
    Method,
    Stage,
    WholeVolume,
    rng_of,
    some_of,
)
from harness.systems.protocol import Options
from models.precision import autocast


class Points(Method):
    """A method that trains two networks in turn: saliency on volumes, then classes on points.

    `points` of a cloud: a number, or below 1 a share of the grid. `post`: what is done to the mask
    that the points make. "open" is the authors' opening of all of it; "outside" opens where SAN
    sees no target, so that the few points there leave no islands and nothing of the target is
    lost. A region that is larger than the cloud is sampled, and never opened. Raises ValueError
    for values that mean nothing.
    """

    network: PointUNet
    several = True

    def __init__(
        self,
        network: PointUNet,
        grid: Grid,
        *,
        points: int | float,
        post: Literal["none", "open", "outside"],
        learning_rate_factor: float,
    ) -> None:
        super().__init__(network, grid)
        if post not in ("none", "open", "outside"):
            raise ValueError(f"post is {post!r}; it must be none, open or outside")
        self.points = cloud_size(points, grid)
        self.post = post
        self.learning_rate_factor = learning_rate_factor

    @property
    def saliency(self) -> WholeVolume:
        """The first of the two networks, SAN, as a method of its own."""
        whole = WholeVolume(self.network.saliency, self.grid)
        whole.precision = self.precision
        whole.targets, whole.exclusive = self.targets, self.exclusive
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
        """Return features and neighbours of the points around all targets, and what they are.

        Class 0 or 1 of each, (N,); of several targets 0 or 1 for each of them, (N, K).
        """
        indices, features, pyramid = self._cloud(image, label > 0, rng)
        seen = label.ravel()[indices]
        if self.targets == 1:
            return features, pyramid, torch.from_numpy(seen.astype(np.int64))
        target = unpacked(seen, self.targets).T
        return features, pyramid, torch.from_numpy(target.astype(np.float32))

    def _cloud(self, image: Image, region: Mask, rng: np.random.Generator) -> PointCloud:
        """Sample a point cloud; the search for neighbours has as many threads as the network."""
        workers = torch.get_num_threads()
        return self.network.cloud(image, region, self.points, rng, workers)

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        features, pyramid, target = sample
        return {"total": point_loss(self.network.points(features, pyramid).float(), target)}

    def settled(self, options: Mapping[str, Any]) -> Options:
        return {**options, "points": self.points}

    def probability(self, image: Image) -> NDArray[np.float32]:
        return self._classified(image, self.saliency.segment(image) > 0)

    def _classified(self, image: Image, region: Mask) -> NDArray[np.float32]:
        """Classify the points around `region`, that of all targets; 0 where there is no point."""
        indices, features, pyramid = self._cloud(image, region, rng_of(self.case))
        self.network.points.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network.points(features.to(self.device), pyramid.to(self.device))
            if self.targets == 1:
                lesion = logits.float().softmax(dim=-1)[:, 1].cpu().numpy()
                return scatter_to_volume(lesion, indices, self.grid)
            each = logits.float().sigmoid().T.cpu().numpy()
        return np.stack([scatter_to_volume(one, indices, self.grid) for one in each])

    def segment(self, image: Image) -> Mask:
        region = self.saliency.segment(image) > 0
        mask = self.mask(self._classified(image, region))
        whole = self.holds(region)
        what = f"SAN's region is larger than the cloud of {self.points:,} points, so a sample"
        self.remark = "" if whole else what
        if self.post == "none":
            return mask
        if self.targets == 1:
            return self._opened(mask, region, whole)
        return packed([self._opened(one, region, whole) for one in unpacked(mask, self.targets)])

    def _opened(self, mask: Mask, region: Mask, whole: bool) -> Mask:
        opened = open_mask(mask)
        return opened if self.post == "open" and whole else opened | (mask & region)

    def holds(self, region: Mask) -> bool:
        """Return whether the cloud has room for all voxels of the region."""
        return int(np.count_nonzero(region)) <= room(self.points)

    def remarks(self, training: Sequence[Volume]) -> list[str]:
        beyond = [volume.case for volume in training if not self.holds(volume.label > 0)]
        if not beyond:
            return []
        what = f"the target is larger than the cloud of {self.points:,} points, so a sample"
        return [f"{what} ({some_of(beyond, len(training), 'training')})"]

    def forward(self, image: Tensor) -> Tensor:
        """Run both networks once on shapes alone: without values, points have no places."""
        self.saliency.forward(image)
        features = image.new_empty(self.points, 3 + len(image))
        neighbours = shapes_only(self.network, self.points, image.device)
        logits = self.network.points(features, neighbours)
        return logits if self.targets == 1 else logits.new_empty(logits.shape[1], *self.grid)


def cloud_size(points: int | float, grid: Grid) -> int:
    """Return the number of points of a cloud on `grid`, from a count or a share of its voxels."""
    if isinstance(points, bool) or not isinstance(points, int | float):
        raise ValueError(f"points is {points!r}; it must be a number of points or a share below 1")
    number = round(points * math.prod(grid)) if points < 1 else points
    if number != int(number) or number < 1:
        raise ValueError(f"points is {points!r}; it must be a whole number, or a share below 1")
    if number > math.prod(grid):
        raise ValueError(f"points is {points!r}, and the grid has {math.prod(grid):,} voxels")
    return int(number)


def shapes_only(network: PointUNet, count: int, device: torch.device) -> PointPyramid:
    """Return empty tensors shaped like the neighbours of `count` points, to count operations."""
    sizes = [count]
    for ratio in network.ratios:
        sizes.append(max(1, sizes[-1] // ratio))
    integers = partial(torch.empty, dtype=torch.long, device=device)
    return PointPyramid(
        tuple(torch.empty(size, 3, device=device) for size in sizes),
        tuple(integers((size, min(network.k, size))) for size in sizes[:-1]),
        tuple(integers(size) for size in sizes[:-1]),
    )
