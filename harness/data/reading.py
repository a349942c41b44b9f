"""How scans are read: what can be asked for (`data.NAME`), and what that came to for a data set."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

Limits = Literal["minmax", "robust"] | tuple[float, float]
"""What becomes 0 and 1 in a modality: minimum and maximum of each volume, its robust percentiles,
or two intensities for all volumes."""


UNIT = 32  # half a side goes through four halvings, in the windows and in the half-size image


def suits_every_system(grid: Sequence[int]) -> bool:
    """Whether all systems can be trained on volumes of `grid`; 32 cubed ends in a single voxel."""
    return all(side > 0 and side % UNIT == 0 for side in grid) and max(grid) > UNIT


def _as_tuple(value: object) -> object:
    """JSON and YAML have lists where a few numbers stand together."""
    return tuple(value) if isinstance(value, list) else value


class Reading(BaseModel):
    """What a person asks for; the same for training, checking and predicting."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    """Files whose qform and sform codes are both 0: refuse them, or take their axes as right,
    anterior and superior, and the voxel size of pixdim."""
    drop_vanished: bool = False
    """Leave out the cases of whose target nothing is left on the grid, and count them under the
    table; else they are a fault."""
    intensity: Annotated[
        Literal["auto", "minmax", "robust", "foreground"] | tuple[float, float],
        BeforeValidator(_as_tuple),
    ] = "auto"
    """What becomes 0 and 1: minimum and maximum of each volume (the paper's), percentiles 0.5 and
    99.5 of each volume without its background (robust), those of the target's voxels in all
    training cases (foreground), or two intensities. auto: minmax for the paper's data sets, else
    foreground for CT and robust for the rest."""

    grid: Annotated[
        Literal["auto", "paper"] | tuple[int, int, int] | None, BeforeValidator(_as_tuple)
    ] = None
    """Voxels (D, H, W) that systems see: the paper's 128 x 192 x 192 divided by `reduce`, chosen
    from the training cases (auto), or three numbers. Nothing: paper for the paper's data sets,
    auto for others."""
    spacing: Annotated[tuple[float, float, float] | None, BeforeValidator(_as_tuple)] = None
    """Size of a voxel (D, H, W) in mm on a grid that is not the paper's; nothing: from the
    training cases."""

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
    """How every scan of a data set is seen: what training used, and predicting has to."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    limits: tuple[Limits, ...] = ()
    """For each modality; none: minimum and maximum of each volume."""
    grid: tuple[int, int, int] | None = None
    """Voxels (D, H, W) that systems see; None: the paper's divided by the reduction, in the way of
    the data set."""
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Of that grid (D, H, W), for scans that fit it."""
    blocks: tuple[int, int, int] = (1, 1, 1)
    """Positions (D, H, W) in a scan of which a voxel is the mean."""


PAPERS = View()
