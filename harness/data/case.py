"""The main types of the data: the files of a case, its scan, and its volume on the grid."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError, together

if TYPE_CHECKING:
    import numpy as np

Spacing = tuple[float, float, float]
Grid = tuple[int, int, int]
PAPER_GRID: Grid = (128, 192, 192)  # (D, H, W), Sec. IV-A

_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def valid_case_id(name: str) -> bool:
    """Whether `name` is safe as a file name, in a table and in a log."""
    return _CASE_ID.fullmatch(name) is not None


@dataclass(frozen=True)
class Case:
    """One patient on disk: a file for each modality, in the order that was asked for."""

    id: str
    images: dict[str, Path]
    label: Path
    channels: Mapping[str, int] = field(default_factory=dict)
    """The index in the fourth axis, for modalities that share a file with others."""
    masks: tuple[Path, ...] = ()
    """Binary masks, the first of which is `label`; the reference is their union."""

    @property
    def files(self) -> tuple[Path, ...]:
        return *self.images.values(), *(self.masks or (self.label,))


@dataclass(frozen=True)
class FaultyCase:
    """A case with missing or invalid files; the files that can still be checked are kept."""

    id: str
    images: dict[str, Path]
    label: Path | None
    channels: Mapping[str, int] = field(default_factory=dict)
    masks: tuple[Path, ...] = ()
    faults: tuple[DataError, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """One patient in native resolution, axes turned to the nearest of (superior, anterior, right).

    `affine` takes an index (x, y, z, 1), the reverse of the array's order, to mm; `stored_axes`
    are the directions in which the file stored x, y and z (such as "LPS"), for the way back.
    """

    image: "np.ndarray"  # (C, D, H, W) float32
    label: "np.ndarray"  # (D, H, W) uint8, the file's own labels
    spacing_mm: Spacing  # (D, H, W)
    affine: "np.ndarray"  # (4, 4)
    stored_axes: str = "RAS"
    notes: tuple[str, ...] = ()
    ends: tuple[tuple[float, float] | None, ...] = ()
    """The intensities that become 0 and 1, for each modality; none: minimum and maximum."""


@dataclass(frozen=True, eq=False)
class OnScan:
    """The target of one patient on the voxels of the scan, for scores of masks there."""

    shape: Grid  # (D, H, W)
    spacing_mm: Spacing  # (D, H, W)
    start: Grid
    """The first voxel of the box (d, h, w) outside of which there is no target."""
    inside: "np.ndarray"  # (d, h, w) uint8, coded as the label of a volume
    blocks: "np.ndarray | None" = None  # (N, C, D, H, W) float32 in [0, 1]
    """The images of the whole scan that a system is shown in place of the volume's image, which the
    label has chosen; None where they are the same."""

    @property
    def label(self) -> "np.ndarray":
        """The label of the whole scan, (D, H, W) uint8."""
        import numpy as np

        whole = np.zeros(self.shape, np.uint8)
        box = tuple(
            slice(first, first + side)
            for first, side in zip(self.start, self.inside.shape, strict=True)
        )
        whole[box] = self.inside
        return whole


@dataclass(frozen=True, eq=False)
class Volume:
    """One patient on the grid of the benchmark."""

    case: str
    image: "np.ndarray"  # (C, D, H, W) float32 in [0, 1]
    label: "np.ndarray"  # (D, H, W) uint8, 0 or 1
    spacing_mm: Spacing  # (D, H, W)
    cut: float | None = None
    """The share of the target outside of the part that the grid shows; None where unknown."""
    scan: OnScan | None = None
    """None for a volume that was made on the grid."""


@dataclass(frozen=True)
class Contents:
    """The modalities, targets and labels that the cases of a data set have."""

    modalities: tuple[str, ...]
    targets: Mapping[str, tuple[int, ...]]
    """Target name -> the labels that the target consists of."""
    default: str = ""
    """The name of the default target; "" where a person has to choose one."""
    labels: frozenset[int] = frozenset()
    """All labels that a mask may hold; empty where the labels are not known."""
    channels: bool = False
    """Whether a modality may also be asked for by its number."""
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of modalities and targets -> the names in this object."""
    available: tuple[str, ...] = ()
    """Every modality that any case has, where `modalities` is a choice among them."""
    unsure: bool = False
    """Whether label 3 may be core or rim, as in BraTS of unknown year."""
    cavity: bool = False
    """Whether label 4 beside label 3 may be a resection cavity."""

    def modality(self, asked: str) -> str:
        """Return the name of the modality that `asked` names, or gives the number of."""
        by_number = self.channels and asked.isdecimal() and asked not in self.modalities
        if by_number and int(asked) < len(self.modalities):
            return self.modalities[int(asked)]
        known = asked in self.modalities or asked in self.available
        return asked if known else self.spelled.get(asked, asked)

    def target(self, asked: str) -> str:
        """Return the known names of the targets that `asked` lists, joined by commas."""
        if asked in self.targets or asked not in self.spelled:
            names = asked.split(",")
            return ",".join(n if n in self.targets else self.spelled.get(n, n) for n in names)
        return self.spelled[asked]

    def labels_of(self, target: str) -> tuple[int, ...] | None:
        """Return the labels of one target; None for a target that does not exist.

        A number is always a target, unless masks are known not to hold it.
        """
        if target in self.targets:
            return self.targets[target]
        number = int(target) if target.isdecimal() and len(target) <= 3 else 0
        allowed = not self.labels or number in self.labels
        return (number,) if 0 < number <= 255 and allowed else None


@dataclass(frozen=True)
class Survey:
    """The content of a data set's folder: usable cases in order of id, faults, and notes."""

    cases: tuple[Case, ...] = ()
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    remains: tuple[FaultyCase, ...] = ()
    """The cases with faults, in order of id."""
    folds: Mapping[str, int] = field(default_factory=dict)
    """Case -> its fold, where the data set comes with folds."""

    def without(self, left_out: Collection[str]) -> "Survey":
        """Return this survey without the cases in `left_out`, their faults and their notes."""
        gone = {id(fault) for one in self.remains if one.id in left_out for fault in one.faults}
        return replace(
            self,
            cases=tuple(case for case in self.cases if case.id not in left_out),
            remains=tuple(one for one in self.remains if one.id not in left_out),
            faults=tuple(
                fault
                for fault in self.faults
                if id(fault) not in gone and fault.where not in left_out
            ),
            notes=tuple(note for note in self.notes if note.partition(":")[0] not in left_out),
            folds={case: fold for case, fold in self.folds.items() if case not in left_out},
        )

    def require(self) -> list[Case]:
        """Return the cases; DataError that lists every fault when there is any."""
        if self.faults:
            raise together(self.faults, "the data")
        return list(self.cases)
