"""The three nouns of the data: where a case lies, what its files hold, what a network sees."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.errors import DataError, together

Spacing = tuple[float, float, float]
Grid = tuple[int, int, int]

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
    """Of modalities that lie in a file with others: which volume of its fourth axis."""

    @property
    def files(self) -> tuple[Path, ...]:
        return *self.images.values(), self.label


@dataclass(frozen=True)
class Remains:
    """What can be read of a patient whose files have faults."""

    id: str
    images: dict[str, Path]
    label: Path | None
    channels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scan:
    """One patient in native resolution, axes turned to the nearest of (superior, anterior, right).

    `affine` takes an index (x, y, z, 1), the reverse of the array's order, to mm; `stored_axes`
    are the directions in which the file stored x, y and z (such as "LPS"), for the way back.
    """

    image: np.ndarray  # (C, D, H, W) float32
    label: np.ndarray  # (D, H, W) uint8, the file's own labels
    spacing_mm: Spacing  # (D, H, W)
    affine: np.ndarray  # (4, 4)
    stored_axes: str = "RAS"
    notes: tuple[str, ...] = ()
    ends: tuple[tuple[float, float] | None, ...] = ()
    """Of each modality the intensities that become 0 and 1; none: minimum and maximum."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One patient on the grid of the benchmark."""

    case: str
    image: np.ndarray  # (C, D, H, W) float32 in [0, 1]
    label: np.ndarray  # (D, H, W) uint8, 0 or 1
    spacing_mm: Spacing  # (D, H, W)
    cut: float | None = None
    """Share of the target that lies outside of what the grid shows; None where it is not known."""


@dataclass(frozen=True)
class Contents:
    """What the cases of a data set have: channels in order, and targets by name."""

    modalities: tuple[str, ...]
    targets: Mapping[str, tuple[int, ...]]
    """Name -> the labels it consists of."""
    default: str = ""
    """The target when none is asked for; "" where a person has to choose."""
    labels: frozenset[int] = frozenset()
    """All that a mask may hold; empty where that is not known."""
    channels: bool = False
    """A modality may be asked for by its number, too."""

    def modality(self, asked: str) -> str:
        """The name of the modality called `asked`, or of that number."""
        by_number = self.channels and asked.isdecimal() and asked not in self.modalities
        if by_number and int(asked) < len(self.modalities):
            return self.modalities[int(asked)]
        return asked


@dataclass(frozen=True)
class Survey:
    """What a dataset's folder holds: usable cases in order of id, faults, and what is odd."""

    cases: tuple[Case, ...] = ()
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    remains: tuple[Remains, ...] = ()
    """Of the cases with faults, in order of id."""

    def require(self) -> list[Case]:
        """The cases; DataError that lists every fault when there is any."""
        if self.faults:
            raise together(self.faults, "the data")
        return list(self.cases)
