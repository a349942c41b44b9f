"""Abdominal CT with liver masks; the paper's own data set is private, so bring another.

    ROOT/images/<id>.nii.gz         ROOT/labels/<id>.nii.gz      plain
    ROOT/imagesTr/<id>_0000.nii.gz  ROOT/labelsTr/<id>.nii.gz    nnU-Net
    ROOT/dataset.json               as in `harness.data.dataset_json`

Label 1 is the liver, label 2 its tumours. Finds files, reads no voxels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.data import dataset_json, folder
from harness.data.case import Case, Survey
from harness.data.folder import ALL
from harness.data.layout import Surveyor, nothing_here, stem
from harness.errors import DataError

FIRST = 0  # the channel that is used


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Find every image with its label, paired by id; of several channels the first is used."""
    found = Surveyor(root)
    try:
        told = dataset_json.read(root)
        images, labels = folder.pairs(root)
    except DataError as error:
        return Survey(faults=(error,))
    for case in sorted({*images, *labels}):
        files, masks = images.get(case, {}), labels.get(case, [])
        chosen = files.get(ALL, files.get(FIRST, []))
        missing = list(_missing(case, chosen, masks, modalities[0]))
        found.add(case, {modalities[0]: chosen}, masks, missing)
        others = (
            path for channel in files if channel not in (ALL, FIRST) for path in files[channel]
        )
        found.notes += [f"{stem(path)}: not used, only channel 0000 is" for path in others]
    if not images and not labels:
        found.faults.append(nothing_here(root, "images/ with labels/, imagesTr/ with labelsTr/"))
    found.notes += told.notes
    return replace(found.done(), folds=told.folds)


def cases(root: Path, modalities: Sequence[str]) -> list[Case]:
    """Return every case below `root` in order of id. Raises DataError that lists all faults."""
    return survey(root, modalities).require()


def _missing(
    case: str, images: list[Path], labels: list[Path], modality: str
) -> Iterator[DataError]:
    if not images:
        what, remedy = f"missing {modality}; found a label only", "add it or remove the label"
        yield DataError(what, where=case, remedy=remedy, code="PFB-D01")
    if not labels:
        remedy = "add it or remove the image"
        yield DataError("no label", where=case, remedy=remedy, code="PFB-D02")
