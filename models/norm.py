"""Instance normalisation of one volume, in the layout in which it comes.

    forward    y  = (x − mean) / σ                             over the voxels of each channel
    backward   dx = (g − mean(g) − y · mean(g · y)) / σ        σ² = variance + ε

PyTorch's instance norm (2.13, CPU) turns a volume that has its channels last back, and its gradient
is wrong where the incoming one has them last. Its batch norm, which is the same for a batch of one,
does neither, but adds up all voxels of such a volume in one float32: on 128 x 192 x 192 the
variance is off by 1e-3. Here it sees slabs, in which that is exact enough, and their sums are added
in float64.

Axes: (B, C, D, H, W).
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLAB = 1 << 15  # voxels whose sum in float32 is good to some 1e-5


class InstanceNorm3d(nn.InstanceNorm3d):
    """`nn.InstanceNorm3d`, with its parameters and results."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[0] != 1:
            return super().forward(input)
        tracked = self.track_running_stats
        if not tracked and _is_last(input) and input[0, 0].numel() > SLAB:
            normed: Tensor = _Normed.apply(input, self.eps)
            if self.weight is None:
                return normed
            return torch.addcmul(_along(self.bias), normed, _along(self.weight))
        of_input = self.training or not tracked
        known = (self.running_mean, self.running_var) if tracked else (None, None)
        affine = self.weight, self.bias
        return F.batch_norm(input, *known, *affine, of_input, self.momentum or 0.0, self.eps)


class _Normed(torch.autograd.Function):
    """A volume (1, C, D, H, W) with its channels last, slab by slab."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        slabs = [slab for (slab,) in _slabs(x)]
        seen = [torch.batch_norm_update_stats(slab, None, None, 0.0) for slab in slabs]
        means, variances = (torch.stack(part).double() for part in zip(*seen, strict=True))
        depths = torch.tensor([slab.shape[2] for slab in slabs], dtype=torch.float64)
        share = depths[:, None] / x.shape[2]
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        ctx.save_for_backward(x, mean.float(), (variance + eps).rsqrt().float())
        return F.batch_norm(x, mean.float(), variance.float(), eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, mean, scale = ctx.saved_tensors  # scale: 1 / σ
        gradient = gradients[0].contiguous(memory_format=torch.channels_last_3d)
        one = torch.ones_like(mean)
        sums = torch.zeros(2, len(mean), dtype=torch.float64)
        for g, part in _slabs(gradient, x):
            _, along, level = torch.ops.aten.native_batch_norm_backward(
                g, part, one, None, None, mean, scale, True, 0.0, [False, True, True]
            )
            sums += torch.stack([along, level])
        along, level = (sums / x[0, 0].numel()).float()  # means of g · y and of g
        result = torch.empty_like(gradient)
        for g, part, out in _slabs(gradient, x, result):
            centred = F.batch_norm(g, level, one, scale, eps=0.0)
            out.copy_(centred.sub_(F.batch_norm(part, mean, scale**-2, scale * along, eps=0.0)))
        return result, None


def _slabs(*volumes: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same slices of each volume, as many as hold SLAB voxels, at least one."""
    depth = max(1, SLAB // volumes[0][0, 0, 0].numel())
    return zip(*(volume.split(depth, dim=2) for volume in volumes), strict=True)


def _along(values: Tensor) -> Tensor:
    """(C) -> (1, C, 1, 1, 1)."""
    return values[None, :, None, None, None]


def _is_last(volume: Tensor) -> bool:
    """Whether it lies on a CPU with its channels last, and not as well with its channels first."""
    return (
        volume.device.type == "cpu"
        and not volume.is_contiguous()
        and volume.is_contiguous(memory_format=torch.channels_last_3d)
    )
