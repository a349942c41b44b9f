"""The folds of a run: the split of each, and its volumes as its training cases decide to see them.

--folds ─► FoldChoice ─► divisions ─► volumes of each fold ─► CrossValidation

A fold is one division of the cases; in all folds together each case tests once. The grid is chosen
from the headers of all cases, so that all folds score the same voxels. Intensities that training
cases decide are decided in each fold by the training cases of that fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.data.choose_view import learns_intensities
from harness.data.divide import Division, Roster, divide
from harness.data.jobs import content_fingerprint
from harness.data.request import DataRequest
from harness.data.volumes import Prepared
from harness.data.wording import listed
from harness.errors import UsageError
from harness.runs.plan import CrossValidation, Fold, described
from harness.runs.settings import Settings
from harness.runs.spec import Data, digest

WHERE = "--folds"


@dataclass(frozen=True)
class FoldChoice:
    """The folds that a person asks for."""

    numbers: tuple[int, ...] = ()
    """The numbers of the folds; () for all."""
    count: int | None = None
    """The number of folds that the division has to have; None for any."""

    @classmethod
    def of(cls, text: str) -> "FoldChoice":
        """Read "all", a number of folds such as "10", or a list of folds such as "0,2".

        Raises UsageError for any other text.
        """
        remedy = "all, a number of folds such as 10, or a list of folds such as 0,2"
        words = [word.strip() for word in text.split(",") if word.strip()]
        if text == "all":
            return cls()
        if not words or not all(word.isdecimal() and len(word) < 5 for word in words):
            raise UsageError(f"'{text}' names no folds", where=WHERE, remedy=remedy, code="PFB-C56")
        numbers = [int(word) for word in words]
        if "," in text:
            return cls(tuple(sorted(set(numbers))))
        if numbers[0] < 2:
            what = f"{numbers[0]} is no number of folds"
            remedy = f"two folds or more; fold {numbers[0]} alone is --set split.fold={numbers[0]}"
            raise UsageError(what, where=WHERE, remedy=remedy, code="PFB-C56")
        return cls(count=numbers[0])


@dataclass(frozen=True)
class NumberedDivision:
    """The division of one fold."""

    number: int
    division: Division

    @property
    def said(self) -> str:
        """The fold in words: "fold 2", "fold 2 (site_b)"."""
        name = self.division.name
        return f"fold {self.number} ({name})" if name else f"fold {self.number}"


def divisions(settings: Settings, choice: FoldChoice, known: Roster) -> list[NumberedDivision]:
    """Divide the cases in every fold of the division, also in those that were not asked for.

    Raises UsageError for folds that there are not and for a case that tests twice, and as `divide`.
    """
    asked = settings.split.model_dump()
    first = divide(known, **{**asked, "fold": 0})
    count = first.folds
    if count < 2:
        what = "this split has one fold, so that nothing can be crossed"
        raise UsageError(what, where=WHERE, remedy="leave it out", code="PFB-C56")
    if choice.count not in (None, count):
        what = f"{first.file or 'the data set'} gives {count} folds, not {choice.count}"
        remedy = f"--folds all, or --set split.file=none for {choice.count} seeded ones"
        raise UsageError(what, where=WHERE, remedy=remedy, code="PFB-C56")
    if unknown := [number for number in choice.numbers if number >= count]:
        what = f"there is no fold {unknown[0]}: there are folds 0 to {count - 1}"
        raise UsageError(what, where=WHERE, remedy="--folds all", code="PFB-C56")
    rest = (divide(known, **{**asked, "fold": number}) for number in range(1, count))
    made = [NumberedDivision(*each) for each in enumerate([first, *rest])]
    _refuse_tested_twice(made)
    return made


def _refuse_tested_twice(made: Sequence[NumberedDivision]) -> None:
    tested: dict[str, NumberedDivision] = {}
    for each in made:
        for case in each.division.split.test:
            if case in tested:
                what = f"case {case} is tested by {tested[case].said} and by {each.said}"
                remedy = "folds of which each case tests one, or one of them by split.fold"
                raise UsageError(what, where=WHERE, remedy=remedy, code="PFB-C56")
            tested[case] = each


def crossed(
    request: DataRequest,
    choice: FoldChoice,
    made: Sequence[NumberedDivision],
    prepare: Callable[[Sequence[str], str], Prepared],
) -> tuple[CrossValidation, Prepared, list[str]]:
    """The chosen folds with their volumes, the volumes of the first, and notes.

    `prepare(training cases, what is prepared)` prepares all volumes as these training cases decide;
    it is asked once where nothing depends on training cases.
    """
    chosen = [each for each in made if not choice.numbers or each.number in choice.numbers]
    learned = learns_intensities(request)
    first = prepare(chosen[0].division.split.train, "volumes")
    found = [first]
    for each in chosen[1:]:
        train = each.division.split.train
        found.append(prepare(train, f"volumes of {each.said}") if learned else first)
    folds = tuple(
        Fold(
            each.number,
            each.division.split.without(volumes.dropped),
            described(volumes),
            volumes.keys,
            each.division.name,
        )
        for each, volumes in zip(chosen, found, strict=True)
    )
    splits = [each.division.split.without(first.dropped).digest for each in made]
    common = _common(described(first), request) if learned else described(first)
    notes = _notes(chosen, folds, made, found)
    return CrossValidation(folds, len(made), digest(splits), common), first, notes


def _common(data: Data, request: DataRequest) -> Data:
    """The volumes of a fold without what the training cases of the fold decide."""
    view = data.view.model_copy(update={"limits": ()})
    fingerprint = content_fingerprint(request)
    return data.model_copy(update={"view": view, "fingerprint": fingerprint})


def _notes(
    chosen: Sequence[NumberedDivision],
    folds: Sequence[Fold],
    made: Sequence[NumberedDivision],
    found: Sequence[Prepared],
) -> list[str]:
    tested = {case for fold in folds for case in fold.split.test}
    cases = {case for fold in folds for part in fold.split.parts.values() for case in part}
    names = [each.said if each.division.name else str(each.number) for each in chosen]
    which = f"{len(made)} folds"
    if len(chosen) < len(made):
        which = f"folds {listed(names, 10)} of {len(made)}"
    elif chosen[0].division.name:
        which += f": {listed(names, 10)}"
    many = f"{len(tested)}" if len(tested) == len(cases) else f"{len(tested)} of {len(cases)}"
    said = [
        f"cross-validation, {which}: {many} cases are tested, each once, by the network of its "
        "fold, which has not seen its patient; networks of two folds share training cases, so that "
        "intervals are somewhat too narrow for new trainings"
    ]
    common = [note for note in found[0].notes if all(note in one.notes for one in found)]
    said += common
    for each, one in zip(chosen, found, strict=True):
        said += [f"{each.said}: {note}" for note in one.notes if note not in common]
    said += dict.fromkeys(note for each in chosen for note in each.division.notes)
    return said


def settings_of(settings: Settings, choice: FoldChoice) -> Settings:
    """The settings with the number of folds that was asked for.

    Raises UsageError where the settings name a single fold, too.
    """
    if settings.split.fold:
        what = f"split.fold={settings.split.fold} is one fold"
        raise UsageError(what, where=WHERE, remedy="one of the two", code="PFB-C56")
    if choice.count is None:
        return settings
    split = settings.split.model_copy(update={"folds": choice.count})
    return settings.model_copy(update={"split": split})
