"""Parameters and FLOPs of a system, counted on shapes alone.

`python -m harness.systems.cost` writes its costs.json, which `pfbench list models` shows without
loading torch; a test holds the file to what is counted here.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.data.grid import PAPER_GRID
from harness.runs.settings import PROFILES
from harness.systems import catalogue as systems
from harness.systems.methods import Grid

COSTS = Path(__file__).parent / "costs.json"


class Cost(TypedDict):
    """What a system takes, whatever it was trained on."""

    parameters: int
    parameters_inference: int
    gflops_per_volume: float


def cost(name: str, options: dict[str, Any], modalities: int, grid: Grid) -> Cost:
    """Parameters in training and inference, and GFLOPs for one volume with all its windows.

    1 GFLOP = 10^9 operations of convolutions and matrix products, multiply and add counted
    apart (torch's FlopCounterMode); nothing is computed.
    """
    with torch.device("meta"), torch.inference_mode():
        method = systems.build(name, options, modalities, grid)
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


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def costs() -> dict[str, dict[str, Cost]]:
    """profile -> system -> cost, for one modality."""
    return costs_of(systems.SYSTEMS)


def costs_of(names: Iterable[str]) -> dict[str, dict[str, Cost]]:
    """The same of some systems."""
    names = tuple(names)
    return {
        profile: {
            name: cost(name, systems.options(name, profile), 1, grid_of(settings.reduce))
            for name in names
        }
        for profile, settings in PROFILES.items()
    }


def grid_of(reduce: Grid) -> Grid:
    d, h, w = (side // factor for side, factor in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


if __name__ == "__main__":
    COSTS.write_text(json.dumps(costs(), indent=1) + "\n")
