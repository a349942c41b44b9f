"""Finding volumes in folders: names, links and files that are none. Reads no voxels."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from harness.data.nifti import check_regular, place
from harness.errors import DataError

ENDINGS = (".nii.gz", ".nii")


def stem(path: Path) -> str:
    """The name without .nii or .nii.gz; "" when it ends in neither."""
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return ""


def volumes(folder: Path) -> dict[str, list[Path]]:
    """Every NIfTI file of `folder` by its stem; more than one path means it is there twice.

    Raises DataError when the folder cannot be read.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in entries(folder):
        if stem(path):
            found[stem(path)].append(path)
    return dict(found)


def entries(folder: Path) -> list[Path]:
    """What is in `folder`, hidden files excepted, in order of name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise DataError(what, where=str(folder), remedy="check the path", code="PFB-D09") from None


def check_file(path: Path, root: Path) -> None:
    """Refuse what is no regular file, is empty, or leads out of `root`; DataError says which."""
    check_regular(path)
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"a link to {os.path.realpath(path)}, outside the data root",
            where=place(path),
            remedy="copy the file into the folder, or pass the folder that holds it",
            code="PFB-D06",
        )


def twice(paths: Iterable[Path], case: str) -> DataError:
    listed = " and ".join(place(path) for path in paths)
    return DataError(f"is there twice: {listed}", where=case, remedy="keep one", code="PFB-D03")


def unusable_id(name: str) -> DataError:
    shown = re.sub(r"[^ -~]", "?", name)[:80]
    return DataError(
        "cannot be a case id (letters, digits, '.', '_', '-'; at most 64)",
        where=f"'{shown}'",
        remedy="rename it",
        code="PFB-D04",
    )


def no_folder(root: Path) -> DataError:
    remedy = "check the path"
    return DataError("no such folder", where=str(root), remedy=remedy, code="PFB-D09")


def nothing_here(root: Path, expected: str) -> DataError:
    what = f"0 cases found; expected {expected}"
    return DataError(
        what, where=str(root), remedy="pass the folder that holds them", code="PFB-D09"
    )
