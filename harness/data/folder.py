"""A data set's folder as downloaded, of any organ: nnU-Net's raw layout or Decathlon's.

    ROOT/imagesTr/<id>_0000.nii.gz, <id>_0001.nii.gz, …  ROOT/labelsTr/<id>.nii.gz   nnU-Net
    ROOT/imagesTr/<id>.nii.gz, channels on a 4th axis    ROOT/labelsTr/<id>.nii.gz   Decathlon
    ROOT/dataset.json   channels, labels and cases, see `harness.data.dataset_json`

images/ and labels/ will do, too. Without dataset.json channels and labels go by their numbers.
The whole of each scan is brought to the benchmark's grid undistorted (harness.data.prepare.whole).
Finds files, reads no voxels.
"""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.data import dataset_json
from harness.data.case import Contents, Survey
from harness.data.dataset_json import LISTING, Listed
from harness.data.layout import Surveyor, nothing_here, stem, volumes
from harness.errors import DataError

FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: one file for each channel of an image
ALL = -1  # in place of a channel: a file that holds all of them
EVERYTHING = "foreground"

Files = dict[int, list[Path]]  # channel -> its files; more than one is a fault
Pairs = tuple[dict[str, Files], dict[str, list[Path]]]
"""Two mappings: case -> its images by channel, and case -> its labels."""


def contents(root: Path) -> Contents:
    """Return channels and labels as dataset.json names them, else numbered by the files.

    A label can be named by its number, too, and "foreground" is all of them together. DataError
    for a dataset.json that cannot be followed.
    """
    told = dataset_json.read(root)
    modalities = told.channels
    if not modalities:
        images, _ = pairs(root)
        channels = {channel for files in images.values() for channel in files} - {ALL}
        modalities = tuple(f"{n:04d}" for n in range(max(channels, default=0) + 1))
    if not told.labels:
        targets = {"1": (1,), EVERYTHING: tuple(range(1, 256))}
        return Contents(modalities, targets, "1", channels=True)
    values = sorted({value for values in told.labels.values() for value in values})
    numbers = {str(value): (value,) for value in values}
    targets = {**told.labels, **numbers, EVERYTHING: tuple(values), **told.labels}
    default = next(iter(told.labels)) if len(told.labels) == 1 else ""
    known = frozenset({0, *values})
    return Contents(modalities, targets, default, known, channels=True, spelled=told.spelled)


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Find every case with its label and the files of `modalities`, paired by id."""
    found = Surveyor(root)
    try:
        told = dataset_json.read(root)
        known = contents(root).modalities
        images, labels = pairs(root)
    except DataError as error:
        return Survey(faults=(error,))
    strange = [modality for modality in modalities if modality not in known]
    if strange:
        remedy = f"--modalities {known[0]}"
        what = f"no channel {', '.join(strange)}; found {', '.join(known)}"
        return Survey(faults=(DataError(what, where=LISTING, remedy=remedy, code="PFB-D01"),))
    wanted = {modality: known.index(modality) for modality in modalities}
    for case in sorted({*images, *labels}):
        files, mask = images.get(case, {}), labels.get(case, [])
        missing = _missing(case, files, mask, wanted)
        chosen = {m: files.get(ALL, files.get(n, [])) for m, n in wanted.items()}
        chosen = {modality: paths for modality, paths in chosen.items() if paths}
        found.add(case, chosen, mask, missing, wanted if ALL in files and len(known) > 1 else {})
    if not images and not labels:
        found.faults.append(nothing_here(root, "imagesTr/ with labelsTr/, or images/ with labels/"))
    found.notes += told.notes
    return replace(found.done(), folds=told.folds)


def pairs(root: Path) -> Pairs:
    """Find the images and labels of each case, by dataset.json or else by the folders.

    Raises DataError for a list that cannot be followed.
    """
    listed = dataset_json.read(root).cases
    return _listed(listed) if listed else _folders(root)


def names_other_organ(root: Path) -> bool:
    """Return whether dataset.json names labels, none of which is the liver."""
    try:
        labels = dataset_json.read(root).labels
    except DataError:
        return False
    return bool(labels) and not any("liver" in name.lower() for name in labels)


def agrees(root: Path, cases: Collection[str], labels: Collection[int]) -> bool:
    """Return whether the folder has only these cases, and dataset.json, if any, these labels."""
    try:
        told = dataset_json.read(root)
        images, masks = pairs(root)
    except DataError:
        return False
    values = {value for values in told.labels.values() for value in values}
    return {*images, *masks} <= {*cases} and (not values or values == {*labels} - {0})


def _listed(cases: Sequence[Listed]) -> Pairs:
    """Return the files of the cases that dataset.json lists; nnU-Net v1 lists no channels there."""
    images: dict[str, Files] = defaultdict(lambda: defaultdict(list))
    labels: dict[str, list[Path]] = defaultdict(list)
    for case in cases:
        labels[case.id] += [case.label] if os.path.lexists(case.label) else []
        if len(case.images) == 1:
            [path] = case.images
            beside = {} if os.path.lexists(path) else _beside(path)
            for channel, paths in (beside or {ALL: [path]}).items():
                images[case.id][channel] += paths
        else:
            for channel, path in enumerate(case.images):
                images[case.id][channel].append(path)
    return {case: dict(files) for case, files in images.items()}, dict(labels)


def _beside(path: Path) -> Files:
    """Return the channel files <id>_0000.nii.gz and so on that lie beside <id>.nii.gz."""
    name = stem(path)
    ending = path.name.removeprefix(name)
    found = sorted(path.parent.glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}"))
    return {int(stem(each)[-4:]): [each] for each in found}


def _folders(root: Path) -> Pairs:
    """Pair the files of the same name in the folders of images and labels.

    A name that ends in four digits is a channel of an image or, as in AMOS, a case: what most
    labels of the folder say.
    """
    images: dict[str, Files] = defaultdict(lambda: defaultdict(list))
    labels: dict[str, list[Path]] = {}
    for image_folder, label_folder in FOLDERS:
        if not ((root / image_folder).is_dir() and (root / label_folder).is_dir()):
            continue
        masks = volumes(root / label_folder)
        files = volumes(root / image_folder)
        labels |= masks
        numbered = [name for name in files if CHANNEL.search(name)]
        as_cases = sum(name in masks for name in numbered)
        as_channels = sum(name[: -len("_0000")] in masks for name in numbered)
        for name, paths in files.items():
            channel = CHANNEL.search(name)
            strange = name not in masks and name[: -len("_0000")] not in masks
            alone = name in masks or (strange and as_cases > as_channels)
            if channel is None or alone:
                images[name][ALL] += paths
            else:
                images[name[: -len("_0000")]][int(channel[1])] += paths
    return {case: dict(files) for case, files in images.items()}, labels


def _missing(
    case: str, files: Files, labels: list[Path], wanted: Mapping[str, int]
) -> list[DataError]:
    faults = []
    absent = [m for m, number in wanted.items() if number not in files and ALL not in files]
    if not files:
        what, remedy = "no image; found a label only", "add it or remove the label"
        faults.append(DataError(what, where=case, remedy=remedy, code="PFB-D01"))
    elif absent:
        what = f"missing channel {', '.join(absent)}"
        remedy = f"add {case}_{wanted[absent[0]]:04d}.nii.gz, or leave it out of --modalities"
        faults.append(DataError(what, where=case, remedy=remedy, code="PFB-D01"))
    if not labels:
        remedy = "add it or remove the image"
        faults.append(DataError("no label", where=case, remedy=remedy, code="PFB-D02"))
    return faults
