"""How a network is shown a volume, and how its output becomes a mask of the whole volume.

    Patches         a random window of half the side; at test a sliding window of 27    HR/2
    WholeVolume     everything at full resolution                                       HR
    LowResolution   everything at half resolution, its probability interpolated         LR -> HR

Two ways have files of their own: PatchFree, the paper's (patch_free.py), and Points (points.py).
Axes: C channels (modalities), K targets, D H W the full grid ("HR"), d h w half of it ("LR"). Of
several targets a label or mask is one array (D, H, W), see `harness.data.targets`, and a
probability has K channels; of one target, as in the paper, it has none.
"""

import copy
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.resunet3d_up import low_resolution_label, upsample_keys
from harness.data.case import Volume
from harness.data.lowres import halve
from harness.data.targets import packed, unpacked
from harness.data.wording import listed
from harness.systems.protocol import Options, Protocol
from harness.systems.sliding_window import sliding_window, starts
from models.layout import Layout, channels_last, faster
from models.losses import segmentation_loss
from models.precision import Precision, autocast, guard, ieee_float32
from models.recompute import recompute

Grid = tuple[int, int, int]
Image = NDArray[np.float32]  # (C, D, H, W), intensities 0..1
Mask = NDArray[Any]  # (D, H, W) bool; of several targets unsigned integers, bit k: target k
NAMED = 3  # cases that a remark names, of many


class Stage(NamedTuple):
    """One network to train: it maps an augmented volume to named losses ("total" is minimised)."""

    name: str
    network: nn.Module
    sample: Callable[[Image, Mask, np.random.Generator], tuple[Any, ...]]
    losses: Callable[..., dict[str, Tensor]]
    segment: Callable[[Image], Mask]
    learning_rate_factor: float = 1.0
    precision: Precision = "fp32"
    windows: int = 1
    """The number of samples that an epoch takes from each volume."""
    targets: int = 1

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


