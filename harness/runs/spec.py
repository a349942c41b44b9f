"""What determines the result of a trial, and the id that is made from it.

A trial's id is a hash of its `TrialSpec`: the same settings, data and code give the same id and
are never computed twice; any difference gives another id and another folder.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

import harness
from harness.data.reading import PAPERS, View

RESULT_CODE: tuple[str, ...] = ("models", "baselines", "harness/data", "harness/systems")


Device = Literal["cpu", "cuda"]


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
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the networks; losses, weights and metrics are float32 in both."""
    checkpointing: bool = False
    """Training keeps what enters a block and computes the rest again: less memory, more time."""
    layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    """In memory, of what is convolved; "auto" is what was measured to be faster on the device."""


class Data(Frozen):
    """The volumes, named by content: two folders with the same voxels are the same data."""

    name: str
    modalities: tuple[str, ...]
    target: str
    grid: tuple[int, int, int]
    fingerprint: str
    synthetic: bool
    view: View = PAPERS
    """How scans were seen, and new ones have to be."""


class TrialSpec(Frozen):
    """Everything that determines the numbers of one trial."""

    schema_version: Literal[1] = 1
    system: str
    options: dict[str, Any]
    """Of the network and of how it sees a volume, complete for the profile."""
    protocol: Protocol
    data: Data
    split: str
    """Digest of the split: which case trains, validates, tests."""
    fold: int = Field(0, ge=0)
    seed: int = Field(0, ge=0, lt=2**32)
    device: Device
    code: str
    plugins: tuple[str, ...] = ()
    """Of the system, the data set and the metrics: "name-<hash of the source>", in order."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits, safe as a folder name."""
        content = self.model_dump(mode="json")
        if not self.plugins:
            del content["plugins"]  # a trial without them is the same whether or not they exist
        return digest(content)

    @property
    def base(self) -> "TrialSpec | None":
        """The trial whose network this one fine-tunes on the test volumes; None if it trains one.

        Rows of a table that differ in test-phase fine-tuning alone share their trained network.
        """
        if self.options.get("tpf", "none") == "none":
            return None
        return self.model_copy(update={"options": {**self.options, "tpf": "none"}})


def digest(content: object) -> str:
    """The first 16 digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Version and hash of the source files that can move a number; the command line is not one."""
    top = Path(harness.__file__).parent.parent
    sources = sorted(
        source
        for part in RESULT_CODE
        for source in ((top / part).glob("**/*.py") if (top / part).is_dir() else [top / part])
    )
    total = hashlib.sha256()
    for source in sources:
        total.update(source.relative_to(top).as_posix().encode() + b"\0" + source.read_bytes())
    return f"{harness.__version__}+{total.hexdigest()[:12]}"
