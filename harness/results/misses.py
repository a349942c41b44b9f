"""Test cases in which exactly one of the two masks is empty: their distance is the worst there is.

A mean of distances is ruled by them, so that their count stands beside it wherever it is shown.
"""

from collections.abc import Sequence
from typing import NamedTuple

from harness.runs.trial_folder import TrialFolder


class Misses(NamedTuple):
    """Cases of all trainings: of three seeds on ten cases, up to thirty."""

    missed: int
    """There was a target, and nothing was found."""
    false_alarms: int
    """There was no target, and something was found."""


def misses(trials: Sequence[TrialFolder]) -> Misses:
    """Of finished trials. StateError when the scores of one cannot be read."""
    empty = [(trial.scores("failed"), trial.scores("target_ml")) for trial in trials]
    failed = [volume for fails, volumes in empty for case, volume in volumes.items() if fails[case]]
    missed = sum(volume > 0 for volume in failed)
    return Misses(missed, len(failed) - missed)