class Method(ABC):
    """A network, the way it is trained on volumes, and the way it is applied to them."""

    several = False
    """Whether this class takes several targets; one that changes how masks are made says so
    itself, see `harness.systems.catalogue.build`."""
    targets = 1
    """The number of targets, set when the method is built."""
    exclusive = False
    """Whether a voxel is of one target at most, set when the method is built."""
    transductive = False
    """Whether `adapt` learns from the test volumes."""
    precision: Precision = "fp32"
    layout: Layout = "channels_first"
    case: str = ""
    """The case to be segmented, set by `at`."""
    remark: str = ""
    """A sentence about the mask that `segment` made last, for under every table; "" for none."""

    def __init__(self, network: nn.Module, grid: Grid) -> None:
        self.network = network
        self.grid = grid

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The networks to train, in this order."""
        stage = Stage("network", self.network, self.sample, self.losses, self.segment)
        return (stage._replace(precision=self.precision, targets=self.targets),)

    def follow(self, protocol: Protocol) -> None:
        """Set precision, memory layout and recomputation as the protocol says."""
        ieee_float32()
        self.precision = protocol.precision
        if protocol.precision == "bf16":
            guard(self.network)
        if protocol.checkpointing:
            recompute(self.network)
        self.layout = faster(self.network) if protocol.layout == "auto" else protocol.layout
        if self.layout == "channels_last":
            channels_last(self.network)

    @abstractmethod
    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        """Return the inputs of `losses` for one augmented volume, as tensors with a batch axis.

        `channels` turns a label (D, H, W) into that of a loss, (K, D, H, W).
        """

    @abstractmethod
    def losses(self, *sample: Any) -> dict[str, Tensor]:
        """Return the named terms of the objective; the term called "total" is minimised."""

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Map an image (C, D, H, W) on any device, meta included, to the probability.

        (D, H, W), of several targets (K, D, H, W): what `answer` makes of the network's output.
        """

    def probability(self, image: Image) -> NDArray[np.float32]:
        """Return the probability of the target in each voxel, (D, H, W), or of K (K, D, H, W)."""
        self.network.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self.forward(self.tensor(image)).cpu().numpy()

    def segment(self, image: Image) -> Mask:
        """Return the predicted mask that is scored, (D, H, W). Raises UnsoundPrediction."""
        return self.mask(sound(self.probability(image)))

    def mask(self, probability: NDArray[np.floating]) -> Mask:
        """Return where a probability, as `probability` returns it, is 0.5 and more.

        Where targets exclude each other, a voxel is of the most probable, the first of equals.
        """
        if self.targets == 1:
            return probability >= 0.5
        masks = probability >= 0.5
        if self.exclusive:
            best = probability.argmax(0)
            masks &= best == np.arange(self.targets).reshape(-1, 1, 1, 1)
        return packed(masks)

    def channels(self, label: Mask) -> NDArray[np.bool_]:
        """Return a label (..., H, W), cut as it may be, with an axis of targets in front of it."""
        return label[None] if self.targets == 1 else unpacked(label, self.targets)

    def answer(self, probability: Tensor) -> Tensor:
        """Return a network's probability (1, K, D, H, W) without the axes of one."""
        return probability[0, 0] if self.targets == 1 else probability[0]

    def at(self, case: str) -> Self:
        """Return a copy of the method for `case`, whose name seeds all random draws at test.

        So a volume is segmented the same way each time, and no time is spent on looking at it.
        """
        there = copy.copy(self)
        there.case = case
        return there

    def adapt(self, images: Sequence[Image]) -> "Method":
        """Return the method after learning from unlabelled test volumes, if it does so."""
        return self

    def adaptation(self, modalities: int) -> None:
        """Learn from one empty volume as `adapt` does, to count FLOPs; on meta, without numbers."""
        return

    def for_inference(self) -> "Method":
        """Return a method with the same predictions, without the parts that only training needs."""
        return self

    @property
    def looks(self) -> int:
        """The number of times the network is applied to segment one volume."""
        return 1

    def look(self, modalities: int) -> None:
        """Run the network once on an empty input of the size it is shown, to check shapes.

        On device "meta" no number is computed; there it is used to count FLOPs.

        ValueError where the network cannot take it.
        """
        with torch.inference_mode(), _suited("volume", self.grid):
            answer = self.forward(torch.empty(modalities, *self.grid, device=self.device))
            if self.targets > 1:
                self._refuse_channels(answer.shape[0])

    def _refuse_channels(self, given: int) -> None:
        if given != self.targets:
            raise ValueError(f"it answers with {given} channels for {self.targets} targets")

    def settled(self, options: Mapping[str, Any]) -> Options:
        """Return `options` with the defaults that this method fills in, for the trial's spec."""
        return dict(options)

    def particulars(self, volumes: Sequence[Volume]) -> dict[str, float]:
        """Return figures that only this kind of method has, measured on `volumes`."""
        return {}

    def remarks(self, training: Sequence[Volume]) -> list[str]:
        """Return sentences about training on these volumes, printed under every table."""
        return []

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Copy `array` to the network's device, so that cached volumes stay unchanged."""
        return torch.from_numpy(np.array(array)).to(self.device)


@contextmanager
def _suited(what: str, sides: Sequence[int]) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"a {what} of {list(sides)} does not suit the network: {error}") from error


class UnsoundPrediction(ValueError):
    """The error for a network whose answer is no probability; the text names the values."""


