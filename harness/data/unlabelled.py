"""New scans to predict: files and folders that were named on the command line, no labels.

    <id>.nii[.gz]              of a system with one modality; nnU-Net's <id>_0000.nii.gz too
    <id>_<modality>.nii[.gz]   of the same folder: one case
    FOLDER/                    such files, or patients' folders of them as in BraTS

Files called <id>_seg are labels, and never read. Finds files; only `read` reads voxels.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.data.case import Spacing, valid_case_id
from harness.data.header import Unoriented
from harness.data.layout import ENDINGS, check_file, entries, nothing_here, stem, twice, unusable_id
from harness.data.nifti import check_regular, place, read_image
from harness.data.scans import misplaced
from harness.errors import DataError, together

MRI = ("flair", "t1", "t1ce", "t2")  # to a network of one of these, the others are others
CHANNEL = "_0000"  # nnU-Net: the first channel of an image
LABEL = "seg"


@dataclass(frozen=True)
class Unlabelled:
    """One case on disk: a file for each modality, in the order that was asked for."""

    id: str
    images: dict[str, Path]


class Found(NamedTuple):
    """Usable cases in order of id, faults of the others, and what is odd."""

    cases: tuple[Unlabelled, ...]
    faults: tuple[DataError, ...]
    notes: tuple[str, ...]


class Native(NamedTuple):
    """The voxels of a case, axes turned to (superior, anterior, right)."""

    image: np.ndarray  # (C, D, H, W) float32
    spacing_mm: Spacing  # (D, H, W)
    stored_affine: np.ndarray  # (4, 4), that of the first file: stored index (x, y, z, 1) -> mm
    place: Mapping[str, Any]  # the fields of its header that say so
    notes: tuple[str, ...]


class _Name(NamedTuple):
    case: str
    modality: str  # "" where the name does not tell


def find(inputs: Sequence[Path], modalities: Sequence[str]) -> Found:
    """The cases that `inputs`, files and folders, hold; reads no voxels."""
    homes: dict[Path, Path] = {}  # file -> the folder it must not lead out of
    faults: list[DataError] = []
    notes: list[str] = []
    for given in inputs:
        try:
            if os.path.isdir(given):  # False, not an error, where it cannot be looked at
                below = _below(given, modalities, notes)
                homes |= {path.absolute(): given for path in below}
            else:
                homes[_file(given).absolute()] = given.resolve().parent
        except DataError as fault:
            faults.append(fault)
    found = []
    for case, files in sorted(_by_case(homes, modalities).items()):
        try:
            usable = _case(case, files, modalities)
            for path in usable.images.values():
                check_file(path, homes[path])
            found.append(usable)
        except DataError as fault:
            faults.append(fault)
    return Found(tuple(found), tuple(faults), tuple(notes))


def read(case: Unlabelled, unoriented: Unoriented = "refuse") -> Native:
    """Every file of `case`; `unoriented`: see `header.parse`.

    Raises DataError that lists what is wrong with any of them.
    """
    scans, faults = {}, []
    for path in case.images.values():
        try:
            scans[path] = read_image(path, unoriented=unoriented)
        except DataError as fault:
            faults.append(fault)
    faults += misplaced(scans)
    if faults:
        raise together(faults, "the data")
    first, *_ = scans.values()
    notes = tuple(note for scan in scans.values() for note in scan.notes)
    image = np.stack([scan.array for scan in scans.values()])
    return Native(image, first.spacing_mm, first.stored_affine, first.place, notes)


def _file(path: Path) -> Path:
    """A file that was named itself: it may be a link, but has to look like a volume."""
    check_regular(path)
    if not stem(path):
        what = f"is not called {' or '.join(ENDINGS)}"
        raise DataError(what, where=place(path), remedy="convert it to NIfTI", code="PFB-V06")
    if _is_label(path):
        remedy = "pass the image, or rename it if it is one"
        raise DataError("is a label by its name", where=place(path), remedy=remedy, code="PFB-D07")
    return path


def _below(folder: Path, modalities: Sequence[str], notes: list[str]) -> list[Path]:
    """The images in `folder` and in patients' folders directly below it.

    Where names tell modalities, those that tell none (masks of brains, say) are left out.
    """
    own = list(_images(folder))
    named = [path for path in own if _name(path, modalities).modality]
    if named or len(modalities) > 1:
        unused = [path for path in own if path not in named]
        notes += [f"{place(path)}: not used, its name tells no modality" for path in unused]
        own = named
    for patient in entries(folder):
        if patient.is_dir():
            own += [path for path in _images(patient) if _name(path, modalities).modality]
    if not own:
        names = " and ".join(f"<id>_{modality}.nii.gz" for modality in modalities)
        alone = " or, of any name," if len(modalities) == 1 else ""
        raise nothing_here(folder, f"{names} in it,{alone} or in patients' folders below")
    return own


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in entries(folder) if stem(path) and not _is_label(path))


def _is_label(path: Path) -> bool:
    return f"_{stem(path)}".endswith(f"_{LABEL}")


def _name(path: Path, modalities: Sequence[str]) -> _Name:
    """What the name of a file says: "P1_flair" is flair of P1."""
    name = stem(path).removesuffix(CHANNEL)
    others = MRI if set(MRI) & set(modalities) else ()
    for modality in (*modalities, *others):
        if name.endswith(f"_{modality}"):
            return _Name(name.removesuffix(f"_{modality}"), modality)
    return _Name(name, "")


def _by_case(paths: Iterable[Path], modalities: Sequence[str]) -> dict[str, list[Path]]:
    """Case -> its files; case ids that differ in capitals alone are one."""
    spelled: dict[str, str] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        case = _name(path, modalities).case
        found[spelled.setdefault(case.casefold(), case)].append(path)
    return found


def _case(case: str, files: Sequence[Path], modalities: Sequence[str]) -> Unlabelled:
    if not valid_case_id(case):
        raise unusable_id(case)
    if len({path.parent for path in files}) > 1:
        raise twice(files, case)
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        told = _name(path, modalities).modality
        images[told or (modalities[0] if len(modalities) == 1 else "")].append(path)
    for paths in images.values():
        if len(paths) > 1:
            raise twice(paths, case)
    missing = [modality for modality in modalities if modality not in images]
    if missing:
        present = ", ".join(sorted(name or files[0].name for name in images))
        raise DataError(
            f"missing {', '.join(missing)}; found {present}",
            where=case,
            remedy=f"add {case}_{missing[0]}.nii.gz beside it",
            code="PFB-D01",
        )
    return Unlabelled(case, {modality: images[modality][0] for modality in modalities})
