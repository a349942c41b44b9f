"""The networks of the paper's profile, with random weights, on the device that is timed."""

from typing import Any

import torch

from benchmarks.timing import DEVICE
from harness import systems
from harness.methods import Grid, Method
from harness.spec import Protocol

EIGHTH: Grid = (64, 96, 96)
"""An eighth of the paper's volume, where a CPU would take too long over the whole."""


def built(name: str, protocol: Protocol, grid: Grid, **options: Any) -> Method:
    """The same weights at every call; what `options` does not say is as in the paper."""
    torch.manual_seed(0)
    method = systems.build(name, {**systems.options(name, "paper"), **options}, 1, grid)
    method.network.to(DEVICE)
    method.follow(protocol)
    return method
