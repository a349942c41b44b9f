"""The 27 windows of the paper around a network that does nothing: what the windows cost beside it.

Peers: the loop that everybody writes, and MONAI's inferer.
"""

from collections.abc import Iterator
from itertools import product

import torch

from benchmarks.timing import Row, installed, medians_ms, require_equal
from harness.systems.sliding_window import sliding_window

ROUNDS = 9
SHAPE, WINDOW = (128, 192, 192), (64, 96, 96)
GOALS = {"a loop by hand": 1.0}


def rows() -> Iterator[Row]:
    image = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    functions = {
        "ours": lambda: sliding_window(lambda x: x, image, WINDOW),
        "a loop by hand": lambda: _by_hand(image),
    }
    if installed("monai"):
        functions["monai"] = lambda: _monai(image)
    expected = functions["ours"]()
    for name, function in functions.items():
        require_equal(name, float((function() - expected).abs().max()), 0.0, 1e-6)
    times = medians_ms(functions, ROUNDS)
    for name in list(functions)[1:]:
        yield Row("27 windows", name, times["ours"], times[name], GOALS.get(name))


@torch.inference_mode()
def _by_hand(image: torch.Tensor) -> torch.Tensor:
    total, count = torch.zeros(SHAPE), torch.zeros(SHAPE)
    for start in product(*((0, side // 2, side) for side in WINDOW)):
        box = tuple(slice(s, s + side) for s, side in zip(start, WINDOW, strict=True))
        total[box] += image[(slice(None), *box)][None].sigmoid()[0, 0]
        count[box] += 1
    return total / count


@torch.inference_mode()
def _monai(image: torch.Tensor) -> torch.Tensor:
    from monai.inferers import sliding_window_inference

    probability = sliding_window_inference(
        image[None], WINDOW, 1, torch.sigmoid, overlap=0.5, mode="constant"
    )
    return torch.as_tensor(probability)[0, 0]
