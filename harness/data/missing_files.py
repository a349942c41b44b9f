"""Faults of files that are not there: a modality that is missing, a case without its label."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.pattern import LABEL, Pattern
from harness.data.wording import listed, more
from harness.errors import DataError

SHOWN = 12  # names that a message lists, of many


def unknown_modality(absent: Sequence[str], known: Sequence[str]) -> DataError:
    """Return the fault of modalities that no case has; `known` are those that some case has."""
    what = f"no case has {', '.join(absent)}; found {listed(known, SHOWN)}"
    remedy = f"--modalities {known[0]}"
    return DataError(what, where="--modalities", remedy=remedy, code="PFB-D01")


def missing_images(
    case: str, images: Mapping[str, list[Path]], modalities: Sequence[str]
) -> list[DataError]:
    """Return the fault of a case that lacks some of the `modalities`; [] where it has them all."""
    missing = [name for name in modalities if name not in images]
    if not missing:
        return []
    known = sorted(images)
    what = f"missing {', '.join(missing)}; found {listed(known, SHOWN) or 'no image'}"
    remedy = f"--modalities {known[0]}" if known else "add the files"
    return [DataError(what, where=case, remedy=remedy, code="PFB-D01")]


def missing_labels(case: str, usual: str, labels: Mapping[str, list[Path]]) -> list[DataError]:
    """Return the fault of a case without its label; [] where it has one.

    `usual` is the pattern that fits most labels of the folder: it says which file is expected.
    """
    missing = [target for target, paths in labels.items() if not paths]
    if not missing:
        return []
    fields = {"target": missing[0]} if missing[0] else {}
    path = Pattern.of(usual, known=LABEL).filled(case=case, **fields)
    what = ", ".join(filter(None, (f"no label: {path} is missing", more(len(missing) - 1))))
    return [DataError(what, where=case, remedy="add it, or remove the case", code="PFB-D02")]
