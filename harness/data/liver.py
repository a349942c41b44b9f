"""Any collection of images with labels: liver CT is what the paper used.

    images/ + labels/            <id>.nii[.gz] in both
    imagesTr/ + labelsTr/        nnU-Net: <id>_0000.nii.gz and <id>.nii.gz
    dataset.json                 Decathlon: {"training": [{"image": …, "label": …}]}

Label 1 is the target. Finds files; reads no voxels.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from harness.data.case import Case, Survey, valid_case_id
from harness.errors import DataError

LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
PREFIX = re.compile(r"^(image|img|label|seg)[_-]")


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every image with its label, paired by id."""
    if (root / "dataset.json").is_file():
        pairs, faults = _decathlon(root)
    else:
        pairs, faults = _folders(root)
    name = modalities[0] if modalities else "ct"
    cases = []
    for case, (image, label) in sorted(pairs.items()):
        if not valid_case_id(case):
            faults.append(DataError("not a usable case id", where=repr(case), code="PFB-D04"))
        elif image is None or label is None:
            missing = "image" if image is None else "label"
            faults.append(DataError(f"has no {missing}", where=case, code="PFB-D02"))
        else:
            cases.append(Case(case, {name: image}, label))
    if not cases and not faults:
        remedy = "arrange the files as images/ + labels/, or pass another --data-root"
        faults.append(DataError("no case here", where=str(root), remedy=remedy, code="PFB-D09"))
    return Survey(tuple(cases), tuple(faults))


Pairs = dict[str, tuple[Path | None, Path | None]]


def _folders(root: Path) -> tuple[Pairs, list[DataError]]:
    for images, labels in LAYOUTS:
        if (root / images).is_dir() and (root / labels).is_dir():
            left, faults = _by_id(root / images)
            right, more = _by_id(root / labels)
            pairs = {case: (left.get(case), right.get(case)) for case in {*left, *right}}
            return pairs, faults + more
    return {}, []


def _by_id(folder: Path) -> tuple[dict[str, Path], list[DataError]]:
    found: dict[str, Path] = {}
    faults = []
    for path in sorted(folder.iterdir()):
        if not path.name.endswith((".nii", ".nii.gz")) or path.name.startswith("."):
            continue
        case = _id(path)
        if case in found:
            what = f"the same case as {found[case].name}"
            faults.append(DataError(what, where=str(path), code="PFB-D03"))
        found.setdefault(case, path)
    return found, faults


def _id(path: Path) -> str:
    stem = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")
    return PREFIX.sub("", stem)


def _decathlon(root: Path) -> tuple[Pairs, list[DataError]]:
    listing = root / "dataset.json"
    try:
        training = json.loads(listing.read_text())["training"]
        entries = [(root / item["image"], root / item["label"]) for item in training]
    except (ValueError, KeyError, TypeError):
        what = "is not a Decathlon list of training images and labels"
        return {}, [DataError(what, where=str(listing), code="PFB-D09")]
    pairs: Pairs = {}
    faults = []
    for image, label in entries:
        inside = all(path.resolve().is_relative_to(root.resolve()) for path in (image, label))
        if not inside:
            faults.append(DataError("lies outside the data root", where=str(image), code="PFB-D06"))
            continue
        pairs[_id(image)] = (image if image.exists() else None, label if label.exists() else None)
    return pairs, faults
