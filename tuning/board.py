"""Which job is which of Tune's trials, and what is done when one is lost."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tuning.cluster import ClusterLost
from tuning.job import Job, Source

ATTEMPTS = 2  # launches of a job whose process Ray lost


class Board:
    """Which job is which of Tune's trials. Tune's thread writes here, `close` ends that."""

    def __init__(self, source: Source, places: Callable[[], int]) -> None:
        self.source = source
        self.places = places
        self.running: dict[str, Job] = {}  # by Tune's name of the trial
        self.begun: set[str] = set()  # trials that have said a word
        self.again: deque[Job] = deque()
        self.losses: Counter[str] = Counter()
        self.drained = False
        self.fault: BaseException | None = None
        self.lock = threading.Lock()
        self.closed = False

    @property
    def empty(self) -> bool:
        return self.drained and not self.running and not self.again

    def take(self, trial: str) -> Job | None:
        """A job for this trial, if there is room and a job."""
        places = self.places()  # asks Ray, and may wait for ever: not while `close` waits for us
        with self._ours():
            if len(self.running) >= places:
                return None
            job = self.again.popleft() if self.again else self.source.next()
            if job is None:
                self.drained = True
            else:
                self.running[trial] = job
            return job

    def hear(self, trial: str, result: dict[str, Any]) -> bool:
        """Pass on what the trial reported; True when that was its last word."""
        with self._ours():
            job = self.running.get(trial)
            if job is None:
                return True
            if trial not in self.begun:
                self.begun.add(trial)
                self.source.started(job.id)
            over = False
            if "event" in result:
                over = self.source.heard(job.id, result["event"][0])
            elif "outcome" in result:
                self.source.ended(job.id, result["outcome"][0])
                over = True
            if over:
                del self.running[trial]
            return over

    def lose(self, trial: str, why: str) -> None:
        """The trial is over without an outcome: launch its job again, unless that was done."""
        with self._ours():
            job = self.running.pop(trial)
            self.losses[job.id] += 1
            if self.losses[job.id] < ATTEMPTS:
                self.again.append(job)
            else:
                self.source.ended(job.id, {"reason": "lost", "detail": why})

    def restart(self, error: Exception) -> None:
        """Tune is gone, and what was running with it; ClusterLost when it did not get to work."""
        if self.fault:
            raise self.fault from None
        why = f"Ray gave up: {_in_short(error)}"
        if not self.begun:
            raise ClusterLost(why) from error
        for trial in list(self.running):
            if trial in self.begun:
                self.lose(trial, why)
            else:
                self.again.append(self.running.pop(trial))
        self.begun.clear()

    def close(self) -> None:
        """Nothing more reaches the source; Tune's thread may still run when Ctrl-C left it."""
        with self.lock:
            self.closed = True

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """One thread at a time; what fails here would reach the caller as Tune's words only."""
        with self.lock:
            if self.closed:
                raise RuntimeError("nobody listens any more")
            try:
                yield
            except BaseException as error:
                self.fault = error
                raise


def _in_short(error: Exception) -> str:
    """What Ray says first; a report on the machine and its processes follows."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    telling = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return telling.partition(". ")[0]
