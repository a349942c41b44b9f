"""New scans to predict: files and folders from the command line, without labels.

    <id>.nii[.gz]              of a system with one modality; nnU-Net's <id>_0000.nii.gz too
    <id>_<modality>.nii[.gz]   of the same folder: one case
    <id>_0000.nii[.gz] …       nnU-Net's, a file for each channel
    <id>.nii[.gz]              the Decathlon's, channels on a fourth axis
    FOLDER/                    such files, or patients' folders of them as in BraTS

Which modality a channel is stands in dataset.json, in the folder or above it; without it channels
are the modalities of the system in their order, where there are as many.

Files called <id>_seg are labels, and never read. Finds files; only `read` reads voxels.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.data import dataset_json
from harness.data.case import Spacing, valid_case_id
from harness.data.header import Unoriented
from harness.data.layout import ENDINGS, check_file, entries, nothing_here, stem, twice, unusable_id
from harness.data.nifti import check_regular, place, read_image
from harness.data.scans import misplaced
from harness.errors import DataError, together

MRI = ("flair", "t1", "t1ce", "t2")  # to a network of one of these, the others are others
FIRST = "_0000"  # nnU-Net: the first channel of an image
CHANNEL = re.compile(r"(.+)_([0-9]{4})")
LABEL = "seg"


@dataclass(frozen=True)
class Unlabelled:
    """One case on disk: a file for each modality, in the order that was asked for."""

    id: str
    images: dict[str, Path]
    channels: Mapping[str, int] = field(default_factory=dict)
    """The index in the fourth axis, for modalities that share a file."""


class FoundScans(NamedTuple):
    """The usable cases in order of id, the faults of the others, and notes on oddities."""

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


@dataclass(frozen=True)
class _Wanted:
    """The modalities of a system, and how the file names of one folder show them."""

    modalities: tuple[str, ...]
    numbers: Mapping[int, str] = field(default_factory=dict)
    """Channel -> modality, where files are numbered; "" for one that the system does not take."""
    shared: Mapping[str, int] = field(default_factory=dict)
    """Modality -> its index in the fourth axis, where one file holds all modalities."""

    def name(self, path: Path) -> _Name:
        """Split a file name into case and modality: "P1_flair" is flair of P1."""
        numbered = CHANNEL.fullmatch(stem(path))
        if self.numbers and numbered:
            number = int(numbered[2])
            return _Name(numbered[1], self.numbers.get(number, "") or f"channel {number}")
        name = stem(path).removesuffix(FIRST)
        others = MRI if set(MRI) & set(self.modalities) else ()
        for modality in (*self.modalities, *others):
            if name.endswith(f"_{modality}"):
                return _Name(name.removesuffix(f"_{modality}"), modality)
        return _Name(name, "")


def find(inputs: Sequence[Path], modalities: Sequence[str]) -> FoundScans:
    """Find the cases in `inputs`, which are files and folders; reads no voxels."""
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
    folders = {path.parent for path in homes}
    wanted = {folder: _wanted(folder, modalities) for folder in folders}
    found = []
    for case, files in sorted(_by_case(homes, wanted).items()):
        try:
            usable = _case(case, files, wanted[files[0].parent])
            for path in usable.images.values():
                check_file(path, homes[path])
            found.append(usable)
        except DataError as fault:
            faults.append(fault)
    return FoundScans(tuple(found), tuple(faults), tuple(notes))


def _wanted(folder: Path, modalities: Sequence[str]) -> _Wanted:
    """Return how the files of `folder` show the modalities of a system."""
    plain = _Wanted(tuple(modalities))
    stems = [stem(path) for path in _images(folder)]
    numbers = {int(match[2]) for name in stems if (match := CHANNEL.fullmatch(name))}
    order = _listed(folder)
    known = set(modalities) <= set(order)
    if not known:
        told = any(plain.name(path).modality for path in _images(folder))
        if len(modalities) == 1 or told or numbers != set(range(len(modalities))):
            return plain
        order = tuple(modalities)
    if numbers and len(order) > 1:
        named = {n: name if name in modalities else "" for n, name in enumerate(order)}
        return replace(plain, numbers=named)
    shared = {name: order.index(name) for name in modalities} if len(order) > 1 else {}
    return replace(plain, shared=shared)


def _listed(folder: Path) -> tuple[str, ...]:
    """Return the channels in dataset.json, in the folder or above it; () if it is unreadable."""
    for above in (folder, folder.parent):
        if (above / dataset_json.LISTING).is_file():
            try:
                return dataset_json.read(above).channels
            except DataError:
                return ()
    return ()


def read(case: Unlabelled, unoriented: Unoriented = "refuse") -> Native:
    """Read every file of `case`; for `unoriented` see `header.parse`.

    Raises DataError that lists what is wrong with any of them.
    """
    scans, faults = {}, []
    for modality, path in case.images.items():
        try:
            scans[modality] = read_image(path, case.channels.get(modality), unoriented=unoriented)
        except DataError as fault:
            faults.append(fault)
    faults += misplaced({case.images[modality]: scan for modality, scan in scans.items()})
    if faults:
        raise together(faults, "the data")
    first, *_ = scans.values()
    notes = tuple(note for scan in scans.values() for note in scan.notes)
    image = np.stack([scan.array for scan in scans.values()])
    return Native(image, first.spacing_mm, first.stored_affine, first.place, notes)


def _file(path: Path) -> Path:
    """Accept a file from the command line: it may be a link, but has to look like a volume."""
    check_regular(path)
    if not stem(path):
        what = f"is not called {' or '.join(ENDINGS)}"
        raise DataError(what, where=place(path), remedy="convert it to NIfTI", code="PFB-V06")
    if _is_label(path):
        remedy = "pass the image, or rename it if it is one"
        raise DataError("is a label by its name", where=place(path), remedy=remedy, code="PFB-D07")
    return path


def _below(folder: Path, modalities: Sequence[str], notes: list[str]) -> list[Path]:
    """Return the images in `folder` and in patients' folders directly below it.

    Where names tell modalities, those that tell none (masks of brains, say) are left out.
    """
    wanted = _wanted(folder, modalities)
    own = list(_images(folder))
    named = [path for path in own if wanted.name(path).modality]
    if named or (len(modalities) > 1 and not wanted.shared):
        unused = [path for path in own if path not in named]
        notes += [f"{place(path)}: not used, its name tells no modality" for path in unused]
        own = named
    for patient in entries(folder):
        if patient.is_dir():
            of_patient = _wanted(patient, modalities)
            own += [path for path in _images(patient) if of_patient.name(path).modality]
    if not own:
        names = " and ".join(f"<id>_{modality}.nii.gz" for modality in modalities)
        alone = " or, of any name," if len(modalities) == 1 else ""
        raise nothing_here(folder, f"{names} in it,{alone} or in patients' folders below")
    return own


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in entries(folder) if stem(path) and not _is_label(path))


def _is_label(path: Path) -> bool:
    return f"_{stem(path)}".endswith(f"_{LABEL}")


def _by_case(paths: Iterable[Path], wanted: Mapping[Path, _Wanted]) -> dict[str, list[Path]]:
    """Return case -> its files; case ids that differ in capitals alone are one case."""
    spelled: dict[str, str] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        case = wanted[path.parent].name(path).case
        found[spelled.setdefault(case.casefold(), case)].append(path)
    return found


def _case(case: str, files: Sequence[Path], wanted: _Wanted) -> Unlabelled:
    modalities = wanted.modalities
    if not valid_case_id(case):
        raise unusable_id(case)
    if len({path.parent for path in files}) > 1:
        raise twice(files, case)
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        told = wanted.name(path).modality
        images[told or (modalities[0] if len(modalities) == 1 else "")].append(path)
    for paths in images.values():
        if len(paths) > 1:
            raise twice(paths, case)
    if wanted.shared and len(files) == 1 and not wanted.name(files[0]).modality:
        return Unlabelled(case, dict.fromkeys(modalities, files[0]), wanted.shared)
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