def sound(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability itself. Raises UnsoundPrediction for NaN and values far from [0, 1].

    Cubic upsampling of a probability overshoots by less than one half.
    """
    low, high = float(probability.min()), float(probability.max())
    if -0.5 <= low <= high <= 1.5:
        return probability
    missing = np.count_nonzero(np.isnan(probability))
    if missing:
        raise UnsoundPrediction(f"{missing:,} of {probability.size:,} voxels are NaN")
    raise UnsoundPrediction(f"values from {low:g} to {high:g} are no probabilities")


def binary_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the loss of eq. 2 alone: the objective of every baseline.

    Both (B, K, D, H, W): of each of K targets, averaged.
    """
    return {"total": segmentation_loss(logits, target)}


def batch(array: NDArray[Any]) -> Tensor:
    """Copy an array to a float32 tensor and add a batch axis: (…) -> (1, …)."""
    return torch.from_numpy(np.array(array, dtype=np.float32))[None]


class Patches(Method):
    """Windows of half the volume's side, half overlapping: 27 cover a volume (Sec. IV-B).

    In training the protocol says how many random ones of each volume there are in an epoch.
    """

    several = True

    def __init__(self, network: nn.Module, grid: Grid, *, window: Sequence[int] = ()) -> None:
        super().__init__(network, grid)
        sides = window or [side // 2 for side in grid]
        if not isinstance(sides, Sequence) or [type(side) for side in sides] != [int] * 3:
            raise ValueError(f"window is {window!r}; it must be three whole numbers: D, H, W")
        self.window = tuple(sides)
        if min(self.window) < 1:
            raise ValueError(f"a window of {list(self.window)} has no voxels")
        if any(part > side for part, side in zip(self.window, grid, strict=True)):
            raise ValueError(f"a window of {list(self.window)} is larger than the volume {grid}")
        self.windows, self.foreground_share = 1, 0.0

    def follow(self, protocol: Protocol) -> None:
        super().follow(protocol)
        self.windows = protocol.windows_per_volume
        self.foreground_share = protocol.foreground_share

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage._replace(windows=self.windows) for stage in super().stages)

    @property
    def looks(self) -> int:
        axes = zip(self.grid, self.window, self.stride, strict=True)
        return math.prod(len(starts(*axis)) for axis in axes)

    @property
    def stride(self) -> Grid:
        d, h, w = (max(1, side // 2) for side in self.window)
        return d, h, w

    def look(self, modalities: int) -> None:
        """Run the network on one empty window; a subclass that does more counts its own `looks`."""
        with torch.inference_mode(), _suited("window", self.window):
            logits = self.network(torch.empty(1, modalities, *self.window, device=self.device))
            if self.targets > 1:
                self._refuse_channels(logits.shape[1])

    def settled(self, options: Mapping[str, Any]) -> Options:
        return {**options, "window": list(self.window)}

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        box = tuple(
            slice(s, s + w) for s, w in zip(self.place(label, rng), self.window, strict=True)
        )
        return batch(image[(slice(None), *box)]), batch(self.channels(label[box]))

    def place(self, label: Mask, rng: np.random.Generator) -> Grid:
        """Draw the first voxel of a random window; a share of the windows holds a target voxel.

        That voxel is drawn anew for each window; the share is `foreground_share`.
        """
        lowest = [0, 0, 0]
        highest = [side - part for side, part in zip(self.grid, self.window, strict=True)]
        if self.foreground_share and rng.random() < self.foreground_share and label.any():
            target = np.flatnonzero(label)
            voxel = np.unravel_index(target[rng.integers(len(target))], label.shape)
            lowest = [max(0, int(v) - w + 1) for v, w in zip(voxel, self.window, strict=True)]
            highest = [min(h, int(v)) for h, v in zip(highest, voxel, strict=True)]
        z, y, x = (int(rng.integers(a, b + 1)) for a, b in zip(lowest, highest, strict=True))
        return z, y, x

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        window, target = sample
        return binary_losses(self.network(window), target)

    def forward(self, image: Tensor) -> Tensor:
        return sliding_window(self.network, image, self.window, self.stride)


class WholeVolume(Method):
    """A method that shows the network the full-resolution volume in one piece."""

    several = True

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return batch(image), batch(self.channels(label))

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        volume, target = sample
        return binary_losses(self.network(volume), target)

    def forward(self, image: Tensor) -> Tensor:
        return self.answer(self.network(image[None]).float().sigmoid())


class LowResolution(Method):
    """A method at half resolution; at test the probability is upsampled, then thresholded."""

    several = True

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return batch(halve(image)), low_resolution_label(batch(self.channels(label)))

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        low, target = sample
        return binary_losses(self.network(low), target)

    def forward(self, image: Tensor) -> Tensor:
        low = nn.functional.avg_pool3d(image[None], 2)
        return self.answer(upsample_keys(self.network(low).float().sigmoid()))


def some_of(cases: Sequence[str], of: int, kind: str) -> str:
    """Return a text such as "3 of 8 test cases: a, b, c" that names only the first few."""
    return f"{len(cases)} of {of} {kind} cases: {listed(cases, NAMED)}"


def rng_of(case: str) -> np.random.Generator:
    """Return the random generator of a case, so that a random crop at test is always the same."""
    return np.random.default_rng(zlib.crc32(case.encode()))
