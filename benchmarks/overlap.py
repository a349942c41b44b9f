"""Dice with Jaccard against medpy, MONAI and the least there is to do: reading both masks."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.masks import Mask, pairs
from benchmarks.timing import Row, installed, medians_ms, require_equal
from harness.systems.overlap import overlap

ROUNDS = 15
GOALS = {"reading both masks": 0.5}
Both = tuple[float, float]


def rows() -> Iterator[Row]:
    peers = {
        name: make for name, make in {"medpy": _medpy, "monai": _monai}.items() if installed(name)
    }
    for case, pred, target in pairs():
        functions = {name: make(pred, target) for name, make in peers.items()}
        for name, function in functions.items():
            for what, mine, theirs in zip(
                ("Dice", "Jaccard"), _ours(pred, target), function(), strict=True
            ):
                require_equal(f"{case}, {what}, {name}", mine, theirs, 1e-6)
        times = medians_ms(
            {
                "ours": lambda: _ours(pred, target),  # noqa: B023  called before the next case
                "reading both masks": lambda: (np.count_nonzero(pred), np.count_nonzero(target)),  # noqa: B023
                **functions,
            },
            ROUNDS,
        )
        for name in ("reading both masks", *functions):
            yield Row(case, name, times["ours"], times[name], GOALS.get(name))


def _ours(pred: Mask, target: Mask) -> Both:
    counts = overlap(pred, target)
    return counts.dice, counts.jaccard


def _medpy(pred: Mask, target: Mask) -> Callable[[], Both]:
    from medpy.metric import binary

    return lambda: (float(binary.dc(pred, target)), float(binary.jc(pred, target)))


def _monai(pred: Mask, target: Mask) -> Callable[[], Both]:
    from monai.metrics import compute_dice, compute_iou

    first, second = (torch.from_numpy(np.array(mask))[None, None] for mask in (pred, target))
    return lambda: (float(compute_dice(first, second)), float(compute_iou(first, second)))
