"""How a network sees a volume and how its output becomes a mask of the whole volume again.

    Patches         a random window of half the side; at test a sliding window of 27    HR/2
    WholeVolume     everything at full resolution                                       HR
    LowResolution   everything at half resolution, its probability interpolated         LR -> HR
    PatchFree       everything at half resolution beside a sharp window                 LR + HR/4

Axes: C channels (modalities), D H W the full grid ("HR"), d h w half of it ("LR").
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.resunet3d_up import low_resolution_label, upsample_keys
from harness.data.lowres import halve
from harness.sliding_window import sliding_window
from models import cropping
from models.losses import segmentation_loss
from models.objective import LossWeights, pfseg_objective
from models.pfseg import PFSeg
from models.tpf import Guided, Strategy, adapt

Grid = tuple[int, int, int]
Image = NDArray[np.float32]  # (C, D, H, W), intensities 0..1
Mask = NDArray[np.bool_]  # (D, H, W)


class Stage(NamedTuple):
    """One network to train: from an augmented volume to named losses ("total" is minimised)."""

    name: str
    network: nn.Module
    sample: Callable[[Image, Mask, np.random.Generator], tuple[Any, ...]]
    losses: Callable[..., dict[str, Tensor]]
    segment: Callable[[Image], Mask]
    learning_rate_factor: float = 1.0


class Method(ABC):
    """A network together with the way it is trained on volumes and applied to them."""

    transductive = False
    """True when `adapt` learns from the test volumes."""

    def __init__(self, network: nn.Module, grid: Grid) -> None:
        self.network = network
        self.grid = grid

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is trained, in this order."""
        return (Stage("network", self.network, self.sample, self.losses, self.segment),)

    @abstractmethod
    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        """What `losses` needs of one augmented volume, as tensors with a batch axis."""

    @abstractmethod
    def losses(self, *sample: Any) -> dict[str, Tensor]:
        """Named terms of the objective; the one called "total" is minimised."""

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """image (C, D, H, W) on any device, meta included -> probability (D, H, W)."""

    def probability(self, image: Image) -> NDArray[np.float32]:
        """Probability of the target in each voxel, (D, H, W)."""
        self.network.eval()
        with torch.inference_mode():
            return self.forward(self.tensor(image)).cpu().numpy()

    def segment(self, image: Image) -> Mask:
        """The mask that is scored, (D, H, W)."""
        return self.probability(image) >= 0.5

    def adapt(self, images: Sequence[Image]) -> "Method":
        """The method after learning from unlabelled test volumes, where the system does so."""
        return self

    def for_inference(self) -> "Method":
        """The same predictions without the parts that only training needs."""
        return self

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """A copy of `array` on the network's device; cached volumes stay as they are."""
        return torch.from_numpy(np.array(array)).to(self.device)


def binary_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Eq. 2 alone: the objective of every baseline."""
    return {"total": segmentation_loss(logits, target)}


def batch(array: NDArray[Any]) -> Tensor:
    """(…) -> (1, …) float32, a copy."""
    return torch.from_numpy(np.array(array, dtype=np.float32))[None]


class Patches(Method):
    """Windows of half the volume's side, half overlapping: 27 cover a volume (Sec. IV-B)."""

    def __init__(self, network: nn.Module, grid: Grid, *, window: Sequence[int] = ()) -> None:
        super().__init__(network, grid)
        self.window = tuple(window) or tuple(side // 2 for side in grid)

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        room = [side - part for side, part in zip(self.grid, self.window, strict=True)]
        start = [int(rng.integers(0, free + 1)) for free in room]
        box = tuple(slice(s, s + w) for s, w in zip(start, self.window, strict=True))
        return batch(image[(slice(None), *box)]), batch(label[None][(slice(None), *box)])

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        window, target = sample
        return binary_losses(self.network(window), target)

    def forward(self, image: Tensor) -> Tensor:
        stride = tuple(max(1, side // 2) for side in self.window)
        return sliding_window(self.network, image, self.window, stride)


class WholeVolume(Method):
    """The full-resolution volume in one piece."""

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return batch(image), batch(label[None])

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        volume, target = sample
        return binary_losses(self.network(volume), target)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image[None]).sigmoid()[0, 0]


class LowResolution(Method):
    """Half resolution in and out; at test the probability is interpolated, then thresholded."""

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return batch(halve(image)), low_resolution_label(batch(label[None]))

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        low, target = sample
        return binary_losses(self.network(low), target)

    def forward(self, image: Tensor) -> Tensor:
        low = nn.functional.avg_pool3d(image[None], 2)
        return upsample_keys(self.network(low).sigmoid())[0, 0]


class PatchFree(Method):
    """The paper's framework: half resolution beside one full-resolution guidance patch."""

    network: PFSeg

    def __init__(
        self,
        network: PFSeg,
        grid: Grid,
        *,
        crop: str = "selective",
        tpf: Strategy | Literal["none"] = "tfm",
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(network, grid)
        self.window = tuple(side // 4 for side in grid)
        self.crop = partial(cropping.CROPPERS[crop])
        self.tpf = tpf
        self.weights = LossWeights(**(weights or {}))

    @property
    def transductive(self) -> bool:  # type: ignore[override]
        return self.tpf != "none"

    def guided(self, image: Image, rng: np.random.Generator) -> Guided:
        start = self.crop(image, self.window, rng)
        window = cropping.window(image, start, self.window)
        return Guided(batch(halve(image)), batch(window), batch(image), start)

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return (*self.guided(image, rng), batch(label[None]))

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        low, window, image, start, label = sample
        output = self.network(low, window)
        return pfseg_objective(output, image, label, start, self.window, self.weights)

    def probability(self, image: Image) -> NDArray[np.float32]:
        self.network.eval()
        start = self.crop(image, self.window, rng_of(image))
        with torch.inference_mode():
            return self._forward(self.tensor(image), start).cpu().numpy()

    def forward(self, image: Tensor) -> Tensor:
        return self._forward(image, (0, 0, 0))

    def _forward(self, image: Tensor, start: Grid) -> Tensor:
        low = nn.functional.avg_pool3d(image[None], 2)
        box = tuple(slice(s, s + w) for s, w in zip(start, self.window, strict=True))
        return self.network.segment(low, image[(slice(None), *box)][None]).sigmoid()[0, 0]

    def adapt(self, images: Sequence[Image]) -> "PatchFree":
        if self.tpf != "none":
            cases = _LazyCases(images, lambda image: self.guided(image, rng_of(image)))
            self.network = adapt(self.network, cases, self.tpf, weights=self.weights)
        return self

    def for_inference(self) -> "PatchFree":
        network = self.network.segmentation_half()
        half = PatchFree(network, self.grid, tpf=self.tpf)
        half.crop = self.crop
        return half


class _LazyCases(Sequence[Guided]):
    """Test volumes made ready one at a time, so that they need not fit into memory together."""

    def __init__(self, images: Sequence[Image], make: Callable[[Image], Guided]) -> None:
        self.images = images
        self.make = make

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return self.make(self.images[index])


def rng_of(image: Image) -> np.random.Generator:
    """A generator that belongs to the case, so that a random crop at test is always the same."""
    return np.random.default_rng(zlib.crc32(image.tobytes()))
