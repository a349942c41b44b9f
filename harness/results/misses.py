"""Missed targets and false alarms: exactly one mask of the case is empty, the distance the worst.

A mean of distances is ruled by them, so that their count stands beside it wherever it is shown.
"""

from collections.abc import Sequence
from typing import NamedTuple

from harness.runs.records import Scored
from harness.runs.trial_folder import TrialFolder


class Misses(NamedTuple):
    """Missed targets and false alarms of all trainings: of 3 seeds on 10 cases, up to 30."""

    missed: int
    """Cases with a target and an empty prediction."""
    false_alarms: int
    """Cases without a target and with a prediction that is not empty."""


def without_target(trials: Sequence[TrialFolder]) -> bool:
    """Whether no test case of finished trials has a target, so that scores say nothing."""
    found = [result for trial in trials if isinstance(result := trial.result(), Scored)]
    return bool(found) and all(one.n_without_target == one.n_cases for one in found)


def misses(trials: Sequence[TrialFolder]) -> Misses:
    """The misses of finished trials. StateError when the scores of a trial cannot be read."""
    empty = [(trial.scores("failed"), trial.scores("target_ml")) for trial in trials]
    failed = [volume for fails, volumes in empty for case, volume in volumes.items() if fails[case]]
    missed = sum(volume > 0 for volume in failed)
    return Misses(missed, len(failed) - missed)
