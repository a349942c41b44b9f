"""Scores of one metric by patient: the input of intervals, tests and ranks.

    runs {seed: {case: score}} ─► Scores ─► harness.results.intervals, harness.results.rankings

The patient is the unit. The cases of a patient are averaged first, then the seeds: ten seeds on
eight patients are eight observations. How far trainings lie apart is kept beside them.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.data.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

MIN_PATIENTS = (
    6  # the fewest of which the extremes enclose the median in 95 %: 1 - 2 / 2**6 = 0.969
)
DECIMALS = 12  # 0.3 - 0.2 and 0.2 - 0.1 must tie; finer than any metric here is meaningful


class Scores:
    """The scores of one metric for one system, or for a group of systems as one.

    `runs` maps seed -> {case: score}, missed targets included with the worst score there is; `unit`
    maps a case to its patient, by default each to itself. Raises ValueError for no scores, or
    naming the cases without a finite one: nothing is dropped.
    """

    def __init__(
        self, runs: Mapping[int, Mapping[str, float]], unit: Mapping[str, str] | None = None
    ) -> None:
        seeds, cases = sorted(runs), sorted({case for run in runs.values() for case in run})
        if not cases:
            raise ValueError("no scores: at least one case and one seed are needed")
        table = np.array([[runs[seed].get(case) for seed in seeds] for case in cases], dtype=float)
        absent = np.argwhere(~np.isfinite(table))
        if len(absent):
            names = [f"{cases[case]} (seed {seeds[seed]})" for case, seed in absent]
            raise ValueError(f"no finite score for {listed(names, 5)}: a miss counts as the worst")
        patients, place, cases_of = np.unique(
            [(unit or {}).get(case, case) for case in cases],
            return_inverse=True,
            return_counts=True,
        )
        sums = np.zeros((len(patients), len(seeds)))
        np.add.at(sums, place, table)
        self.patients: tuple[str, ...] = tuple(map(str, patients))
        self._tables: tuple[Floats, ...] = (sums / cases_of[:, None],)

    @classmethod
    def of_group(cls, systems: Mapping[str, "Scores"]) -> "Scores":
        """The scores of several systems as one: their mean in each patient.

        Raises ValueError naming the patients that not every system has.
        """
        aligned(systems)
        group = cls.__new__(cls)
        group.patients = next(iter(systems.values())).patients
        group._tables = tuple(table for each in systems.values() for table in each._tables)
        return group

    @cached_property
    def values(self) -> Floats:
        """The score of each patient, (patients,): the average over seeds and systems of a group."""
        columns = [table.mean(axis=1) for table in self._tables]
        return np.mean(columns, axis=0).round(DECIMALS)

    @property
    def means(self) -> "pd.Series[float]":
        """The scores in `values`, indexed by patient."""
        import pandas as pd  # for who draws; intervals and tests go without

        return pd.Series(self.values, index=list(self.patients))

    @property
    def n_seeds(self) -> int:
        """The number of trainings; for a group, that of the system with the fewest."""
        return min(table.shape[1] for table in self._tables)

    @cached_property
    def by_training(self) -> tuple[Floats, ...]:
        """The scores from each single training: (patients, seeds), one array for each system.

        The other systems of a group stay averages.
        """
        whole, share = self.values[:, None], 1 / len(self._tables)
        return tuple(
            np.round(whole + share * (table - table.mean(axis=1, keepdims=True)), DECIMALS)
            for table in self._tables
        )

    @property
    def spread(self) -> float | None:
        """Standard deviation over the sample of patients; None for a single patient."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None

    @property
    def spread_of_seeds(self) -> float | None:
        """Standard deviation of the means of single trainings; None for one training or a group.

        As all, it is of the sample: divided by one less than there are.
        """
        if len(self._tables) > 1 or self.n_seeds < 2:
            return None
        return float(self._tables[0].mean(axis=0).std(ddof=1))


def aligned(systems: Mapping[str, Scores]) -> Floats:
    """The scores side by side, (patients, systems).

    Raises ValueError naming the patients that not every system has.
    """
    known = Counter(patient for scores in systems.values() for patient in scores.patients)
    partial = sorted(patient for patient, times in known.items() if times < len(systems))
    if partial:
        raise ValueError(f"not scored for every system: {listed(partial, 5)}")
    return np.column_stack([scores.values for scores in systems.values()])


def too_small(n: int, what: str) -> str:
    """The note of an estimate that lacks `what` for want of patients; "" when `n` are enough."""
    if n >= MIN_PATIENTS:
        return ""
    return f"n too small: {counted(n, 'patient')}, {what} needs {MIN_PATIENTS}"
