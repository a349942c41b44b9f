"""Convolutions as PyTorch has them, on the faster of its ways through a CPU.

PyTorch hands a float32 convolution to oneDNN when there are several items, when the kernel is
wider than 3, or when items · channels · depth · height exceed 20480 (`use_mkldnn` in ATen's
Convolution.cpp); all others take a path that is up to eight times slower. Networks here see one
volume at a time (Sec. IV-B), so that their deep levels, and all levels of a small volume, would
take it. Two halves of the volume, each with the slices that the kernel reaches beyond its end,
are several items, and give the same sums.

oneDNN computes a transposed convolution with the channels last. A volume that comes with its
channels first is answered so, too, and copying the result, eight times the volume, takes longer
than the sums: the volume is turned instead. One that doubles the sides is a product of matrices, as
each voxel becomes a block of its own. PyTorch keeps lone small volumes from oneDNN here, too, and
oneDNN's gradients take two to four times as long as the products: both are products instead.

In bfloat16 oneDNN's gradient of a convolution whose kernel reaches further than the volume is wrong
or crashes (torch 2.13), so that one is computed in float32.

Axes: (B, C, D, H, W).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SEVERAL = 20_480  # items · channels · depth · height above which PyTorch takes oneDNN by itself
SHALLOW = 4  # slices below which the neighbours of a half are as many as the half itself


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`, with its parameters and results."""

    def forward(self, input: Tensor) -> Tensor:
        if self._overreaches(input):
            with torch.autocast("cpu", enabled=False):
                return self(input.float())
        return self._in_halves(input) if self._alone(input) else super().forward(input)

    def _overreaches(self, x: Tensor) -> bool:
        """Whether bfloat16 would go wrong: an axis shorter than the kernel with its gaps."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return False
        spans = [
            gap * (taps - 1) + 1 for gap, taps in zip(self.dilation, self.kernel_size, strict=True)
        ]
        return any(side < span for side, span in zip(x.shape[2:], spans, strict=True))

    def _alone(self, x: Tensor) -> bool:
        """Whether PyTorch would take its slow path, and two halves spare it that."""
        return (
            _in_float32(x)
            and _is_lone_and_small(x)
            and x.shape[2] >= SHALLOW
            and self.kernel_size == (3, 3, 3)
            and self.stride == (1, 1, 1)
            and self.padding == self.dilation
        )

    def _in_halves(self, x: Tensor) -> Tensor:
        """x (1, C, D, H, W) -> (1, O, D, H, W)."""
        depth, reach = x.shape[2], self.dilation[0]
        half = (depth + 1) // 2
        padded = F.pad(x, (0, 0, 0, 0, reach, reach + 2 * half - depth))
        halves = torch.cat([padded[:, :, : half + 2 * reach], padded[:, :, half:]])
        within = (0, reach, reach)  # along depth the neighbours are there already
        out = F.conv3d(halves, self.weight, self.bias, padding=within, dilation=self.dilation)
        first, second = out.split(1)
        return torch.cat([first, second], dim=2)[:, :, :depth]


class ConvTranspose3d(nn.ConvTranspose3d):
    """`nn.ConvTranspose3d`, with its parameters and results."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if input.device.type == "cpu":
            input = input.contiguous(memory_format=torch.channels_last_3d)
        if self._doubles() and output_size is None and _in_float32(input):
            doubled: Tensor = _Doubled.apply(input, self.weight, self.bias)
            return doubled
        return super().forward(input, output_size)

    def _doubles(self) -> bool:
        """Whether each voxel becomes a block of 2x2x2 of its own."""
        return (
            self.kernel_size == self.stride == (2, 2, 2)
            and self.padding == self.output_padding == (0, 0, 0)
            and self.dilation == (1, 1, 1)
            and self.groups == 1
            and self.bias is not None
        )


class _Doubled(torch.autograd.Function):
    """x (B, C, D, H, W), weight (C, O, 2, 2, 2), bias (O) -> (B, O, 2D, 2H, 2W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if not _is_lone_and_small(x):
            return F.conv_transpose3d(x, weight, bias, stride=2)
        blocks = torch.addmm(bias.repeat(8), _rows(x), _matrix(weight))
        apart = blocks.view(*x.shape[2:], 2, 2, 2, len(bias)).permute(0, 3, 1, 4, 2, 5, 6)
        doubled = apart.reshape(1, *(2 * side for side in x.shape[2:]), len(bias))
        return doubled.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient, matrix = gradients[0], _matrix(weight)
        of_x, of_matrix = torch.empty_like(x), torch.zeros_like(matrix)
        for level, slab in enumerate(gradient.split(2, dim=2)):
            blocks = _blocks(slab)
            of_matrix.addmm_(_rows(x[:, :, level, None]).t(), blocks)
            voxels = (blocks @ matrix.t()).view(len(x), *x.shape[3:], -1)
            of_x[:, :, level] = voxels.permute(0, 3, 1, 2)
        of_weight = of_matrix.view(len(weight), 2, 2, 2, -1).permute(0, 4, 1, 2, 3)
        return of_x, of_weight, gradient.sum((0, 2, 3, 4))


def _matrix(weight: Tensor) -> Tensor:
    """(C, O, 2, 2, 2) -> (C, 8 · O)."""
    return weight.permute(0, 2, 3, 4, 1).flatten(1)


def _rows(volume: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B · D · H · W, C)."""
    return volume.permute(0, 2, 3, 4, 1).flatten(0, 3)


def _blocks(slab: Tensor) -> Tensor:
    """(B, O, 2, 2H, 2W) -> (B · H · W, 8 · O), the blocks that the voxels of a slice became."""
    halved = slab.permute(0, 2, 3, 4, 1).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return halved.permute(0, 2, 4, 1, 3, 5, 6).flatten(3).flatten(0, 2)


def _in_float32(x: Tensor) -> bool:
    """Whether a volume is computed in float32 on a CPU, operation by operation."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _is_lone_and_small(x: Tensor) -> bool:
    """Whether PyTorch would keep a volume from oneDNN."""
    return x.shape[0] == 1 and x.shape[1:4].numel() <= SEVERAL
