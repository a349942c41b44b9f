"""How scans are read: what can be asked for (`data.NAME`), and what that came to for a data set."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

Limits = Literal["minmax", "robust"] | tuple[float, float]
"""What becomes 0 and 1 in a modality: minimum and maximum of each volume, its robust percentiles,
or two intensities for all volumes."""


def _pair(value: object) -> object:
    """JSON and YAML have lists where two numbers stand together."""
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
        BeforeValidator(_pair),
    ] = "auto"
    """What becomes 0 and 1: minimum and maximum of each volume (the paper's), percentiles 0.5 and
    99.5 of each volume without its background (robust), those of the target's voxels in all
    training cases (foreground), or two intensities. auto: minmax for the paper's data sets, else
    foreground for CT and robust for the rest."""

    @model_validator(mode="after")
    def _in_order(self) -> "Reading":
        if not isinstance(self.intensity, str) and self.intensity[0] >= self.intensity[1]:
            raise ValueError("intensity: the first of the two has to be the lower one")
        return self


PLAIN = Reading()


class View(BaseModel):
    """How every scan of a data set is seen: what training used, and predicting has to."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    limits: tuple[Limits, ...] = ()
    """For each modality; none: minimum and maximum of each volume."""


PAPERS = View()
