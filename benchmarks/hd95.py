"""HD95 in mm: pooled against medpy, the larger directed one against MONAI."""

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Literal

import numpy as np
import torch

from benchmarks.masks import SPACING_MM, Mask, pairs
from benchmarks.timing import Row, installed, medians_ms, require_equal
from harness.systems.hd95 import hd95

ROUNDS = 5
METHOD: dict[str, Literal["pooled", "max"]] = {"medpy": "pooled", "monai": "max"}
"""Which of our two definitions a peer shares; surface-distance weighs by surface elements."""
GOALS = {"medpy": 20, "monai": 4}


def rows() -> Iterator[Row]:
    peers = {
        name: make
        for name, make in {"medpy": _medpy, "monai": _monai, "surface-distance": _deepmind}.items()
        if installed(name)
    }
    for case, pred, target in pairs():
        functions = {name: make(pred, target) for name, make in peers.items()}
        for name, function in functions.items():
            if name in METHOD:
                ours = hd95(pred, target, SPACING_MM, METHOD[name])
                require_equal(f"{case}, {name}", ours, function(), 1e-5 * max(1, ours))
        times = medians_ms({**_ours(pred, target), **functions}, ROUNDS)
        for name in functions:
            method = METHOD.get(name, "max")
            yield Row(
                case, f"{name} ({method})", times[f"ours {method}"], times[name], GOALS.get(name)
            )


def _ours(pred: Mask, target: Mask) -> dict[str, Callable[[], float]]:
    return {
        "ours pooled": lambda: hd95(pred, target, SPACING_MM),
        "ours max": lambda: hd95(pred, target, SPACING_MM, "max"),
    }


def _medpy(pred: Mask, target: Mask) -> Callable[[], float]:
    from medpy.metric import binary

    return lambda: float(binary.hd95(pred, target, SPACING_MM))


def _monai(pred: Mask, target: Mask) -> Callable[[], float]:
    from monai.metrics import compute_hausdorff_distance

    first, second = (torch.from_numpy(np.array(mask))[None, None] for mask in (pred, target))

    def call() -> float:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy")
            value = compute_hausdorff_distance(
                first, second, include_background=True, percentile=95, spacing=SPACING_MM
            )
        return float(value)

    return call


def _deepmind(pred: Mask, target: Mask) -> Callable[[], float]:
    library = import_module("surface_distance")

    def call() -> float:
        distances = library.compute_surface_distances(target, pred, SPACING_MM)
        return float(library.compute_robust_hausdorff(distances, 95))

    return call
