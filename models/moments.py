"""Second moments of two fusions: all that eq. 14 and 16 need, in one pass over the volumes.

    F = S p,  G = X y (eq. 11, 12)      U = F - G,  V = F + G, as L x C, L = D H W
    uu = UᵀU / L,  uv = UᵀV / L,  vv = VᵀV / L                       (B, C, C) each

F, G, U, V and the gradient of F are never held for a whole volume: they come and go in chunks
that stay in the processor's cache, once forwards and once backwards.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.precision import wide

CHUNK, GPU_CHUNK = 1 << 17, 1 << 22  # voxels; a core's cache holds a few arrays of the first


class Moments(NamedTuple):
    """Means over all voxels of the products of two channels, (B, C, C)."""

    uu: Tensor
    uv: Tensor
    vv: Tensor


def moments(sr: Tensor, prob: Tensor, image: Tensor, label: Tensor) -> Moments:
    """sr, image (B, C, D, H, W) and prob, label (B, 1, D, H, W), in float32 or wider.

    Differentiable once, in sr and prob. ValueError when image or label ask for a gradient.
    """
    if image.requires_grad or label.requires_grad:
        raise ValueError("image and label are what is aimed at: they cannot have a gradient")
    return Moments(*_Moments.apply(sr, prob, image, label))


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *factors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*factors)
        sums = [(_products(u, u), _products(u, v), _products(v, v)) for u, v in _pairs(factors)]
        return tuple(
            torch.stack(parts).sum(0) / _voxels(factors[0]) for parts in zip(*sums, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dF = U a + V b; from the slopes of the three moments and U = F - G, V = F + G."""
        sr, prob, *_ = ctx.saved_tensors
        uu, uv, vv = (slope / _voxels(sr) for slope in slopes)
        a, b = uu + uu.mT + uv, uv.mT + vv + vv.mT
        grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (sr, prob)]
        chunks = zip(*map(_chunks, (sr, prob, *grads)), strict=True)
        for (u, v), (s, p, of_s, of_p) in zip(_pairs(ctx.saved_tensors), chunks, strict=True):
            of_f = _mix(u, a).add_(_mix(v, b))
            torch.mul(of_f, p, out=of_s)
            torch.sum(of_f.mul_(s), 1, keepdim=True, out=of_p)
        return *grads, None, None


def _pairs(factors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """U and V of one chunk after the other, (B, C, n)."""
    for s, p, x, y in zip(*map(_chunks, factors), strict=True):
        f, g = wide(s) * wide(p), wide(x) * wide(y)
        yield f - g, f.add_(g)


def _chunks(volume: Tensor) -> tuple[Tensor, ...]:
    return volume.flatten(2).split(CHUNK if volume.device.type == "cpu" else GPU_CHUNK, dim=2)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """aᵀb, (B, C, C). By sums, which are pairwise, not by a matrix product: in float32 over
    millions of voxels that is three digits more."""
    return (a[:, :, None] * b[:, None]).sum(-1)


def _mix(x: Tensor, weights: Tensor) -> Tensor:
    """x (B, C, n) weights (B, C, C), channels mixed. No matrix product, which may be TF32."""
    return (weights.mT[..., None] * x[:, None]).sum(2)


def _voxels(volume: Tensor) -> int:
    return volume[0, 0].numel()
