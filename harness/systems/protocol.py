"""The protocol: how every system is trained and scored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Options = dict[str, Any]
"""The options of a system by name, with values that JSON can hold."""


class Frozen(BaseModel):
    """Settings that refuse unknown keys and cannot be changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false for a number: YAML reads `yes` and `no` so, which pass for 1, 0."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted in (int, float):
            raise ValueError("a number is needed, not yes or no")
        return value


class Protocol(Frozen):
    """The settings that train and score every system: the paper's (Sec. IV-B) by default."""

    epochs: int = Field(80, ge=1, le=100_000)
    """The most epochs; training ends earlier at the floor of the learning rate (authors' code)."""
    learning_rate: float = Field(1e-4, gt=0, le=1)
    plateau_epochs: int = Field(10, ge=1)
    """The learning rate is divided after so many epochs without a lower training loss."""
    plateau_divisor: float = Field(10.0, gt=1)
    learning_rate_floor: float = Field(1e-7, gt=0)
    augment: bool = True
    """Whether to flip, shift and rotate in the axial plane, each with probability one half."""
    selection: Literal["last", "validation"] = "last"
    """Weights to score: of the last epoch, or of the best validation Dice. Never by test cases."""
    validate_every: int = Field(5, ge=1)
    """The epochs between two validations; the last epoch of a stage is always validated."""
    windows_per_volume: int = Field(1, ge=1, le=1000)
    """Windows of each volume that a patch-based system trains on in an epoch.

    A patch-free system sees every whole volume once.
    """
    foreground_share: float = Field(0.0, ge=0, le=1)
    """The share of windows placed to hold a random target voxel; other windows lie anywhere."""
    scored_on: Literal["grid", "scan"] = "grid"
    """Where masks are scored: on the grid (the paper's way), or on the voxels of the scan.

    On the scan, what resampling costs is in the score, and the scores of the grid stand beside it.
    """
    precision: Literal["fp32", "bf16"] = "fp32"
    """The precision of the networks; losses, weights and metrics are float32 in both settings."""
    checkpointing: bool = False
    """Whether training keeps only the inputs of blocks and recomputes the rest, to save memory."""
    layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    """The memory layout of convolved tensors; "auto": the layout measured faster on the device."""
