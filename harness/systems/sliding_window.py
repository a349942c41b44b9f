"""Predict a volume from overlapping windows, for a network that cannot see all of it at once.

    starts along an axis, window 64, stride 32, length 140:   0   32   64   76 (flush with the end)

Probabilities are averaged where windows overlap (Sec. IV-B). A window of half the volume's side
that moves by half of itself gives 3 × 3 × 3 = 27 windows.
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor


def starts(length: int, window: int, stride: int) -> list[int]:
    """Return the window starts along one axis: every `stride` voxels, the last window at the end.

    Raises ValueError when the axis is shorter than the window or the stride leaves gaps.
    """
    if not 0 < window <= length:
        raise ValueError(f"a window of {window} voxels does not fit an axis of {length}")
    if not 0 < stride <= window:
        raise ValueError(f"stride {stride} must be between 1 and the window, {window}")
    last = length - window
    return [*range(0, last, stride), last]


@torch.inference_mode()
def sliding_window(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    window: Sequence[int],
    stride: Sequence[int] | None = None,
    batch: int = 1,
) -> Tensor:
    """Average the sigmoid of the network's logits over all windows: (C, D, H, W) -> (D, H, W).

    `network` maps (B, C, *window) to logits (B, K, *window), at most `batch` windows at a time; of
    several targets, K > 1, the result is (K, D, H, W). `stride` is half the window unless given.
    The result is float32 on the image's device. Raises ValueError for a volume smaller than the
    window and for an image that is not (C, D, H, W).
    """
    if image.ndim != 4:
        raise ValueError(f"the image must be (C, D, H, W), not {tuple(image.shape)}")
    grid = tuple(image.shape[1:])
    stride = [max(1, side // 2) for side in window] if stride is None else stride
    axes = [starts(*sizes) for sizes in zip(grid, window, stride, strict=True)]
    boxes = [_box(corner, window) for corner in product(*axes)]
    total = torch.zeros(0)
    for first in range(0, len(boxes), batch):
        chunk = boxes[first : first + batch]
        probability = network(torch.stack([image[:, *box] for box in chunk])).float().sigmoid()
        if not first:
            total = torch.zeros((probability.shape[1], *grid), device=image.device)
        for box, part in zip(chunk, probability, strict=True):
            total[:, *box] += part
    for axis, begins in enumerate(axes):
        counts = _counts(grid[axis], window[axis], begins).to(total)
        total /= counts.reshape([-1 if other == axis else 1 for other in range(3)])
    return total[0] if len(total) == 1 else total


def _box(corner: Sequence[int], window: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))


def _counts(length: int, window: int, begins: Sequence[int]) -> Tensor:
    """Count the windows over each voxel of one axis; a volume's counts multiply the three axes."""
    counts = torch.zeros(length)
    for start in begins:
        counts[start : start + window] += 1
    return counts
