"""Where the channels lie in memory: every network with a 3-D convolution, both ways.

What models.layout takes on a CPU is measured here. Patch-based networks get the paper's window, the
others an eighth of the paper's volume. Point-Unet convolves in 3-D with SAN alone.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks import EIGHTH, built, placed
from benchmarks.timing import Row, medians_ms, require_equal
from harness.data.case import PAPER_GRID
from harness.systems import catalogue as systems
from harness.systems.methods import Method, Patches
from harness.systems.protocol import Protocol
from models.layout import Layout
from models.precision import Precision, autocast

ROUNDS = 3
CONVOLVING = [name for name in systems.SYSTEMS if name != "point_unet"]
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
LAYOUTS: dict[str, Layout] = {"ours": "channels_last", "first": "channels_first"}


def rows() -> Iterator[Row]:
    for precision in TOLERANCE:
        for name in CONVOLVING:
            loss = {key: _loss(name, precision, layout) for key, layout in LAYOUTS.items()}
            first, last = loss["first"]().item(), loss["ours"]().item()
            require_equal(f"{name}, {precision}", last, first, TOLERANCE[precision] * first)
            for what, function in (("forward", _forward), ("step", _step)):
                times = medians_ms({key: partial(function, loss[key]) for key in loss}, ROUNDS)
                case = f"{systems.system(name).title}, {precision}, {what}"
                yield Row(case, "channels first", times["ours"], times["first"])


def _loss(name: str, precision: Precision, layout: Layout) -> Callable[[], Tensor]:
    """The objective of one sample as a function of nothing but the weights."""
    method = _method(name, Protocol(precision=precision, layout=layout))
    stage = method.stages[-1]
    image = np.random.default_rng(0).random((1, *method.grid), dtype=np.float32)
    sample = placed(stage.sample(image, image[0] > 0.9, np.random.default_rng(0)))

    def loss() -> Tensor:
        with autocast(stage.device, stage.precision):
            return stage.losses(*sample)["total"]

    return loss


def _forward(loss: Callable[[], Tensor]) -> None:
    with torch.inference_mode():
        loss()


def _step(loss: Callable[[], Tensor]) -> None:
    loss().backward()


def _method(name: str, protocol: Protocol) -> Method:
    whole = built(name, protocol, PAPER_GRID)
    return whole if isinstance(whole, Patches) else built(name, protocol, EIGHTH)
