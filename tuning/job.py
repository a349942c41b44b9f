"""A function of a job: what is placed, and what decides which job comes next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Report = Callable[[dict[str, Any]], None]
Work = Callable[[Any, Report, str], dict[str, Any]]
"""What does a job: given its payload, where to report, and the name of the machine it runs on."""


@dataclass(frozen=True)
class Job:
    """What one Tune trial does; `payload` goes to the work function."""

    id: str
    payload: Any
    cpus: float
    gpus: float = 0.0


class Source(Protocol):
    """Where jobs come from and what becomes of them; asked and told by one thread at a time."""

    def next(self) -> Job | None:
        """The next job, now that there is room for it; None when no more will come."""

    def left(self) -> int:
        """How many jobs may still come, at most."""

    def started(self, job: str, node: str) -> None:
        """The job runs; told again when launched again. `node` is "" where there is only one."""

    def heard(self, job: str, event: dict[str, Any]) -> bool:
        """What the job reported; True stops it there, and nothing more is heard of it."""

    def ended(self, job: str, outcome: dict[str, Any]) -> None:
        """What `work` returned; reason "error" when it raised, "lost" when its process died."""
