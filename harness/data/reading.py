"""Settings for reading scans (`data.NAME`), and the view of a data set that they lead to."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

Limits = Literal["minmax", "robust"] | tuple[float, float]
"""The rule for the intensities that become 0 and 1 in a modality.

Minimum and maximum of each volume, its robust percentiles, or two intensities for all volumes.
"""


UNIT = 32  # half a side goes through four halvings, in the windows and in the half-size image


def suits_every_system(grid: Sequence[int]) -> bool:
    """Return whether every system trains on volumes of `grid`; 32 cubed ends in a single voxel."""
    return all(side > 0 and side % UNIT == 0 for side in grid) and max(grid) > UNIT


def _as_tuple(value: object) -> object:
    """Turn a list of numbers from JSON or YAML into a tuple; return other values unchanged."""
    return tuple(value) if isinstance(value, list) else value


class Reading(BaseModel):
    """The way that a person asks to read scans; the same for training, checking and predicting."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    """The treatment of files whose qform and sform codes are both 0.

    Refuse them, or take their axes as right, anterior and superior, and the voxel size of pixdim.
    """
    drop_vanished: bool = False
    """Whether to leave out the cases of whose target nothing is left on the grid.

    They are counted under the table; else they are a fault.
    """
    intensity: Annotated[
        Literal["auto", "minmax", "robust", "foreground"] | tuple[float, float],
        BeforeValidator(_as_tuple),
    ] = "auto"
    """The intensities that become 0 and 1.

    Minimum and maximum of each volume (the paper's), percentiles 0.5 and 99.5 of each volume
    without its background (robust), those of the target's voxels in all training cases
    (foreground), or two intensities. auto: foreground for CT, else minmax for the paper's data sets
    and robust for the rest.
    """

    grid: Annotated[
        Literal["auto", "paper"] | tuple[int, int, int] | None, BeforeValidator(_as_tuple)
    ] = None
    """The number of voxels (D, H, W) that systems see.

    The paper's 128 x 192 x 192 divided by `reduce`, chosen from the training cases (auto), or three
    numbers. Nothing: paper for the paper's data sets, auto for others.
    """
    spacing: Annotated[tuple[float, float, float] | None, BeforeValidator(_as_tuple)] = None
    """The size of a voxel (D, H, W) in mm on a grid that is not the paper's.

    Nothing: from the training cases.
    """

    @model_validator(mode="after")
    def _possible(self) -> "Reading":
        if not isinstance(self.intensity, str) and self.intensity[0] >= self.intensity[1]:
            raise ValueError("intensity: the first of the two has to be the lower one")
        if isinstance(self.grid, tuple) and not suits_every_system(self.grid):
            raise ValueError(
                f"grid: every system can take sides that are multiples of {UNIT}, one of them "
                f"{2 * UNIT} or more"
            )
        if self.spacing and min(self.spacing) <= 0:
            raise ValueError("spacing: sizes have to be above 0")
        if self.spacing and self.grid == "paper":
            raise ValueError(
                "spacing: the paper's grid has voxels of its own; leave one of them out"
            )
        return self


PLAIN = Reading()


class View(BaseModel):
    """The way every scan of a data set is seen: fixed by training, and used again to predict."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    limits: tuple[Limits, ...] = ()
    """The rule for intensities of each modality; empty: minimum and maximum of each volume."""
    grid: tuple[int, int, int] | None = None
    """The number of voxels (D, H, W) that systems see.

    None: the paper's grid divided by the reduction, in the way of the data set.
    """
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """The voxel size of that grid (D, H, W) in mm, for scans that fit the grid."""
    blocks: tuple[int, int, int] = (1, 1, 1)
    """The number of positions (D, H, W) in a scan of which a voxel is the mean."""


PAPERS = View()
