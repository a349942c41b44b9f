"""All systems side by side: a training step and a prediction, plain and at their best.

Plain is what PyTorch does unasked: float32, channels first. The best is the fastest of all
precisions and layouts that the protocol knows, of a step and of a prediction each. GFLOP/s are
those of the plain network over the time of the best; their bound is a large matrix product in the
same precision. The paper's volume on a GPU, an eighth of it on a CPU. Every setting has a process
of its own, so that its memory is its own.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import EIGHTH, built, placed, step
from benchmarks.own_process import in_own_process
from benchmarks.timing import DEVICE, Row, medians_ms, milliseconds
from harness.data.case import PAPER_GRID
from harness.systems import catalogue as systems
from harness.systems.memory import peak_memory_mib
from harness.systems.methods import Stage
from harness.systems.protocol import Protocol
from models.layout import Layout
from models.precision import Precision

GRID = PAPER_GRID if DEVICE.type == "cuda" else EIGHTH
ROUNDS = 9 if DEVICE.type == "cuda" else 1
SIDE = 8192 if DEVICE.type == "cuda" else 2048
PLAIN: tuple[Precision, Layout] = ("fp32", "channels_first")
SETTINGS = [*product(get_args(Precision), get_args(Layout))]


class Work(NamedTuple):
    """What a prediction or a step takes; memory on a CPU is the process's until then."""

    ms: float
    mib: float
    gflops: float


class Cost(NamedTuple):
    """Of one setting of one system."""

    prediction: Work
    step: Work
    product_gflops: float
    """Per second, of a large matrix product: where nothing but arithmetic counts."""


def rows() -> Iterator[Row]:
    for name in systems.SYSTEMS:
        costs = {setting: _in_a_process(name, *setting) for setting in SETTINGS}
        for what in ("prediction", "step"):
            works = {setting: getattr(cost, what) for setting, cost in costs.items()}
            setting = min(works, key=lambda s: works[s].ms)
            best, plain = works[setting], works[PLAIN]
            case = f"{systems.system(name).title}, {what}, {' '.join(setting)}"
            yield Row(case, "plain", best.ms, plain.ms)
            yield Row(case, "plain", best.mib, plain.mib, unit="MiB")
            reached, bound = plain.gflops / best.ms * 1000, costs[setting].product_gflops
            yield Row(case, "matrix product", reached, bound, unit="GFLOP/s")


def _in_a_process(name: str, *setting: str) -> Cost:
    prediction, training, product_gflops = in_own_process(__name__, name, *setting)
    return Cost(Work(*prediction), Work(*training), product_gflops)


def _product_gflops(precision: Precision) -> float:
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = (torch.rand(SIDE, SIDE, device=DEVICE, dtype=kind) for _ in range(2))
    ms = medians_ms({"product": lambda: a @ b}, 9)["product"]
    return 2 * SIDE**3 / ms / 1e6


def main(name: str, precision: Precision, layout: Layout) -> None:
    """Print the Cost of one setting as JSON."""
    method = built(name, Protocol(precision=precision, layout=layout), GRID)
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32)
    prediction = _measured(partial(method.for_inference().segment, image))
    steps = [_step(stage, image) for stage in method.stages]
    training = _measured(lambda: [one() for one in steps])
    print(json.dumps([prediction, training, _product_gflops(precision)]))


def _step(stage: Stage, image: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """One step of the optimiser on one sample."""
    sample = placed(stage.sample(image, image[0] > 0.9, np.random.default_rng(0)))
    optimizer = torch.optim.Adam(stage.network.train().parameters(), lr=1e-4)
    return partial(step, stage, sample, optimizer)


def _measured(work: Callable[[], Any]) -> Work:
    with FlopCounterMode(display=False) as counter:
        work()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ms = statistics.median(milliseconds(work) for _ in range(ROUNDS))
    return Work(ms, peak_memory_mib(DEVICE)["peak_mib"], counter.get_total_flops() / 1e9)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
