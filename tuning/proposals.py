"""The choice of the next point, and of points to stop: an Optuna study in memory.

The study is rebuilt from what is on disk at every start, by telling it again what it was told
before; its rungs and its sampler then stand where they stood. Optuna keeps no file of its own.
"""

import math
import random
import warnings
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from tuning.search import KnownPoint, Params, Range, State, StudySettings

TRIES = 100  # proposals that may be known already, where the space is whole numbers


class Point(NamedTuple):
    """A numbered point of a study; the number belongs to its parameters for good."""

    number: int
    params: Params
    new: bool


@dataclass
class _Known:
    """One point with its values, as the Optuna study knows it."""

    trial: Trial
    params: Params
    values: dict[int, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The last value of the point; NaN before there is a value."""
        return self.values[max(self.values)] if self.values else math.nan


class Proposals:
    """The points of one study, past and to come."""

    def __init__(self, search: StudySettings, past: Iterable[KnownPoint] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.search = search
        self.space = {name: _distribution(span) for name, span in search.space.items()}
        self.study = optuna.create_study(direction="maximize", pruner=_pruner(search))
        self.known: dict[int, _Known] = {}
        self.unfinished: deque[Point] = deque()
        self.poor: list[int] = []
        """Numbers of unfinished points that were to be stopped when their command died."""
        for point in sorted(past, key=lambda point: point.number):
            self._recall(point)

    def next(self) -> Point | None:
        """The next point: an unfinished one, else a new one; None when all points are given.

        Given the same past, a new point is the same whatever this process did before.
        """
        if self.unfinished:
            return self.unfinished.popleft()
        if len(self.known) >= self.search.points:
            return None
        number = max(self.known, default=-1) + 1
        trial = self._first() or self._proposal(number)
        if trial is None:
            return None
        self.known[number] = _Known(trial, trial.params)
        return Point(number, trial.params, new=True)

    @property
    def left(self) -> int:
        """The largest number of points that may still come."""
        return len(self.unfinished) + max(0, self.search.points - len(self.known))

    def judge(self, number: int, epoch: int, value: float) -> bool:
        """Record a value of a point; returns True at a rung where the point is too poor to go on.

        A rung is judged once: a continued point may report again what it reported before.
        """
        point = self.known[number]
        repeated = epoch in point.values
        point.values[epoch] = value
        if repeated or epoch not in self.search.rungs:
            return False
        point.trial.report(value, epoch)
        poor = point.trial.should_prune()  # asked of every point: this is what fills the rung
        return not math.isfinite(value) or (poor and point.params not in self.search.first)

    def complete(self, number: int) -> tuple[State, float | None]:
        """Record a trained point; returns state ("failed" if the value is no number) and value."""
        return self._tell(number, "complete")

    def stop(self, number: int) -> tuple[State, float | None]:
        """Record a stop at a rung; returns state ("failed" if the value is no number) and value."""
        return self._tell(number, "stopped")

    def fail(self, number: int) -> None:
        self.study.tell(self.known[number].trial, state=TrialState.FAIL)

    def _tell(self, number: int, state: State) -> tuple[State, float | None]:
        point = self.known[number]
        if not math.isfinite(point.value):
            self.fail(number)
            return "failed", None
        if state == "complete":
            self.study.tell(point.trial, point.value)
        else:
            self.study.tell(point.trial, state=TrialState.PRUNED)
        return state, point.value

    def _recall(self, past: KnownPoint) -> None:
        """Give a past point and its values to the Optuna study again, in the same order."""
        number = past.number
        self.known[number] = _Known(self._given(past.params), past.params)
        poor = False
        for epoch, value in sorted(past.values.items()):
            poor = self.judge(number, epoch, value)
        if past.state == "failed":
            self.fail(number)
        elif past.state != "unfinished":
            self._tell(number, past.state)
        elif poor:  # at its last epoch; it was let go on from earlier rungs
            self.poor.append(number)
        else:
            self.unfinished.append(Point(number, past.params, new=False))

    def _first(self) -> Trial | None:
        """The next of the first points, which come before any proposal; None when none is left."""
        new = (params for params in self.search.first if not self._has(params))
        params = next(new, None)
        return None if params is None else self._given(params)

    def _proposal(self, number: int) -> Trial | None:
        if self.search.sampler == "grid":
            new = (params for params in self.search.grid() if not self._has(params))
            params = next(new, None)
            return None if params is None else self._given(params)
        sampler = {"optuna": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        for attempt in range(TRIES):
            # Anew each time: a study that was interrupted has drawn fewer numbers by now.
            seed = random.Random(f"{self.search.seed} {number} {attempt}").getrandbits(32)
            self.study.sampler = sampler[self.search.sampler](seed=seed)
            trial = self.study.ask(self.space)
            if not self._has(trial.params):
                return trial
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _given(self, params: Params) -> Trial:
        self.study.enqueue_trial(params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the first points may lie outside
            return self.study.ask(self.space)

    def _has(self, params: Params) -> bool:
        return any(point.params == params for point in self.known.values())


def _distribution(span: Range) -> BaseDistribution:
    if span.integer:
        return IntDistribution(int(span.low), int(span.high), log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)


def _pruner(search: StudySettings) -> optuna.pruners.BasePruner:
    """The ASHA pruner (Li et al., MLSys 2020): at a rung, the best 1 / reduction points go on."""
    if search.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=search.grace, reduction_factor=search.reduction
    )
