"""TEL with the exact SSL, forward and backward, at 128 x 192 x 192, from S, p, X and y.

Peers: TEL alone in plain autograd, the pooled approximation of the authors' code, and the exact
SSL by the Gram matrices of F and G. Equal to both terms in float64 first.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.timing import Row, medians_ms, require_equal
from models import losses

ROUNDS = 9
SHAPE = (1, 1, 128, 192, 192)
CASE = "TEL + exact SSL"
Pair = tuple[Tensor, Tensor]


def rows() -> Iterator[Row]:
    sr, prob, image, label = (_noise(seed) for seed in range(4))
    label, sr = (label > 0.7).float(), image + 0.1 * sr

    def timed(loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Callable[[], Pair]:
        def call() -> Pair:
            inputs = [x.requires_grad_() for x in (sr.detach(), prob.detach())]
            loss(*inputs, image, label).backward()
            return inputs[0].grad, inputs[1].grad  # type: ignore[return-value]

        return call

    _require_exact(sr, prob, image, label)
    times = medians_ms(
        {
            "ours": timed(lambda *x: sum(losses.fusion_losses(*x), torch.zeros(()))),
            "tel": timed(_tel),
            "pooled": timed(lambda *x: _tel(*x) + _pooled(*x)),
            "gram": timed(lambda *x: _tel(*x) + _gram(*x)),
        },
        ROUNDS,
    )
    yield Row(CASE, "TEL alone", times["ours"], times["tel"], 1 / 1.5)
    yield Row(CASE, "released, pooled SSL", times["ours"], times["pooled"], 4)
    yield Row(CASE, "Gram form of the SSL", times["ours"], times["gram"])


def _noise(seed: int) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def _require_exact(*factors: Tensor) -> None:
    wide = [x.double() for x in factors]
    ours = losses.fusion_losses(*factors)
    for name, mine, exact in zip(("TEL", "SSL"), ours, (_tel(*wide), _gram(*wide)), strict=True):
        require_equal(name, float(mine), float(exact), 1e-5 * float(exact))


def _tel(s: Tensor, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return (s * p - x * y).square().mean()


def _gram(s: Tensor, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    f, g = s * p, x * y
    ff, fg, gg = (f * f).mean(), (f * g).mean(), (g * g).mean()
    return ff * ff - 2 * fg * fg + gg * gg


def _pooled(s: Tensor, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    pooled = [torch.nn.functional.avg_pool3d(v, 10) for v in (p, s, x * y)]
    cells_of_slice = pooled[0].shape[-1] * pooled[0].shape[-2]
    a, b = (v.flatten().unsqueeze(1) for v in (pooled[0] * pooled[1], pooled[2]))
    return (a @ a.mT - b @ b.mT).abs().sum() / cells_of_slice**2
