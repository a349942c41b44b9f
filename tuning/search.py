"""The settings of a search and the points already known, without Ray or Optuna."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Literal, get_args

Params = dict[str, float]
Sampler = Literal["optuna", "random", "grid"]
Pruner = Literal["asha", "none"]
State = Literal["complete", "stopped", "failed", "unfinished"]


@dataclass(frozen=True)
class Range:
    """The range of a searched number, ends included. Raises ValueError for an impossible range."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"{self.low:g} to {self.high:g}: both ends have to be finite")
        if self.low >= self.high:
            raise ValueError(f"{self.low:g} to {self.high:g}: the low end has to be the smaller")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.low:g}")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(f"{self.low:g} to {self.high:g}: both ends have to be whole numbers")

    def __str__(self) -> str:
        kind = " (log)" if self.log else ""
        return f"{self.low:g} to {self.high:g}{', whole' * self.integer}{kind}"

    def could_hold(self, value: float) -> bool:
        """Whether a wider range of this kind could hold the value."""
        whole = value % 1 == 0 or not self.integer
        return math.isfinite(value) and whole and (value > 0 or not self.log)

    def steps(self, count: int) -> list[float]:
        """The `count` values from end to end, evenly apart or in ratio; whole ones only once."""
        last = count - 1
        if self.log:
            values = [self.low * (self.high / self.low) ** (i / last) for i in range(last)]
        else:
            values = [self.low + (self.high - self.low) * i / last for i in range(last)]
        values.append(self.high)
        return sorted({round(v) for v in values}) if self.integer else values


Space = Mapping[str, Range]


@dataclass(frozen=True)
class StudySettings:
    """The settings of a study. Raises ValueError for settings that cannot be carried out.

    A higher value is a better one. `points` are all points there will be, those of `first` and
    of earlier commands included. "optuna" is TPE; a grid has as many values of each range as
    `points` need, three at least, in an order drawn from `seed`, so that fewer points than the
    grid has lie all over it.
    """

    space: Space
    points: int
    sampler: Sampler
    pruner: Pruner
    epochs: int
    grace: int
    reduction: int = 3
    seed: int = 0
    first: tuple[Params, ...] = ()
    """Points that are evaluated before any proposal and never stopped, for comparison with the
    others. They may lie outside the ranges."""

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler) or self.pruner not in get_args(Pruner):
            raise ValueError(f"there is no search by {self.sampler} with {self.pruner}")
        if not self.space:
            raise ValueError("the space is empty")
        lowest = {"points": 1, "epochs": 1, "grace": 1, "reduction": 2}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, but at least {least} is needed")
        for params in self.first:
            if set(params) != set(self.space):
                raise ValueError(
                    f"a first point has {', '.join(params) or 'nothing'}; the space has "
                    f"{', '.join(self.space)}"
                )
            for name, value in params.items():
                if not self.space[name].could_hold(value):
                    raise ValueError(f"a first point has {name} = {value:g}")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which a point may be stopped: grace, grace · reduction, … below `epochs`."""
        return tuple(self._rungs()) if self.pruner == "asha" else ()

    def _rungs(self) -> Iterator[int]:
        epoch = self.grace
        while epoch < self.epochs:
            yield epoch
            epoch *= self.reduction

    @property
    def learns(self) -> bool:
        """Whether values decide what is proposed or stopped, so that their order matters."""
        return self.sampler == "optuna" or self.pruner == "asha"

    @property
    def size(self) -> int:
        """The number of points there will be: a grid may have fewer than were asked for."""
        if self.sampler != "grid":
            return self.points
        grid = self.grid()
        return min(self.points, len(grid) + sum(params not in grid for params in self.first))

    def grid(self) -> list[Params]:
        """Every point of the grid, in the order in which they are tried."""
        root = round(self.points ** (1 / len(self.space)), 9)  # 125 ** (1 / 3) is not quite 5
        steps = max(3, math.ceil(root))
        values = [span.steps(steps) for span in self.space.values()]
        points = [dict(zip(self.space, point, strict=True)) for point in product(*values)]
        Random(self.seed).shuffle(points)
        return points


@dataclass(frozen=True)
class KnownPoint:
    """A point that an earlier command left on disk."""

    number: int
    params: Params
    values: Mapping[int, float]
    """The value after each epoch so far; the last one of a complete point is its result."""
    state: State
