"""What `pfbench doctor` looks at, and what it says about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Diagnosis(NamedTuple):
    """One line of the doctor's; "fail" is what a run would break on."""

    name: str
    state: State
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class ExaminationRequest:
    """What `pfbench doctor` was asked for."""

    out: Path
    """Where runs go."""
    data_root: Path | None = None
    tracking_uri: str = ""
    """The default, "", is a store in the folder of each run."""


Check = Callable[[ExaminationRequest], Iterator[Diagnosis]]
