"""The boxes of the paper's figures: residual, plain, multi-scale and up-sampling blocks.

    ResBlock      x ─ conv3 ─ IN ─ LReLU ─ conv3 ─ IN ─ (+) ─ LReLU
                  └────────── conv1 ─ IN ───────────────┘
    PlainBlock    the same without the lower path
    MSResBlock    the first conv3 becomes conv3 ‖ conv5 ‖ conv7, concatenated

Wang et al., arXiv:2210.14645, Sec. III; widths as in the authors' release.
Axes: (B, C, D, H, W). Every block keeps D, H, W; `Up` doubles them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.conv import Conv3d, ConvTranspose3d
from models.norm import InstanceNorm3d

Block = Callable[[int, int], nn.Module]


def norm(channels: int) -> nn.Module:
    """Instance normalisation without affine parameters or running statistics (authors' code)."""
    return InstanceNorm3d(channels)


def activation() -> nn.Module:
    return nn.LeakyReLU(0.01, inplace=True)


class ResBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut that is a projection even where widths agree."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            Conv3d(inputs, outputs, 3, padding=1),
            norm(outputs),
            activation(),
            Conv3d(outputs, outputs, 3, padding=1),
            norm(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), norm(outputs))
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.main(x).add_(self.shortcut(x)))  # in place: one volume less


class PlainBlock(nn.Sequential):
    """Two 3x3x3 convolutions: the UNet3D backbone of Table IV."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            Conv3d(inputs, outputs, 3, padding=1),
            norm(outputs),
            activation(),
            Conv3d(outputs, outputs, 3, padding=1),
            norm(outputs),
            activation(),
        )


class MSResBlock(nn.Module):
    """Three kernel sizes side by side: 3x3x3 at full width, 5x5x5 and 7x7x7 at half each."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.scales = nn.ModuleList(
            Conv3d(inputs, width, size, padding=size // 2)
            for size, width in ((3, outputs), (5, half), (7, half))
        )
        self.fuse = nn.Sequential(
            norm(outputs + 2 * half),
            activation(),
            Conv3d(outputs + 2 * half, outputs, 3, padding=1),
            norm(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), norm(outputs))
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        scales = torch.cat([conv(x) for conv in self.scales], dim=1)
        return self.act(self.fuse(scales).add_(self.shortcut(x)))


class Up(nn.Sequential):
    """Transposed convolution, kernel 4, stride 2: (B, i, d, h, w) -> (B, o, 2d, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvTranspose3d(inputs, outputs, 4, stride=2, padding=1), activation())
