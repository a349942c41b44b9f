"""The importance of the parameters of a study: fANOVA on the random forest of Optuna."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tuning.search import Range

ALIKE = 1e-6  # scores that are closer are equal


def importance(points: pd.DataFrame, space: Mapping[str, Range]) -> dict[str, float] | None:
    """Share of the variance of the score that each parameter explains alone, the largest first.

    fANOVA (Hutter et al., ICML 2014) over the complete points of one study, columns as in `draw`;
    what is missing to 1 is explained by parameters together. Every value between the ends of its
    range weighs the same, on a log scale if it was searched on one; points outside are left out.
    None where there is nothing to compare: one parameter, fewer than two points for each and two
    more, or equal scores.
    """
    points = compared(points, space)
    values = points["value"].astype(float)
    if len(space) < 2 or len(points) < 2 * len(space) + 2 or np.ptp(values) < ALIKE:
        return None
    import optuna  # with scikit-learn and all of scipy, which few studies need
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    # Optuna weighs ranges linearly, so that it is given logarithms where they count.
    ends: dict[str, BaseDistribution] = {
        name: FloatDistribution(*_scaled([span.low, span.high], span).tolist())
        for name, span in space.items()
    }
    places = {name: _scaled(points[name], span) for name, span in space.items()}
    for row, value in enumerate(values):
        params = {name: float(place[row]) for name, place in places.items()}
        study.add_trial(create_trial(params=params, distributions=ends, value=value))
    return FanovaImportanceEvaluator(seed=0).evaluate(study)


def compared(points: pd.DataFrame, space: Mapping[str, Range]) -> pd.DataFrame:
    """The complete points whose parameters all lie within their ranges."""
    inside = [points[name].between(span.low, span.high) for name, span in space.items()]
    return points[np.logical_and.reduce([points["state"] == "complete", *inside])]


def _scaled(values: Any, span: Range) -> np.ndarray:
    """The values on the scale of the search, where equal steps are equally far."""
    return np.log(np.asarray(values, float)) if span.log else np.asarray(values, float)
