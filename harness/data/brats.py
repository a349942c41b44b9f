"""BraTS 2012-2021: glioma MRI, four modalities, 240 x 240 x 155 voxels of 1 mm.

    ROOT/<id>/<id>_<modality>.nii[.gz]      flair t1 t1ce t2
              <id>_seg.nii[.gz]             0 background, 1 necrosis, 2 oedema, 4 enhancing,
                                            until 2016 also 3, non-enhancing core

Licence: research only, from the challenge's organisers. Finds files; reads no voxels.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.data.case import Case, Survey, valid_case_id
from harness.errors import DataError

ENDINGS = (".nii.gz", ".nii")
MISNAMED = "W39_1998.09.19_Segm"  # the mask of patient 355 as published in 2020


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every patient below `root`, paired by id: never by position in two sorted lists."""
    cases, faults, notes = [], [], []
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    for folder in folders:
        try:
            case, note = _case(folder, modalities)
        except DataError as fault:
            faults.append(fault)
        else:
            cases.append(case)
            notes += [note] if note else []
    folded = [folder.name.lower() for folder in folders]
    faults += [
        DataError(f"the same case as {other.name}", where=str(folder), code="PFB-D03")
        for i, folder in enumerate(folders)
        for other in folders[:i]
        if folded[i] == other.name.lower()
    ]
    if not folders:
        remedy = "pass the folder that holds one folder for each patient"
        faults.append(DataError("no patient here", where=str(root), remedy=remedy, code="PFB-D09"))
    return Survey(tuple(cases), tuple(faults), tuple(notes))


def _case(folder: Path, modalities: Sequence[str]) -> tuple[Case, str]:
    name = folder.name
    if not valid_case_id(name):
        raise DataError("not a usable case id", where=repr(name), code="PFB-D04")
    present = {
        path.name.removesuffix(ending).removeprefix(f"{name}_"): path
        for path in sorted(folder.iterdir())
        for ending in ENDINGS
        if path.name.endswith(ending)
    }
    twice = [m for m in present if all((folder / f"{name}_{m}{e}").exists() for e in ENDINGS)]
    if twice:
        what = f"{twice[0]} is there as .nii and as .nii.gz"
        raise DataError(what, where=name, remedy="remove one", code="PFB-D03")
    missing = [modality for modality in modalities if modality not in present]
    if missing:
        found = sorted(set(present) - {"seg", MISNAMED})
        raise DataError(
            f"missing {', '.join(missing)}; found {', '.join(found) or 'no image'}",
            where=name,
            remedy=f"--modalities {','.join(found)}" if found else "add the files",
            code="PFB-D01",
        )
    label = present.get("seg") or present.get(MISNAMED)
    if label is None:
        raise DataError("has no label (_seg)", where=name, code="PFB-D02")
    note = "" if "seg" in present else f"{name}: its mask is named {label.name}; used as published"
    return Case(name, {m: present[m] for m in modalities}, label), note
