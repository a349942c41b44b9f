"""The networks of the paper's profile, with random weights, on the device that is timed."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import DEVICE
from harness.systems import catalogue as systems
from harness.systems.methods import Grid, Method, Stage
from harness.systems.protocol import Protocol
from harness.systems.train import to
from models.precision import autocast

EIGHTH: Grid = (64, 96, 96)
"""An eighth of the paper's volume, where a CPU would take too long over the whole."""


def built(name: str, protocol: Protocol, grid: Grid, targets: int = 1, **options: Any) -> Method:
    """The same weights at every call; what `options` does not say is as in the paper."""
    torch.manual_seed(0)
    every = {**systems.options(name, "paper", "brats"), **options}
    method = systems.build(name, every, 1, grid, targets)
    method.network.to(DEVICE)
    method.follow(protocol)
    return method


def placed(sample: Iterable[Any]) -> list[Any]:
    """A sample where it is timed."""
    return [to(part, DEVICE) for part in sample]


def step(
    trained: Stage | Method, sample: Sequence[Any], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The training step that everybody writes; the terms of its loss."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(trained.device, trained.precision):
        terms = trained.losses(*sample)
    terms["total"].backward()
    optimizer.step()
    return terms
