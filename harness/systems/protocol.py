"""The protocol: how every system is trained and scored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Options = dict[str, Any]
"""Options of a system by name, with values that JSON can hold."""


class Frozen(BaseModel):
    """Settings that refuse unknown keys and cannot be changed after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads `yes` and `no` as true and false, which would pass for 1 and 0."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted in (int, float):
            raise ValueError("a number is needed, not yes or no")
        return value


class Protocol(Frozen):
    """How every system is trained and scored: the paper's Sec. IV-B unless a profile says less."""

    epochs: int = Field(80, ge=1, le=100_000)
    """At most; training ends earlier when the learning rate reaches its floor (authors' code)."""
    learning_rate: float = Field(1e-4, gt=0, le=1)
    plateau_epochs: int = Field(10, ge=1)
    """Divide the learning rate after so many epochs without a lower training loss."""
    plateau_divisor: float = Field(10.0, gt=1)
    learning_rate_floor: float = Field(1e-7, gt=0)
    augment: bool = True
    """Flip, shift and rotate in the axial plane, each with probability one half."""
    selection: Literal["last", "validation"] = "last"
    """Weights to score: of the last epoch, or of the best validation Dice. Never by test cases."""
    validate_every: int = Field(5, ge=1)
    """Epochs between two validations; the last epoch of a stage is always validated."""
    windows_per_volume: int = Field(1, ge=1, le=1000)
    """That a patch-based system trains on in an epoch, of each volume; a patch-free one sees all of
    it once."""
    foreground_share: float = Field(0.0, ge=0, le=1)
    """Of those windows, the share that is placed around a voxel of the target; the rest is
    anywhere."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the networks; losses, weights and metrics are float32 in both."""
    checkpointing: bool = False
    """Training keeps what enters a block and computes the rest again: less memory, more time."""
    layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    """In memory, of what is convolved; "auto" is what was measured to be faster on the device."""
