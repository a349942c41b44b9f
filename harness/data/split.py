"""Which case trains, validates and tests: by patient, from a seed or in the authors' way."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from harness.data.wording import listed
from harness.errors import DataError, UsageError

FOLDS = 5
Kind = Literal["seeded", "official"]


@dataclass(frozen=True)
class Split:
    """Case ids of the three parts; no case is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: equal for equal splits."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, list[str]]:
        return {part: list(ids) for part, ids in asdict(self).items()}

    def without(self, cases: Collection[str]) -> "Split":
        """The same parts without some cases; the others stay where they are.

        Raises DataError where a part loses its last case.
        """
        whole = asdict(self)
        parts = {part: tuple(c for c in ids if c not in cases) for part, ids in whole.items()}
        for part, ids in whole.items():
            if ids and not parts[part]:
                raise DataError(
                    f"no case is left in the part '{part}' of the split without {', '.join(ids)}",
                    remedy="add cases, or another --set split.seed",
                    code="PFB-D09",
                )
        return Split(**parts)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Split":
        """Raises ValueError when a part is missing or a case is in two parts."""
        try:
            made = cls(*(tuple(content[part]) for part in ("train", "validation", "test")))
        except KeyError as missing:
            raise ValueError(f"a split without the part {missing}") from None
        _refuse_twice((*made.train, *made.validation, *made.test), ValueError)
        return made


NO_CASES = Split((), (), ())


def split(ids: Sequence[str], *, kind: Kind = "seeded", seed: int = 0, fold: int = 0) -> Split:
    """Divide patients 80 : 20; validation is a tenth of the 80 (at least one patient).

    seeded    a random fifth tests, another one for each fold (0-4): 369 -> 295 + 74
    official  the authors' code: int(0.8 n) + 1 train, one validates, the rest tests, in order
              of id: 369 -> 296 + 1 + 72

    The order of `ids` does not matter. Raises DataError when there are too few patients or one
    is listed twice, UsageError for a fold that does not exist.
    """
    _refuse_twice(ids, DataError)
    if fold not in range(FOLDS) or (kind == "official" and fold):
        known = "fold 0 only" if kind == "official" else f"folds 0 to {FOLDS - 1}"
        what, remedy = f"there is no fold {fold}: a {kind} split has {known}", "--set split.fold=0"
        raise UsageError(what, where="split.fold", remedy=remedy, code="PFB-C02")
    least = FOLDS if fold else 3
    if len(ids) < least:
        raise DataError(
            f"{len(ids)} cases, but this split needs at least {least}",
            remedy="add cases" if not fold else "add cases, or use fold 0",
            code="PFB-D09",
        )
    ordered = sorted(ids)
    return _official(ordered) if kind == "official" else _seeded(ordered, seed, fold)


def _official(ids: list[str]) -> Split:
    trained = min(int(0.8 * len(ids)) + 1, len(ids) - 2)  # fewer than 10 cases: leave two over
    return Split(
        train=tuple(ids[:trained]),
        validation=(ids[trained],),
        test=tuple(ids[trained + 1 :]),
    )


def _seeded(ids: list[str], seed: int, fold: int) -> Split:
    shuffled = [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))]
    parts = np.array_split(np.arange(len(ids)), FOLDS)  # the first ones are the larger ones
    test = {shuffled[i] for i in parts[fold]}
    rest = [case for case in shuffled if case not in test]
    validated = max(1, round(0.1 * len(rest)))
    return Split(
        train=tuple(sorted(rest[validated:])),
        validation=tuple(sorted(rest[:validated])),
        test=tuple(sorted(test)),
    )


def _refuse_twice(ids: Sequence[str], error: type[DataError] | type[ValueError]) -> None:
    twice = [case for case, count in Counter(ids).items() if count > 1]
    if twice:
        raise error(f"the same case twice: {listed(sorted(twice), 5)}")
