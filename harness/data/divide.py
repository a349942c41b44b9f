"""Divide cases into a split: by patients, by given folds, and with notes on the choice.

ids ── patients ──► a given split, checked ──┐
               └──► a seeded or official one ┴──► train, validation, test
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data import given_split
from harness.data.given_split import IGNORED, SITES, GivenSplit, refuse_other_cases
from harness.data.patients import SETTING, Groups, groups, suspicion
from harness.data.split import FOLDS, Kind, Split, carved, split
from harness.errors import DataError, UsageError


@dataclass(frozen=True)
class Roster:
    """The cases to divide, with the patients and folds that the data set itself gives."""

    cases: tuple[str, ...]
    patient: str = ""
    """The layout's pattern for patients in ids; "" where a patient has one case."""
    folds: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
    """The faults of the folder; `cases` are the cases without one."""

    def only(self, cases: Collection[str]) -> "Roster":
        """Return a roster of `cases` alone; the others count as left out."""
        gone = tuple(case for case in self.cases if case not in cases)
        folds = {case: fold for case, fold in self.folds.items() if case in cases}
        kept = tuple(case for case in self.cases if case in cases)
        return replace(self, cases=kept, folds=folds, left_out=(*self.left_out, *gone))


@dataclass(frozen=True)
class Division:
    """A split, and the settings and notes that explain it."""

    split: Split
    folds: int
    """The number of folds, of which this split is one."""
    name: str
    """The name of the fold, such as the site that tests; "" where folds have numbers alone."""
    notes: tuple[str, ...]
    group: str
    """The rule for patients; a file stands by name and content, without its place."""
    file: str


def divide(
    roster: Roster,
    *,
    kind: Kind,
    seed: int,
    fold: int,
    group: str,
    file: str,
    folds: int = FOLDS,
) -> Division:
    """Divide cases by the settings of a split; reads no voxels.

    Raises UsageError for a rule, a file or a fold that does not fit the data, DataError where
    there are too few patients.
    """
    known = groups(group, roster.cases, roster.patient)
    given, notes = _given(roster, known, kind, file)
    if given and given.whole and not (group or known.patients):
        known = replace(known, patients=given.whole.patients, sites=given.whole.sites)
    _refuse_alike(known.patients, "patients")
    _refuse_alike(known.sites, "sites")
    if not group and not roster.patient and not known.patients:
        notes += [text] if (text := suspicion(roster.cases)) else []
    if given is None:
        how = {"seed": seed, "fold": fold, "folds": folds}
        made = split(roster.cases, kind=kind, **how, patients=known.patients)
        folds = 1 if kind == "official" else folds
    else:
        made, folds = _followed(given, roster, known.patients, seed, fold), given.count
    made = replace(made, patients=dict(known.patients), sites=dict(known.sites))
    _refuse_shared_patients(made, given)
    notes += _counted(made)
    followed = (given.said or given.name) if given else file
    name = given.names[fold] if given and given.names else ""
    return Division(made, folds, name, tuple(notes), known.said, followed)


def _given(
    roster: Roster, known: Groups, kind: Kind, file: str
) -> tuple[GivenSplit | None, list[str]]:
    """Return the split of a file, of the data set's own list or of the table of patients."""
    if kind == "site":
        return _by_site(known, file), []
    if file == IGNORED:
        return None, []
    if file:
        return given_split.read(Path(file)), []
    name, folds = ("dataset.json", roster.folds) if roster.folds else ("split.group", known.folds)
    if not folds:
        return None, []
    given = given_split.of_folds(folds, name)
    return given, [f"{given.count} folds as {name} gives them; split.file=none divides anew"]


def _by_site(known: Groups, file: str) -> GivenSplit:
    if file not in ("", IGNORED):
        what, remedy = "the sites are the folds, so no file can give them", "leave out split.file"
        raise UsageError(what, where=SITES, remedy=remedy, code="PFB-C53")
    if not known.sites:
        what = "the site of a case is not known"
        remedy = "--set split.group=patients.csv with the columns case,patient,site"
        raise UsageError(what, where=SITES, remedy=remedy, code="PFB-C53")
    table = known.said.rpartition(" ")[0]  # without the digest of its content
    _refuse_patients_at_two_sites(known, table)
    return given_split.of_sites(known.sites, table)


def _refuse_alike(named: Mapping[str, str], what: str) -> None:
    """Raise UsageError for names that differ in capitals alone: one would be taken for two."""
    first: dict[str, str] = {}
    for name in sorted(set(named.values())):
        other = first.setdefault(name.casefold(), name)
        if other != name:
            raise UsageError(
                f"{what} {other} and {name} differ in capitals alone",
                where=SETTING,
                remedy="one spelling for one, other names for two",
                code="PFB-C52",
            )


def _refuse_patients_at_two_sites(known: Groups, table: str) -> None:
    first: dict[str, str] = {}
    for case, site in sorted(known.sites.items()):
        patient = known.patients.get(case, case)
        other = first.setdefault(patient, case)
        if known.sites[other] != site:
            where = f"{known.sites[other]} ({other}) and {site} ({case})"
            what = f"{table}: patient {patient} is at sites {where}"
            remedy = "one site for each patient, who either trains or tests"
            raise UsageError(what, where=SITES, remedy=remedy, code="PFB-C53")


def _followed(
    given: GivenSplit, roster: Roster, patients: Mapping[str, str], seed: int, fold: int
) -> Split:
    parts = given.parts(fold)
    refuse_other_cases(given, parts, roster.cases, roster.left_out)
    here = {*roster.cases}
    kept = [[case for case in part if case in here] for part in parts]
    if len(kept) == 3:
        made = Split(tuple(kept[0]), tuple(kept[1]), tuple(kept[2]))
    else:
        train, validation = carved(kept[0], seed, patients)
        made = Split(train, validation, tuple(sorted(kept[1])))
    if empty := [part for part, ids in made.parts.items() if not ids]:
        raise _nothing_left(given, fold, empty[0])
    return made


def _nothing_left(given: GivenSplit, fold: int, part: str) -> UsageError:
    """The error for a fold of which a part has no case."""
    what = f"{given.name}: no case is left for the part '{part}' of fold {fold}"
    where, remedy = given_split.SETTING, "a split with cases to train, to validate and to test"
    if given.names:
        what += f", in which {given.names[fold]} tests"
        where, remedy = SITES, "two patients or more at the other sites: one trains, one validates"
    return UsageError(what, where=where, remedy=remedy, code="PFB-C53")


def _refuse_shared_patients(made: Split, given: GivenSplit | None) -> None:
    """Raise UsageError for a patient in two parts, which only a given split can have."""
    for patient, found in made.shared_patients().items():
        where = " and ".join(f"{name} ({case})" for name, case in found.items())
        what = f"{given.name if given else 'the split'}: patient {patient} is in {where}"
        remedy = "keep a patient in one part, or split.group=none where they are not one"
        raise UsageError(what, where=given_split.SETTING, remedy=remedy, code="PFB-C53")


def _counted(made: Split) -> list[str]:
    cases = [case for ids in made.parts.values() for case in ids]
    patients = {made.patient_of(case) for case in cases}
    if len(patients) == len(cases):
        return []
    return [f"{len(cases)} cases of {len(patients)} patients, each in one part of the split"]
