"""Two or more functions timed in turns, so that a busy moment of the machine meets all of them."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch

from harness.trials.machine_facts import cpu_name

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where networks are timed."""


class Row(NamedTuple):
    """One line of the table; times are medians over interleaved rounds."""

    case: str
    peer: str
    ours: float
    theirs: float
    goal: float | None = None
    """The least `ratio` that was asked for."""
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """How many times more the peer takes."""
        return self.theirs / self.ours

    @property
    def verdict(self) -> str:
        """Whether the goal is met, and how far from it the ratio is."""
        if self.goal is None:
            return ""
        beyond = 100 * (self.ratio / self.goal - 1)
        return f"{'met' if beyond >= 0 else 'missed'} by {abs(beyond):.0f} %"


def medians_ms(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each function after one warm-up; one call of each per round.

    Every round begins with another function, so that what one leaves behind (cold caches,
    threads that still spin) does not always meet the same other.
    """
    for function in functions.values():
        function()
    spent: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            spent[name].append(milliseconds(functions[name]))
    return {name: round(statistics.median(values), 3) for name, values in spent.items()}


def milliseconds(function: Callable[[], Any]) -> float:
    """What one call takes, until the device has done all of it."""
    began = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1000


def device_name() -> str:
    """What the figures belong to: networks run on the GPU where there is one."""
    if DEVICE.type == "cuda":
        return f"cuda-{torch.cuda.get_device_name(DEVICE)}"
    return f"cpu-{cpu_name()}-{os.cpu_count()}cores"


def installed(library: str) -> bool:
    """Whether a peer is there to be compared with; says so when it is not."""
    try:
        version(library)
    except PackageNotFoundError:
        print(f"{library} is not installed: skipped", flush=True)
        return False
    return True


def require_equal(what: str, ours: float, theirs: float, tolerance: float) -> None:
    """Times of different results mean nothing. Raises ValueError when they differ."""
    if not abs(ours - theirs) <= tolerance:
        raise ValueError(f"{what}: ours {ours!r}, theirs {theirs!r}: not the same result")
