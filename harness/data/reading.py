"""What can be asked of the reading of scans: the settings `data.NAME`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Reading(BaseModel):
    """How the files of a data set are read; the same for training, checking and predicting."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    unoriented: Literal["refuse", "pixdim"] = "refuse"
    """Files whose qform and sform codes are both 0: refuse them, or take their axes as right,
    anterior and superior, and the voxel size of pixdim."""
    drop_vanished: bool = False
    """Leave out the cases of whose target nothing is left on the grid, and count them under the
    table; else they are a fault."""


PLAIN = Reading()
