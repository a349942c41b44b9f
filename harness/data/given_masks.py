"""Masks that another tool made: found by the name of their case, and held against the scan.

    DIR/<case>.nii.gz              a label map, or a mask of the target (.nii, .nrrd, .mha as well)
    DIR/<case>/<target>.nii.gz     a mask for each target: a voxel above 0 belongs to it
    DIR/<case>_<target>.nii.gz     the same, as `pfbench predict --separate` writes it

A mask lies on the voxels of its scan. One that does not is a fault, never resampled.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.data.case import valid_case_id
from harness.data.header import Unoriented, distance_mm, same_place
from harness.data.itk import ENDINGS
from harness.data.nifti import Nifti, place, read_label, unreadable
from harness.data.wording import listed
from harness.errors import DataError, UsageError

VOLUMES = (".nii.gz", ".nii", *ENDINGS)
NAMED = 3  # values or cases that a message names, of many
RESAMPLE = "resample it to the voxels of the scan, with nearest neighbours"


@dataclass(frozen=True)
class CaseMasks:
    """The files of one case: a label map, or masks of its targets."""

    paths: tuple[Path, ...]
    parts: tuple[int, ...] = ()
    """The number of the target that each file is a mask of; () for a label map."""


@dataclass(frozen=True)
class MaskFiles:
    """The masks in a folder by case, and the faults of the folder."""

    files: Mapping[str, CaseMasks]
    faults: tuple[DataError, ...]

    @property
    def count(self) -> int:
        return sum(len(masks.paths) for masks in self.files.values())

    @property
    def digest(self) -> str:
        """A digest of 16 hexadecimal digits over the cases and the bytes of their files.

        Raises DataError for a file that cannot be read.
        """
        total = hashlib.sha256()
        for case, masks in sorted(self.files.items()):
            for path in masks.paths:
                total.update(f"{case}/{path.name}\0{_sha256(path)}\0".encode())
        return total.hexdigest()[:16]


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, path) from None


def volumes(folder: Path) -> dict[str, list[Path]]:
    """Return the volumes directly in a folder, by their names without the ending.

    Raises UsageError for what is no folder.
    """
    if not folder.is_dir():
        what = "is not a folder of masks"
        raise UsageError(what, where=str(folder), remedy="a folder with <case>.nii.gz in it")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        ending = next((each for each in VOLUMES if path.name.endswith(each)), "")
        if ending and path.is_file():
            found.setdefault(path.name.removesuffix(ending), []).append(path)
    return found


def find(
    folder: Path, cases: Sequence[str], targets: Sequence[str], elsewhere: Mapping[str, str]
) -> MaskFiles:
    """Return the masks of `cases` in `folder`, with a fault for each that is missing or surplus.

    `targets` are the names of those that files may be masks of. `elsewhere` tells of a case that is
    not tested what it does instead. Raises UsageError for what is no folder.
    """
    there = volumes(folder)
    beside = {case: [f"{case}_{target}" for target in targets] for case in cases}
    files: dict[str, CaseMasks] = {}
    faults: list[DataError] = []
    for case in cases:
        before = len(faults)
        found = [CaseMasks((path,)) for path in there.get(case, ())]
        if any(name in there and name not in cases for name in beside[case]):
            found += _of_targets(folder, [[name] for name in beside[case]], faults)
        if (folder / case).is_dir():
            found += _of_targets(folder / case, [name.split("+") for name in targets], faults)
        if len(found) > 1:
            names = " and ".join(place(masks.paths[0]) for masks in found)
            where = place(found[0].paths[0])
            faults.append(_fault(where, f"{case} has {names}", "keep one", "D03"))
        elif found:
            files[case] = found[0]
        elif len(faults) == before:
            what, remedy = "has no mask", f"{case}.nii.gz in {folder.name}"
            faults.append(_fault(f"{folder.name}/{case}", what, remedy, "D15"))
    known = {*cases, *(name for names in beside.values() for name in names)}
    for name in sorted(there.keys() - known):
        does = elsewhere.get(name, "is no case of the run")
        what = f"is of no test case: {name} {does}"
        remedy = "take it out of the folder, or name masks by their case"
        faults.append(_fault(place(there[name][0]), what, remedy, "D16"))
    return MaskFiles(files, tuple(faults))


def _of_targets(
    folder: Path, names: Sequence[Sequence[str]], faults: list[DataError]
) -> list[CaseMasks]:
    """Return the masks in a folder that have the `names` of each target; [] with a fault."""
    there = volumes(folder)
    paths, parts, before = [], [], len(faults)
    for number, of_target in enumerate(names):
        for name in of_target:
            if len(there.get(name, ())) == 1:
                paths += there[name]
                parts.append(number)
            else:
                what = f"has {len(there.get(name, ()))} masks of target '{name}'"
                faults.append(_fault(place(folder / name), what, f"{name}.nii.gz in it", "D15"))
    return [CaseMasks(tuple(paths), tuple(parts))] if paths and len(faults) == before else []


def _fault(where: str, what: str, remedy: str, number: str) -> DataError:
    return DataError(what, where=where, remedy=remedy, code=f"PFB-{number}")


def read(masks: CaseMasks, unoriented: Unoriented = "refuse") -> Nifti:
    """Read the label map (D, H, W) of a case; of masks bit k where any of target k is above 0.

    Raises DataError that names the file and the fault.
    """
    first, *others = (read_label(path, unoriented=unoriented) for path in masks.paths)
    if not masks.parts:
        return first
    for path, other in zip(masks.paths[1:], others, strict=True):
        refuse_misplaced(other, path, first.array.shape, first.affine, place(masks.paths[0]))
    label = np.zeros(first.array.shape, np.uint8)
    for mask, part in zip((first, *others), masks.parts, strict=True):
        label |= (mask.array > 0).astype(np.uint8) << np.uint8(part)
    return replace(first, array=label)


def refuse_misplaced(
    mask: Nifti, path: Path, shape: Sequence[int], affine: np.ndarray, beside: str
) -> None:
    """Raise DataError for a mask that is not on the voxels of what it is held against.

    `shape` (D, H, W) and `affine` are those of `beside`, which the message names.
    """
    given = tuple(mask.array.shape)
    if given != tuple(shape):
        what = f"shape {given} (D, H, W), but {beside} has {tuple(shape)}"
        raise _fault(place(path), what, RESAMPLE, "V27")
    if not same_place(affine, mask.affine, given[::-1]):
        apart = distance_mm(affine, mask.affine, given[::-1])
        what = f"lies elsewhere than {beside}: a corner is {apart:.3g} mm away"
        raise _fault(place(path), what, RESAMPLE, "V28")


def refuse_unnamed(cases: Sequence[str]) -> None:
    """Raise DataError for a file name that cannot be the id of a case."""
    for case in cases:
        if not valid_case_id(case):
            remedy = "letters, digits, '.', '_' and '-' only, at most 64"
            raise _fault(ascii(case), "cannot be the id of a case", remedy, "D04")


def refuse_no_target(values: frozenset[int], labels: Sequence[int], folder: Path) -> None:
    """Raise DataError where masks hold labels, and none of them is of the target.

    `values` are those in all masks of the folder: masks of 0 and 1 where the target is label 2.
    """
    marked = values - {0}
    if marked and labels and not marked & set(labels):
        shown = listed(map(str, sorted(marked)), NAMED)
        of = listed(map(str, labels), NAMED)
        what = f"masks hold label {shown}, and the target is label {of}"
        remedy = f"--values {','.join(map(str, sorted(marked)))} where that is the target"
        raise _fault(folder.name, what, remedy, "V24")
