"""Three targets beside one: the training step of each convolutional system, and the metrics.

Peer: the same with one target. Only heads, losses and metrics grow, so that a step of three takes
at most 1.15 times as long and as much memory, and the metrics at most three times as long. On an
eighth of the paper's volume, whose step takes a CPU seconds; times in turns, memory in a process
of its own for each.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.masks import SPACING_MM, pairs
from benchmarks.networks import EIGHTH, built, placed, step
from benchmarks.own_process import in_own_process
from benchmarks.timing import DEVICE, Row, medians_ms, require_equal
from harness.data.targets import held, packed
from harness.systems import catalogue as systems
from harness.systems.memory import peak_memory_mib, reset_peak
from harness.systems.metrics import score
from harness.systems.protocol import Protocol
from models.losses import segmentation_loss

TARGETS = 3
SYSTEMS = ("vnet", "unet3d", "resunet3d", "resunet3d_up", "hdresunet", "san", "pfseg")
GOAL = 1 / 1.15
STEPS = 5


def rows() -> Iterator[Row]:
    _require_the_mean()
    for name in SYSTEMS:
        ms = medians_ms({str(count): _step(name, count) for count in (1, TARGETS)}, STEPS)
        one, three = (in_own_process(__name__, name, count) for count in (1, TARGETS))
        case = f"{systems.system(name).title}, a step of {TARGETS} targets"
        yield Row(case, "one target", ms[str(TARGETS)], ms["1"], GOAL)
        yield Row(case, "one target", three, one, GOAL, "MiB")
    yield from _metrics()


def _require_the_mean() -> None:
    """The loss of three targets that are the same is that of one."""
    logits = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    label = (logits > 0.5).float()
    both = (segmentation_loss(x.expand(-1, n, -1, -1, -1), y.expand(-1, n, -1, -1, -1))
            for x, y, n in ((logits, label, TARGETS), (logits, label, 1)))  # fmt: skip
    require_equal("segmentation loss", *map(float, both), 1e-6)


def main(name: str, count: int) -> None:
    """Print the peak of the memory of two steps, in MiB."""
    work = _step(name, count)
    work()
    reset_peak(DEVICE)
    work()
    print(json.dumps(peak_memory_mib(DEVICE)["peak_mib"]))


def _step(name: str, count: int) -> Callable[[], object]:
    """A training step of a system with so many targets, to be repeated."""
    method = built(name, Protocol(), EIGHTH, count)
    [stage] = method.stages
    stage.network.train()
    rng = np.random.default_rng(0)
    image = rng.random((1, *EIGHTH), dtype=np.float32)
    nested = [image[0] > limit for limit in (0.7, 0.8, 0.9)]
    label = packed(nested[:count]) if count > 1 else nested[0]
    sample = placed(stage.sample(image, label, rng))
    optimizer = torch.optim.Adam(stage.network.parameters(), lr=1e-4)
    return partial(step, stage, sample, optimizer)


def _metrics() -> Iterator[Row]:
    for case, pred, target in pairs():
        labels = packed([pred] * TARGETS), packed([target] * TARGETS)

        def each(labels: tuple[np.ndarray, np.ndarray] = labels) -> None:
            for place in range(TARGETS):
                score(held(labels[0], place), held(labels[1], place), SPACING_MM)

        label = target.astype(np.uint8)  # as a volume holds it

        def alone(pred: np.ndarray = pred, label: np.ndarray = label) -> None:
            score(pred, label > 0, SPACING_MM)

        times = medians_ms({"three": each, "one": alone}, STEPS)
        what = f"metrics of {TARGETS} targets, {case}"
        yield Row(what, f"{TARGETS} times one", times["three"], TARGETS * times["one"], 1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
