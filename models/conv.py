"""Convolutions as PyTorch has them, on the faster of its ways through a CPU.

PyTorch hands a float32 convolution to oneDNN when there are several items, when the kernel is
wider than 3, or when items · channels · depth · height exceed 20480 (`use_mkldnn` in ATen's
Convolution.cpp); all others take a path that is up to eight times slower. Networks here see one
volume at a time (Sec. IV-B), so that their deep levels, and all levels of a small volume, would
take it. Two halves of the volume, each with the slices that the kernel reaches beyond its end,
are several items, and give the same sums.

oneDNN computes a transposed convolution with the channels last. A volume that comes with its
channels first is answered so, too, and copying the result, eight times the volume, takes longer
than the sums: the volume is turned instead.

In bfloat16 oneDNN's gradient of a convolution whose kernel reaches further than the volume is wrong
or crashes (torch 2.13), so that one is computed in float32.

Axes: (B, C, D, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
            x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and x.shape[0] == 1
            and x.shape[1:4].numel() <= SEVERAL
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
        return super().forward(input, output_size)
