"""HDResUNet: a ResUNet3D between holistic decomposition and dense upsampling.

    x ─ space to depth ─► ResUNet3D, 8 -> 8 ─ depth to space ─► logits     one modality, one target
    HR                           LR                             HR

Holistic decomposition convolution (HDC: the folding of the full volume into eight channels of half
the side, and the first convolution) and dense upsampling convolution (DUC: the head and the
unfolding) as Wang et al., arXiv:2210.14645, Sec. IV-C, name them; no code of it is released.
Axes: (B, C, D, H, W). Voxel (2z + dz, 2y + dy, 2x + dx) of channel c becomes voxel (z, y, x)
of channel 8c + 4dz + 2dy + dx.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.blocks import ResBlock
from models.unet import WIDTHS, UNet


def space_to_depth(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, 8C, D/2, H/2, W/2). Raises ValueError when a side is odd."""
    batch, channels, *sides = x.shape
    if any(side % 2 for side in sides):
        raise ValueError(f"folding by 2 needs even sides, not {tuple(sides)}")
    d, h, w = (side // 2 for side in sides)
    folded = x.reshape(batch, channels, d, 2, h, 2, w, 2)
    return folded.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, 8 * channels, d, h, w)


def depth_to_space(x: Tensor) -> Tensor:
    """(B, 8C, d, h, w) -> (B, C, 2d, 2h, 2w): the inverse of `space_to_depth`.

    Raises ValueError when the channels do not come in eights.
    """
    batch, channels, d, h, w = x.shape
    if channels % 8:
        raise ValueError(f"unfolding by 2 needs a multiple of 8 channels, not {channels}")
    folded = x.reshape(batch, channels // 8, 2, 2, 2, d, h, w)
    return folded.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, channels // 8, 2 * d, 2 * h, 2 * w)


def tell_apart_as_one(head: nn.Conv3d, targets: int) -> None:
    """Let the rows of a new head differ between targets alike in all eight voxels of a block.

    Row 8k + i, of target k and voxel i, becomes that of the first target's voxel i, plus what tells
    k from the mean of the targets in the first voxel. Drawn one by one, eight rows ask the features
    for eight unlike differences that cancel: the network learns where any target is, and only many
    epochs later which. Of one target nothing changes.
    """
    with torch.no_grad():
        for part in head.parameters():  # weight and bias
            rows = part.unflatten(0, (targets, 8))
            apart = rows[:, :1] - rows[:, :1].mean(0)
            rows.copy_(rows[:1] + apart)


class HDResUNet(nn.Module):
    """(B, modalities, D, H, W) -> (B, targets, D, H, W) logits.

    D, H, W: multiples of 32, and the deepest map needs more than one voxel for its instance
    norm, so 32x32x64 is the smallest grid. 8,307,720 parameters at the default widths.
    """

    def __init__(
        self, modalities: int = 1, widths: Sequence[int] = WIDTHS, targets: int = 1
    ) -> None:
        super().__init__()
        self.unet = UNet(8 * modalities, 8 * targets, widths, ResBlock)
        tell_apart_as_one(self.unet.head, targets)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.unet(space_to_depth(x)))
