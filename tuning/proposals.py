"""The choice of the next point, and which of the points at a rung are poor: an Optuna study.

The study lies in memory and is rebuilt from what is on disk at every start, by telling it again
what it was told before. Optuna keeps no file of its own.
"""

import random
import warnings

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from tuning.search import Params, Range, State, StudySettings

TRIES = 100  # proposals that may be known already, where the space is whole numbers
STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Proposals:
    """The points of one study, as Optuna knows them; all is decided by the order of the calls."""

    def __init__(self, search: StudySettings) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.search = search
        self.space = {name: _distribution(span) for name, span in search.space.items()}
        self.study = optuna.create_study(direction="maximize", pruner=_pruner(search))
        self.trials: dict[int, Trial] = {}
        self.params: dict[int, Params] = {}

    def new(self, number: int) -> Params | None:
        """The parameters of a new point; None when there are no others than those known."""
        trial = self._first() or self._proposal(number)
        if trial is None:
            return None
        self.trials[number] = trial
        self.params[number] = trial.params
        return self.params[number]

    def given(self, number: int, params: Params) -> Params:
        """Take a point whose parameters were chosen before; returns them."""
        self.trials[number] = self._given(params)
        self.params[number] = params
        return params

    def judge(self, number: int, epoch: int, value: float) -> bool:
        """Record the value of a point at a rung; returns True where it is too poor to go on."""
        trial = self.trials[number]
        trial.report(value, epoch)
        return trial.should_prune() and self.params[number] not in self.search.first

    def tell(self, number: int, state: State, value: float) -> None:
        """Record how a point ended."""
        values = value if state == "complete" else None
        self.study.tell(self.trials[number], values, state=STATES[state])

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
        return params in self.params.values()


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
