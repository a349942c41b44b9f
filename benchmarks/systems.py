"""All systems side by side: a training step and a prediction, plain and at their best.

Plain is what PyTorch does unasked: float32, channels first. The best is the fastest of all
precisions and layouts that the protocol knows, of a step and of a prediction each. GFLOP/s are
those of the plain network over the time of the best; their bound is a large matrix product in the
same precision. The paper's volume on a GPU, an eighth of it on a CPU. Every setting has a process
of its own, so that its memory is its own.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import EIGHTH, built, placed, step
from benchmarks.timing import DEVICE, Row, medians_ms, milliseconds
from harness import systems
from harness.data.grid import PAPER_GRID
from harness.measure import peak_memory_mib
from harness.methods import Stage
from harness.spec import Protocol
from models.layout import Layout
from models.precision import Precision

TOP = Path(__file__).parents[1]
GRID = PAPER_GRID if DEVICE.type == "cuda" else EIGHTH
ROUNDS = 9 if DEVICE.type == "cuda" else 1
SIDE = 8192 if DEVICE.type == "cuda" else 2048
PLAIN: tuple[Precision, Layout] = ("fp32", "channels_first")
SETTINGS = [*product(get_args(Precision), get_args(Layout))]


class Cost(NamedTuple):
    """Of one setting of one system; memory on a CPU with Python's and the libraries'."""

    prediction_ms: float
    prediction_mib: float
    prediction_gflops: float
    step_ms: float
    step_mib: float
    step_gflops: float
    product_gflops: float
    """Per second, of a large matrix product: where nothing but arithmetic counts."""


def rows() -> Iterator[Row]:
    for name in systems.SYSTEMS:
        costs = {setting: _in_a_process(name, *setting) for setting in SETTINGS}
        plain = costs[PLAIN]
        for what in ("prediction", "step"):
            setting = min(costs, key=lambda s: getattr(costs[s], f"{what}_ms"))
            best = costs[setting]
            case = f"{systems.system(name).title}, {what}, {' '.join(setting)}"
            ms, plain_ms = (getattr(cost, f"{what}_ms") for cost in (best, plain))
            mib, plain_mib = (getattr(cost, f"{what}_mib") for cost in (best, plain))
            yield Row(case, "plain", ms, plain_ms)
            yield Row(case, "plain", mib, plain_mib, unit="MiB")
            reached = getattr(plain, f"{what}_gflops") / ms * 1000
            yield Row(case, "matrix product", reached, best.product_gflops, unit="GFLOP/s")


def _in_a_process(name: str, *setting: str) -> Cost:
    command = [sys.executable, "-m", __name__, name, *setting]
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout))


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
    print(json.dumps([*prediction, *training, _product_gflops(precision)]))


def _step(stage: Stage, image: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """One step of the optimiser on one sample."""
    sample = placed(stage.sample(image, image[0] > 0.9, np.random.default_rng(0)))
    optimizer = torch.optim.Adam(stage.network.train().parameters(), lr=1e-4)
    return partial(step, stage, sample, optimizer)


def _measured(work: Callable[[], Any]) -> tuple[float, float, float]:
    """Milliseconds, peak MiB (on a CPU of all that came before, too) and GFLOPs of `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ms = statistics.median(milliseconds(work) for _ in range(ROUNDS))
    return ms, peak_memory_mib(DEVICE)["peak_mib"], counter.get_total_flops() / 1e9


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
