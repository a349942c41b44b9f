"""SAN: the saliency network that tells Point-Unet where to look, here a baseline of its own.

    x ─────────────────────────► (+) 17 ─ attend ────────────────► (+) 41 ─ conv3 ─ conv1 ─ logits
    └ pool ─ B16 ─ up ───────────┘                                  │
             └ pool ─ B32 ─ context ─► (+) 288 ─ B64 ─ attend ─ up ─ B64 ─ up ─ B24
                      └ pool ─ B32 ─ context ─ up ─┤
                               └ pool ─ B32 ─ context ─ up ─ B96 ─ up

    B        conv3 ─ IN ─ LReLU                             up       deconv, kernel 2, stride 2
    context  three conv3 of dilation 1, 2, 3 side by side ─ IN ─ LReLU
    attend   channel attention ─ spatial attention (Woo et al., CBAM, arXiv:1807.06521)

Ho et al., arXiv:2203.08964. Their network has 9.09 M parameters; Wang et al., arXiv:2210.14645,
report 1.534 M, which is the size of their own port, drawn here: 1,533,971.
Axes: (B, C, D, H, W). The contexts read maps on 1/4, 1/8 and 1/16 of the side.
"""

import torch
from torch import Tensor, nn

from models.blocks import activation, norm
from models.conv import Conv3d, ConvTranspose3d


class Unit(nn.Sequential):
    """conv3, IN, LReLU: B of the drawing."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Conv3d(inputs, outputs, 3, padding=1), norm(outputs), activation())


class Context(nn.Module):
    """Three views of different reach: (B, C, ...) -> (B, 3C, ...)."""

    recomputed = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reaches = nn.ModuleList(
            Conv3d(channels, channels, 3, padding=reach, dilation=reach) for reach in (1, 2, 3)
        )
        self.finish = nn.Sequential(norm(3 * channels), activation())

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(torch.cat([conv(x) for conv in self.reaches], dim=1))


class ChannelAttention(nn.Module):
    """Each channel times a weight that its mean and its maximum decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), activation(), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = self.mlp(x.mean((2, 3, 4))) + self.mlp(x.amax((2, 3, 4)))  # (B, C)
        return x * weight.sigmoid()[:, :, None, None, None]


class SpatialAttention(nn.Module):
    """Each voxel times a weight that the maximum and the mean of its channels decide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * self.conv(summary).sigmoid()


class Attend(nn.Sequential):
    """Which channels count, then where."""

    recomputed = True

    def __init__(self, channels: int) -> None:
        super().__init__(ChannelAttention(channels), SpatialAttention())


def double(channels: int) -> nn.Module:
    """(B, C, d, h, w) -> (B, C, 2d, 2h, 2w)."""
    return ConvTranspose3d(channels, channels, 2, stride=2)


class Finer(nn.Sequential):
    """(B, i, d, h, w) -> (B, o, 2d, 2h, 2w)."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(double(inputs), Unit(inputs, outputs))


class SAN(nn.Module):
    """(B, modalities, D, H, W) -> (B, targets, D, H, W) logits.

    `width` is the channels of the first unit, even; the others follow from it. D, H, W:
    multiples of 16, and the deepest map needs more than one voxel for its instance norm, so
    16x16x32 is the smallest grid. 1,533,971 parameters at width 16.
    """

    def __init__(self, modalities: int = 1, width: int = 16, targets: int = 1) -> None:
        super().__init__()
        fine, deep, rich = modalities + width, 2 * width, 6 * width  # 17, 32, 96
        fused, last = 4 * width, 3 * width // 2  # 64, 24
        self.pool = nn.MaxPool3d(2)
        self.unit2, self.unit4 = Unit(modalities, width), Unit(width, deep)
        self.unit8, self.unit16 = Unit(deep, deep), Unit(deep, deep)
        self.up = double(width)
        self.attend = Attend(fine)
        self.context4 = Context(deep)
        self.context8 = nn.Sequential(Context(deep), double(rich))
        self.context16 = nn.Sequential(Context(deep), double(rich), Unit(rich, rich), double(rich))
        self.fuse = nn.Sequential(Unit(3 * rich, fused), Attend(fused))
        self.restore = nn.Sequential(Finer(fused, fused), Finer(fused, last))
        self.head = nn.Sequential(
            Conv3d(fine + last, width, 3, padding=1), nn.Conv3d(width, targets, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.unit2(self.pool(x))
        quarter = self.unit4(self.pool(half))
        eighth = self.unit8(self.pool(quarter))
        sixteenth = self.unit16(self.pool(eighth))
        contexts = [self.context4(quarter), self.context8(eighth), self.context16(sixteenth)]
        coarse = self.restore(self.fuse(torch.cat(contexts, dim=1)))
        fine = self.attend(torch.cat([x, self.up(half)], dim=1))
        return self.head(torch.cat([fine, coarse], dim=1))
