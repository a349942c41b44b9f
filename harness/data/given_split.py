"""Read a split that a person brings along.

    splits_final.json   nnU-Net's list of {"train": […], "val": […]}
    split.json          of a run of ours: {"train": […], "validation": […], "test": […]}
    a data list         MONAI's {"training": [{"image": …, "label": …, "fold": 0}]}
    a CSV               case,fold

The sites of a table of patients are folds, too. Lists of folds have no third part: the fold that is
asked for tests, and of the others a tenth validates, as in a seeded split.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data import dataset_json
from harness.data.patients import content_of, digest_of, read_table, wrong
from harness.data.split import Split
from harness.errors import DataError, UsageError

SETTING = "split.file"
SITES = "split.kind=site"
KINDS = "splits_final.json, split.json, a data list with folds, or a CSV of case,fold"
IGNORED = "none"  # the folds that a data set brings along are not taken


@dataclass(frozen=True)
class GivenSplit:
    """The split in a file: folds of (others, tested), or one split of three parts."""

    name: str
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    whole: Split | None = None
    said: str = ""
    """The name of the file and a digest of its content."""
    names: tuple[str, ...] = ()
    """The name of each fold, where folds have names; else ()."""

    @property
    def count(self) -> int:
        """The number of folds."""
        return 1 if self.whole else len(self.folds)

    def parts(self, fold: int) -> tuple[tuple[str, ...], ...]:
        """Return (others, tested), or the three parts. UsageError for a fold that is not there."""
        if fold >= self.count:
            known = f"folds 0 to {self.count - 1}" if self.count > 1 else "fold 0 only"
            what, remedy = f"there is no fold {fold}: {self.name} has {known}", "--set split.fold=0"
            raise UsageError(what, where="split.fold", remedy=remedy, code="PFB-C02")
        if self.whole:
            return self.whole.train, self.whole.validation, self.whole.test
        return self.folds[fold]


def of_folds(folds: Mapping[str, int], name: str, said: str = "") -> GivenSplit:
    """Make a split for each fold from case -> fold."""
    numbers = sorted(set(folds.values()))
    if numbers != list(range(len(numbers))) or len(numbers) < 2:
        listed = ", ".join(map(str, numbers[:8]))
        what, remedy = f"{name}: folds are {listed}", "folds 0, 1, 2 … without a gap, two or more"
        raise UsageError(what, where=SETTING, remedy=remedy, code="PFB-C53")
    made = tuple(
        (
            tuple(sorted(case for case, at in folds.items() if at != number)),
            tuple(sorted(case for case, at in folds.items() if at == number)),
        )
        for number in numbers
    )
    return GivenSplit(name, made, said=said)


def of_sites(sites: Mapping[str, str], name: str) -> GivenSplit:
    """Make a fold for each site from case -> site, in order of the sites' names."""
    names = sorted(set(sites.values()))
    if len(names) < 2:
        what, remedy = f"{name}: all cases are of site {names[0]}", "cases of two sites or more"
        raise UsageError(what, where=SITES, remedy=remedy, code="PFB-C53")
    numbers = {site: number for number, site in enumerate(names)}
    made = of_folds({case: numbers[site] for case, site in sites.items()}, name)
    return replace(made, names=tuple(names))


def read(path: Path) -> GivenSplit:
    """Read a split from a file of any supported kind. Raises UsageError for any other file."""
    if path.suffix.lower() == ".csv":
        table = read_table(path, SETTING)
        if "fold" not in table.columns:
            raise wrong(f"{path.name}:1", "has no column 'fold'", "case,fold", SETTING)
        folds = table.folds([*table.lines])
        return of_folds(folds, path.name, f"{path.name} {digest_of(path)}")
    try:
        content = json.loads(content_of(path))
    except OSError as error:
        remedy = f"the path of {KINDS}"
        raise _refusal(path, f"cannot be read: {error.strerror}", remedy) from None
    except (ValueError, RecursionError):
        remedy = KINDS
        raise _refusal(path, "is no JSON that can be read", remedy) from None
    said = f"{path.name} {digest_of(path)}"
    if isinstance(content, list):
        return GivenSplit(path.name, _nnunet(path, content), said=said)
    if isinstance(content, dict) and "training" in content:
        try:
            listed = dataset_json.parsed(Path(), content).folds
        except DataError as error:
            raise _refusal(path, error.what, error.remedy) from None
        if not listed:
            raise _refusal(path, "its cases have no 'fold'", '"fold": 0 for each case')
        return of_folds(listed, path.name, said)
    try:
        return GivenSplit(path.name, whole=Split.from_json(content), said=said)
    except (ValueError, TypeError) as error:
        remedy = '{"train": [...], "validation": [...], "test": [...]}'
        raise _refusal(path, str(error), remedy) from None


def _nnunet(path: Path, content: list[Any]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    folds = []
    for number, entry in enumerate(content):
        try:
            train, held_out = (tuple(map(str, entry[part])) for part in ("train", "val"))
            if not train or not held_out:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            what = f"fold {number} has no parts 'train' and 'val' with cases in both"
            raise _refusal(path, what, '[{"train": ["a"], "val": ["b"]}]') from None
        if both := sorted(set(train) & set(held_out)):
            what = f"fold {number} has case {both[0]} in 'train' and in 'val'"
            raise _refusal(path, what, "each case in one of the two")
        folds.append((train, held_out))
    if not folds:
        raise _refusal(path, "lists no fold", '[{"train": ["a"], "val": ["b"]}]')
    return tuple(folds)


def _refusal(path: Path, what: str, remedy: str) -> UsageError:
    return UsageError(f"{path.name}: {what}", where=SETTING, remedy=remedy, code="PFB-C53")


def refuse_other_cases(
    given: GivenSplit,
    parts: Sequence[Sequence[str]],
    cases: Sequence[str],
    left_out: Sequence[str],
) -> None:
    """Raise UsageError where a split lists unknown cases, or does not list all cases."""
    listed = [case for part in parts for case in part]
    strangers = sorted({*listed} - {*cases} - {*left_out})
    if strangers:
        what = f"{given.name}: {_some(strangers)} not in the data"
        remedy = "the split of these data; names of cases are those of `pfbench data check`"
        raise UsageError(what, where=SETTING, remedy=remedy, code="PFB-C53")
    forgotten = sorted({*cases} - {*listed})
    if forgotten:
        what = f"{given.name}: {_some(forgotten)} in no part of the split"
        remedy = f"--exclude {forgotten[0]}, or a split with all cases"
        raise UsageError(what, where=SETTING, remedy=remedy, code="PFB-C53")


def _some(cases: Sequence[str]) -> str:
    if len(cases) == 1:
        return f"case {cases[0]} is"
    return f"{len(cases)} cases such as {cases[0]} are"
