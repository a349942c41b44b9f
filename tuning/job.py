"""The jobs that are placed on a cluster, and the interface that chooses the next job."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Report = Callable[[dict[str, Any]], None]
Work = Callable[[Any, Report, str], dict[str, Any]]
"""A function that does a job, given its payload, a function to report to, and a machine name."""


@dataclass(frozen=True)
class Job:
    """The work of one Tune trial; `payload` goes to the work function."""

    id: str
    payload: Any
    cpus: float
    gpus: float = 0.0


class Source(Protocol):
    """The interface that supplies jobs and receives reports; called by one thread at a time."""

    def next(self) -> Job | None:
        """Return the next job, now that there is room for it; None when there is none just now."""

    def left(self) -> int:
        """Return the largest number of jobs that may run beside those that do; 0 when none will."""

    def started(self, job: str, node: str) -> None:
        """Handle a start of a job, also a second launch. `node` is "" where there is only one."""

    def heard(self, job: str, event: dict[str, Any]) -> bool:
        """Handle an event that the job reported; True stops the job, and no more events follow."""

    def ended(self, job: str, outcome: dict[str, Any]) -> None:
        """Handle the end of `work`: reason "error" if it raised, "lost" if its process died."""
