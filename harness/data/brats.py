"""BraTS 2012-2021: glioma MRI of 369 patients in 2020, registered and skull-stripped.

    ROOT/<id>/<id>_<modality>.nii[.gz]   flair, t1, t1ce, t2; 240 x 240 x 155 voxels of 1 mm
              <id>_seg.nii[.gz]          0 background, 1 necrotic core, 2 oedema, 4 enhancing rim

The challenge of 2012-2016 had also 3, non-enhancing core; since 2023 label 3 is the rim. For
research only, from the organisers. Finds files, reads no voxels.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from harness.data.case import Case, Survey
from harness.data.layout import Surveyor, entries, nothing_here, stem, twice, volumes
from harness.errors import DataError

MISNAMED_CASE = "BraTS20_Training_355"
MISNAMED_MASK = "W39_1998.09.19_Segm"  # how the mask of patient 355 was published


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every patient below `root`, paired by id: never by position in two sorted lists."""
    found = Surveyor(root)
    folders = _patients(root)
    for folder in folders:
        try:
            _add(found, folder, modalities)
        except DataError as error:
            found.faults.append(error)
    found.faults += _same_but_for_case(folders)
    if not folders:
        expected = "folders such as BraTS20_Training_001 directly below"
        found.faults.append(nothing_here(root, expected))
    return found.done()


def cases(root: Path, modalities: Sequence[str]) -> list[Case]:
    """Every patient below `root` in order of id. Raises DataError that lists all faults."""
    return survey(root, modalities).require()


def modalities_of(root: Path) -> tuple[str, ...]:
    """Every modality that any patient has."""
    found = set()
    for folder in _patients(root):
        found |= {name.removeprefix(f"{folder.name}_") for name in volumes(folder)}
    return tuple(sorted(found - {"seg", MISNAMED_MASK}))


def _patients(root: Path) -> list[Path]:
    """Folders that hold volumes; others, such as one of documents, are none of our business."""
    return [path for path in entries(root) if path.is_dir() and any(map(stem, entries(path)))]


def _add(found: Surveyor, folder: Path, modalities: Sequence[str]) -> None:
    case = folder.name
    files = {name.removeprefix(f"{case}_"): paths for name, paths in volumes(folder).items()}
    if case == MISNAMED_CASE and "seg" not in files and MISNAMED_MASK in files:
        files["seg"] = files.pop(MISNAMED_MASK)
        found.notes.append(f"{case}: mask taken from the misnamed {files['seg'][0].name}")
    images = {modality: files[modality] for modality in modalities if modality in files}
    found.add(case, images, files.get("seg", []), list(_missing(case, files, modalities)))


def _missing(case: str, files: Collection[str], modalities: Sequence[str]) -> Iterator[DataError]:
    missing = [modality for modality in modalities if modality not in files]
    found = sorted(set(files) - {"seg"})
    if missing:
        yield DataError(
            f"missing {', '.join(missing)}; found {', '.join(found) or 'no image'}",
            where=case,
            remedy=f"--modalities {found[0]}" if found else "add the files",
            code="PFB-D01",
        )
    if "seg" not in files:
        what = f"no label: {case}_seg.nii.gz is missing"
        yield DataError(what, where=case, remedy="add it or remove the case", code="PFB-D02")


def _same_but_for_case(folders: Sequence[Path]) -> list[DataError]:
    alike = defaultdict(list)
    for folder in folders:
        alike[folder.name.casefold()].append(folder)
    return [twice(group, group[0].name) for group in alike.values() if len(group) > 1]
