"""Three targets beside one: the training step of each convolutional system, and the metrics.

Peer: the same with one target. Only heads, losses and metrics grow, so that a step of three takes
at most 1.15 times as long and as much memory, and the metrics at most three times as long. On an
eighth of the paper's volume, whose step takes a CPU seconds; times in turns, memory in a process
of its own for each.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.masks import SPACING_MM, pairs
from benchmarks.networks import EIGHTH, placed, step
from benchmarks.timing import DEVICE, Row, medians_ms, milliseconds, require_equal
from harness.data.targets import held, packed
from harness.systems import catalogue as systems
from harness.systems.memory import peak_memory_mib, reset_peak
from harness.systems.methods import Method
from harness.systems.metrics import score
from harness.systems.protocol import Protocol
from models.losses import segmentation_loss

TOP = Path(__file__).parents[1]
TARGETS = 3
SYSTEMS = ("vnet", "unet3d", "resunet3d", "resunet3d_up", "hdresunet", "san", "pfseg")
GOAL = 1 / 1.15
STEPS = 5


def rows() -> Iterator[Row]:
    _require_the_mean()
    for name in SYSTEMS:
        one, three = (_in_a_process(name, count) for count in (1, TARGETS))
        case = f"{systems.system(name).title}, a step of {TARGETS} targets"
        yield Row(case, "one target", three["ms"], one["ms"], GOAL)
        yield Row(case, "one target", three["mib"], one["mib"], GOAL, "MiB")
    yield from _metrics()


def _require_the_mean() -> None:
    """The loss of three targets that are the same is that of one."""
    logits = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    label = (logits > 0.5).float()
    both = (segmentation_loss(x.expand(-1, n, -1, -1, -1), y.expand(-1, n, -1, -1, -1))
            for x, y, n in ((logits, label, TARGETS), (logits, label, 1)))  # fmt: skip
    require_equal("segmentation loss", *map(float, both), 1e-6)


def _in_a_process(name: str, count: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, name, str(count)],
        cwd=TOP,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        encoding="utf-8",
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(name: str, count: int) -> None:
    """Print milliseconds of a step, and the memory that training adds to the process, in MiB."""
    torch.manual_seed(0)
    options = systems.options(name, "paper", "brats")
    method: Method = systems.build(name, options, 1, EIGHTH, count)
    method.network.to(DEVICE)
    method.follow(Protocol())
    [stage] = method.stages
    stage.network.train()
    rng = np.random.default_rng(0)
    image = rng.random((1, *EIGHTH), dtype=np.float32)
    nested = [image[0] > limit for limit in (0.7, 0.8, 0.9)]
    label = packed(nested[:count]) if count > 1 else nested[0]
    sample = placed(stage.sample(image, label, rng))
    optimizer = torch.optim.Adam(stage.network.parameters(), lr=1e-4)
    reset_peak(method.device)
    step(stage, sample, optimizer)
    work = partial(step, stage, sample, optimizer)
    ms = statistics.median(milliseconds(work) for _ in range(STEPS))
    print(json.dumps({"ms": ms, "mib": peak_memory_mib(method.device)["peak_mib"]}))


def _metrics() -> Iterator[Row]:
    for case, pred, target in pairs():
        labels = packed([pred] * TARGETS), packed([target] * TARGETS)

        def each(labels: tuple[np.ndarray, np.ndarray] = labels) -> None:
            for place in range(TARGETS):
                score(held(labels[0], place), held(labels[1], place), SPACING_MM)

        alone = partial(score, pred, target, SPACING_MM)
        times = medians_ms({"three": each, "one": alone}, STEPS)
        what = f"metrics of {TARGETS} targets, {case}"
        yield Row(what, f"{TARGETS} times one", times["three"], TARGETS * times["one"], 1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
