"""The data sets of other origins, on which trained networks are scored and from which none trains.

--test NAME=DIR ─► OtherRequest ─► volumes, seen as each fold sees its own ─► Elsewhere
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.divide import Roster
from harness.data.exclude import OPTION
from harness.data.jobs import content_fingerprint, roster
from harness.data.patients import Groups, groups, suspicion
from harness.data.request import DataRequest, complete
from harness.data.volumes import Prepared
from harness.data.wording import counted
from harness.errors import DataError, UsageError, together
from harness.runs.plan import Elsewhere, Fold

WHERE = "--test"
NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,31}"
Prepare = Callable[[DataRequest, str], Prepared]
"""A function that brings the volumes of a request into the cache; told what they are."""


@dataclass(frozen=True)
class OtherRequest:
    """A data set of another origin that a person asks for."""

    name: str
    root: Path
    images: tuple[str, ...] = ()
    """Patterns of images, "MODALITY=PATTERN"; () for those of the data set that trains."""
    labels: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """The ids of the cases to leave out."""


def asked(
    tests: Sequence[str],
    images: Sequence[str],
    labels: Sequence[str],
    exclude: Mapping[str, tuple[str, ...]],
) -> tuple[OtherRequest, ...]:
    """Read NAME=DIR, NAME:MODALITY=PATTERN and NAME:PATTERN. Raises UsageError for other texts.

    `exclude`: name -> the ids of cases to leave out.
    """
    roots = [_parted(text, "=", WHERE, "--test hospital_b=DIR") for text in tests]
    names = [name for name, _ in roots]
    if len(set(names)) < len(names):
        what = f"two data sets of one name among {', '.join(names)}"
        raise UsageError(what, where=WHERE, remedy="a name for each", code="PFB-C55")
    for_images = _by_name(images, names, "--test-image", "hospital_b:t2={case}_t2.nii.gz")
    for_labels = _by_name(labels, names, "--test-label", "hospital_b:{case}_seg.nii.gz")
    return tuple(
        OtherRequest(
            name,
            Path(root),
            for_images.get(name, ()),
            for_labels.get(name, ()),
            exclude.get(name, ()),
        )
        for name, root in roots
    )


def _by_name(
    texts: Sequence[str], names: Sequence[str], option: str, example: str
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, pattern = _parted(text, ":", option, f"{option} '{example}'")
        if name not in names:
            what = f"'{name}' is no data set of --test"
            remedy = f"--test {name}=DIR" if not names else f"one of {', '.join(names)}"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C55")
        found[name] = (*found.get(name, ()), pattern)
    return found


def _parted(text: str, sign: str, option: str, remedy: str) -> tuple[str, str]:
    name, found, rest = text.partition(sign)
    if not found or not rest or not re.fullmatch(NAME, name):
        what = f"'{text}' is not of the form NAME{sign}…, with letters, digits, _ and - in NAME"
        raise UsageError(what, where=option, remedy=remedy, code="PFB-C55")
    return name, rest


def request_of(other: OtherRequest, trained: DataRequest) -> DataRequest:
    """The request for the volumes of another origin; `trained` is that of the data that train.

    Raises UsageError where the training data have no files, or the other's files no such names.
    """
    if trained.dataset == "phantom":
        what = "the phantom is made in memory and has no layout of files"
        remedy = "`pfbench data make-phantom DIR`, then --dataset brats --data-root DIR"
        raise UsageError(what, where=WHERE, remedy=remedy, code="PFB-C55")
    full = complete(trained)
    return complete(
        replace(
            full,
            root=other.root,
            images=other.images or full.images,
            labels=other.labels or full.labels,
            exclude=other.exclude,
            choice="",
        )
    )


def elsewhere(
    other: OtherRequest,
    trained: DataRequest,
    contents: Mapping[str, str],
    folds: Sequence[Fold],
    group: str,
    prepare: Prepare,
) -> Elsewhere:
    """The data set of another origin, seen as the networks of each fold see their own data.

    `contents` are the hashes of the cases that train, `group` is their rule for patients. Raises
    UsageError as `request_of`, DataError for faults and for images that the networks may have seen.
    """
    full = request_of(other, trained)
    known = _roster(other.name, full)
    if known.faults:
        raise together(known.faults, f"the data of {other.name}")
    by_view: dict[str, Prepared] = {}
    for fold in folds:
        view = fold.data.view
        if view.model_dump_json() not in by_view:
            seen = prepare(replace(full, view=view), f"volumes of {other.name}")
            by_view[view.model_dump_json()] = seen
    first, *others = by_view.values()
    told = [note for note in first.notes if all(note in one.notes for one in others)]
    _refuse_known(other.name, first.contents, contents)
    of, notes = _grouped(group, known.only(first.keys))
    count = f"{counted(len(first.keys), 'case')} of another origin, from which no network trained"
    return Elsewhere(
        other.name,
        first.synthetic,
        content_fingerprint(full, first.keys),
        {one.fingerprint: one.keys for one in by_view.values()},
        {f.number: by_view[f.data.view.model_dump_json()].fingerprint for f in folds},
        of.patients,
        tuple(f"{other.name}: {note}" for note in (count, *told, *notes)),
    )


def _roster(name: str, request: DataRequest) -> Roster:
    """The cases of another origin. Raises UsageError for one to leave out that it does not have."""
    try:
        return roster(request)
    except UsageError as error:
        if error.code != "PFB-C54":
            raise
        remedy = error.remedy.replace(f"{OPTION} ", f"{OPTION} {name}:")
        what = f"{name}: {error.what}"
        raise UsageError(what, where=OPTION, remedy=remedy, code=error.code) from error


def _refuse_known(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    cases = {content: case for case, content in ours.items()}
    faults = [
        DataError(
            f"the same image as case {cases[content]} of the data that train",
            where=f"{name}, case {case}",
            remedy="other data to test on",
            code="PFB-D08",
        )
        for case, content in theirs.items()
        if content in cases
    ]
    if faults:
        raise together(faults, f"the data of {name}")


def _grouped(rule: str, known: Roster) -> tuple[Groups, list[str]]:
    """The patients of the cases: by the rule of the training data where it fits, else by layout."""
    try:
        found = groups(rule, known.cases, known.patient)
    except UsageError as error:
        if error.code != "PFB-C52":
            raise
        found = groups("", known.cases, known.patient)
        if not found.patients:
            return found, ["split.group does not fit its cases: each is a patient of its own"]
    if rule or known.patient or found.patients:
        return found, []
    return found, [text] if (text := suspicion(known.cases)) else []
