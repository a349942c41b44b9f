"""Divide cases into training, validation and test: by patient, from a seed or as the authors do.

A split is what split.json of a run holds: the cases of each part, and whose they are.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from harness.data.wording import listed
from harness.errors import DataError, UsageError

FOLDS = 5
Kind = Literal["seeded", "official", "site"]


@dataclass(frozen=True)
class Split:
    """The case ids of the three parts; no case, and no patient, is in two parts."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patients: Mapping[str, str] = field(default_factory=dict)
    """Case -> patient; empty where every case is a patient of its own."""
    sites: Mapping[str, str] = field(default_factory=dict)
    """Case -> site, where the site is known."""

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The case ids of each part, by the name of the part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def patient_of(self, case: str) -> str:
        """Return the patient of a case, the unit of intervals and tests."""
        return self.patients.get(case, case)

    def shared_patients(self) -> dict[str, dict[str, str]]:
        """Return patient -> part -> one of its cases there, for patients in several parts."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for name, ids in self.parts.items():
            for case in ids:
                found[self.patient_of(case)].setdefault(name, case)
        return {patient: cases for patient, cases in found.items() if len(cases) > 1}

    @property
    def digest(self) -> str:
        """A digest of 16 hexadecimal digits, equal for equal splits."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the content of split.json, with patients and sites where they are known."""
        content: dict[str, Any] = {part: list(ids) for part, ids in self.parts.items()}
        known = {"patients": self.patients, "sites": self.sites}
        return content | {name: dict(of_case) for name, of_case in known.items() if of_case}

    def without(self, cases: Collection[str]) -> "Split":
        """Return the same split without `cases`; all other cases stay in their parts.

        Raises DataError where a part loses its last case.
        """
        whole = self.parts
        parts = {part: tuple(c for c in ids if c not in cases) for part, ids in whole.items()}
        for part, ids in whole.items():
            if ids and not parts[part]:
                raise DataError(
                    f"no case is left in the part '{part}' of the split without {', '.join(ids)}",
                    remedy="add cases, or another --set split.seed",
                    code="PFB-D09",
                )
        patients = {case: patient for case, patient in self.patients.items() if case not in cases}
        sites = {case: site for case, site in self.sites.items() if case not in cases}
        return replace(self, **parts, patients=patients, sites=sites)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Split":
        """Read a split from JSON. ValueError when a part is missing or a case is in two parts."""
        try:
            train, validation, test = (
                tuple(content[part]) for part in ("train", "validation", "test")
            )
        except KeyError as missing:
            raise ValueError(f"a split without the part {missing}") from None
        patients, sites = dict(content.get("patients", {})), dict(content.get("sites", {}))
        made = cls(train, validation, test, patients, sites)
        _refuse_twice((*train, *validation, *test), ValueError)
        for patient, found in made.shared_patients().items():
            raise ValueError(f"patient {patient} is in {' and '.join(found)}")
        return made


NO_CASES = Split((), (), ())


def split(
    ids: Sequence[str],
    *,
    kind: Kind = "seeded",
    seed: int = 0,
    fold: int = 0,
    folds: int = FOLDS,
    patients: Mapping[str, str] | None = None,
) -> Split:
    """Divide patients 80 : 20; validation is a tenth of the 80 (at least one patient).

    seeded    one of `folds` random parts tests, another one for each fold: 369 -> 295 + 74
    official  the authors' code: int(0.8 n) + 1 train, one validates, the rest tests, in order
              of id: 369 -> 296 + 1 + 72

    `patients`: case -> patient; a case that is not among them is a patient of its own. The order
    of `ids` does not matter. Raises DataError when there are too few patients or a case is listed
    twice, UsageError for a fold that does not exist.
    """
    _refuse_twice(ids, DataError)
    if fold not in range(folds) or (kind == "official" and fold):
        known = "fold 0 only" if kind == "official" else f"folds 0 to {folds - 1}"
        what, remedy = f"there is no fold {fold}: a {kind} split has {known}", "--set split.fold=0"
        raise UsageError(what, where="split.fold", remedy=remedy, code="PFB-C02")
    cases = _by_patient(ids, patients or {})
    least = max(3, folds) if fold else 3
    if len(cases) < least:
        who = "cases" if len(cases) == len(ids) else f"patients with {len(ids)} cases"
        raise DataError(
            f"{len(cases)} {who}, but this split needs at least {least}",
            remedy="add cases" if not fold else "add cases, or fewer folds: --set split.folds=3",
            code="PFB-D09",
        )
    ordered = sorted(cases)
    made = _official(ordered) if kind == "official" else _seeded(ordered, seed, fold, folds)
    train, validation, test = (_cases_of(part, cases) for part in made)
    return Split(train, validation, test)


def carved(
    ids: Sequence[str], seed: int, patients: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide cases that do not test into (train, validation): at least one patient validates.

    A tenth of the patients validates.
    """
    cases = _by_patient(ids, patients)
    rest = _shuffled(sorted(cases), seed)
    validated = _tenth(rest)
    train, validation = rest[validated:], rest[:validated]
    return _cases_of(train, cases), _cases_of(validation, cases)


Parts = tuple[Sequence[str], Sequence[str], Sequence[str]]
"""The patients of the parts train, validation and test."""


def _by_patient(ids: Sequence[str], patients: Mapping[str, str]) -> dict[str, list[str]]:
    cases = defaultdict(list)
    for case in ids:
        cases[patients.get(case, case)].append(case)
    return dict(cases)


def _cases_of(patients: Sequence[str], cases: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted(case for patient in patients for case in cases[patient]))


def _official(ids: list[str]) -> Parts:
    trained = min(int(0.8 * len(ids)) + 1, len(ids) - 2)  # fewer than 10 cases: leave two over
    return ids[:trained], [ids[trained]], ids[trained + 1 :]


def _seeded(ids: list[str], seed: int, fold: int, folds: int) -> Parts:
    shuffled = _shuffled(ids, seed)
    parts = np.array_split(np.arange(len(ids)), folds)  # the first ones are the larger ones
    test = {shuffled[i] for i in parts[fold]}
    rest = [case for case in shuffled if case not in test]
    validated = _tenth(rest)
    return rest[validated:], rest[:validated], sorted(test)


def _shuffled(ids: list[str], seed: int) -> list[str]:
    return [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))]


def _tenth(ids: Sequence[str]) -> int:
    return max(1, round(0.1 * len(ids)))


def _refuse_twice(ids: Sequence[str], error: type[DataError] | type[ValueError]) -> None:
    twice = [case for case, count in Counter(ids).items() if count > 1]
    if twice:
        raise error(f"the same case twice: {listed(sorted(twice), 5)}")
