"""The request for an examination, and its findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Diagnosis(NamedTuple):
    """One finding of an examination; "fail" means that a run would break."""

    name: str
    state: State
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class ExaminationRequest:
    """The options of `pfbench doctor`."""

    out: Path
    """The folder of runs."""
    data_root: Path | None = None
    tracking_uri: str = ""
    """The URI of MLflow's store; "", the default, is a store in the folder of each run."""


Check = Callable[[ExaminationRequest], Iterator[Diagnosis]]
