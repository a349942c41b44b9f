"""Full-size inference: the framework against the 27 windows of ResUNet3D, and against itself whole.

Random weights and a random volume: time does not depend on what is seen. In each pair of numbers
the same cropping, stitching and threshold are included as when a trial is measured.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.networks import built
from benchmarks.timing import DEVICE, Row, medians_ms, require_equal
from harness.data.case import PAPER_GRID
from harness.systems.methods import Method
from harness.systems.protocol import Protocol
from models.precision import Precision

ROUNDS = 3
GOALS: dict[Precision, float | None] = (
    {"fp32": 5.0, "bf16": 5.0} if DEVICE.type == "cuda" else {"fp32": 7.5, "bf16": None}
)
HALF = 1.5
EXACT = 1e-4 if DEVICE.type == "cuda" else 0.0  # cuDNN may take another way each time


def rows() -> Iterator[Row]:
    image = np.random.default_rng(0).random((1, *PAPER_GRID), dtype=np.float32)
    for precision, goal in GOALS.items():
        whole, windows = (
            built(name, Protocol(precision=precision), PAPER_GRID)
            for name in ("pfseg", "resunet3d")
        )
        ours = whole.for_inference()
        both = _both_decoders(whole, image)
        apart = np.abs(ours.probability(image) - both()).max()
        require_equal(f"with and without SRT decoder, {precision}", float(apart), 0.0, EXACT)
        times = medians_ms(
            {
                "ours": lambda ours=ours: ours.segment(image),
                "windows": lambda windows=windows: windows.segment(image),
                "both": both,
            },
            ROUNDS,
        )
        case = f"one volume, {precision}"
        yield Row(case, "27 windows of ResUNet3D", times["ours"], times["windows"], goal)
        yield Row(case, "both decoders", times["ours"], times["both"], HALF)


def _both_decoders(method: Method, image: NDArray[np.float32]) -> Callable[[], NDArray]:
    """The prediction with the training-only decoder left in and run."""
    network = method.network

    def segment(low: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return network(low, window).seg

    network.segment = segment
    return lambda: method.probability(image)
