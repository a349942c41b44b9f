"""Count the parameters and FLOPs of a system from shapes, without computing a number."""

from typing import TypedDict

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.systems import catalogue as systems
from harness.systems.methods import Grid
from harness.systems.protocol import Options


class Cost(TypedDict):
    """The parameters and operations of a system, which do not depend on its training data."""

    parameters: int
    parameters_inference: int
    gflops_per_volume: float


def cost(name: str, options: Options, modalities: int, grid: Grid, targets: int = 1) -> Cost:
    """Count parameters in training and inference, and GFLOPs for one volume with all its windows.

    1 GFLOP = 10^9 operations of convolutions and matrix products, multiply and add counted
    apart (torch's FlopCounterMode); nothing is computed.
    """
    with torch.device("meta"), torch.inference_mode():
        method = systems.build(name, options, modalities, grid, targets)
        method.network.eval()
        slim = method.for_inference()
        counter = FlopCounterMode(display=False)
        with counter:
            slim.look(modalities)
    return {
        "parameters": parameters(method.network),
        "parameters_inference": parameters(slim.network),
        "gflops_per_volume": slim.looks * counter.get_total_flops() / 1e9,
    }


def adapt_gflops(
    name: str, options: Options, modalities: int, grid: Grid, targets: int = 1
) -> float | None:
    """Count GFLOPs of test-phase fine-tuning on one volume; None for a system without any."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        method = systems.build(name, options, modalities, grid, targets)
        with counter:
            method.adaptation(modalities)
    return counter.get_total_flops() / 1e9 or None


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
