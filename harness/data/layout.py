"""Find volumes in folders: case ids, links and unusable files. Reads no voxels."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.data import itk
from harness.data.case import Case, FaultyCase, Survey, valid_case_id
from harness.data.nifti import check_regular, place
from harness.errors import DataError

ENDINGS = (".nii.gz", ".nii", *itk.ENDINGS)


def stem(path: Path) -> str:
    """Return the file name without a volume's ending, such as .nii.gz; "" for other files."""
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return ""


def volumes(folder: Path) -> dict[str, list[Path]]:
    """Return every volume of `folder` by its stem; several paths mean that the stem is there twice.

    Raises DataError when the folder cannot be read.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in entries(folder):
        if stem(path):
            found[stem(path)].append(path)
    return dict(found)


def entries(folder: Path) -> list[Path]:
    """Return the entries of `folder` without hidden ones, in order of name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise DataError(what, where=str(folder), remedy="check the path", code="PFB-D09") from None


def check_file(path: Path, root: Path) -> None:
    """Refuse a path that is no regular file, is empty or leads out of `root`, by a DataError."""
    check_regular(path)
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"a link to {os.path.realpath(path)}, outside the data root",
            where=place(path),
            remedy="copy the file into the folder, or pass the folder that holds it",
            code="PFB-D06",
        )


class Surveyor:
    """Collects the cases of a folder, and all faults of each, not only the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cases: list[Case] = []
        self.remains: list[FaultyCase] = []
        self.faults: list[DataError] = []
        self.notes: list[str] = []

    def add(
        self,
        case: str,
        images: Mapping[str, Sequence[Path]],
        labels: Sequence[Path],
        missing: Sequence[DataError] = (),
        channels: Mapping[str, int] | None = None,
        masks: Sequence[Sequence[Path]] | None = None,
    ) -> None:
        """Add a case with its files by modality, and the faults of its `missing` files.

        More than one path means that a file is there twice. `channels` are those of modalities
        that share a file. `masks` are further binary masks, where `labels` is one, too.
        """
        if not valid_case_id(case):
            fault = unusable_id(case)
            self.faults.append(fault)
            self.remains.append(FaultyCase(case, {}, None, faults=(fault,)))
            return
        faults = [*missing]
        chosen = {
            modality: path
            for modality, paths in images.items()
            if (path := self._only(case, paths, faults)) is not None
        }
        label = self._only(case, labels, faults)
        more = [self._only(case, paths, faults) for paths in masks or ()]
        parts = () if masks is None else tuple(path for path in (label, *more) if path is not None)
        if label is None or faults:
            unusable = FaultyCase(case, chosen, label, channels or {}, parts, tuple(faults))
            self.remains.append(unusable)
        else:
            self.cases.append(Case(case, chosen, label, channels or {}, parts))
        self.faults += faults

    def _only(self, case: str, paths: Sequence[Path], faults: list[DataError]) -> Path | None:
        """Return the only path, if it is a usable file; otherwise add a fault and return None."""
        try:
            if len(paths) > 1:
                raise twice(paths, case)
            for path in paths:
                check_file(path, self.root)
                return path
        except DataError as fault:
            faults.append(fault)
        return None

    def done(self) -> Survey:
        return Survey(tuple(self.cases), tuple(self.faults), tuple(self.notes), tuple(self.remains))


def same_but_for_case(found: Survey) -> list[DataError]:
    """Return one fault for ids that differ in capitals alone: some disks do not keep them apart."""
    alike: dict[str, dict[str, Path]] = defaultdict(dict)
    everyone: list[Case | FaultyCase] = [*found.cases, *found.remains]
    for one in everyone:
        path = next(iter(one.images.values()), one.label)
        if path is not None:
            alike[one.id.casefold()][one.id] = path
    return [twice(paths.values(), sorted(paths)[0]) for paths in alike.values() if len(paths) > 1]


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
