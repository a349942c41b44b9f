"""The assignment of jobs to Tune's trials, and the relaunch of jobs whose trial is lost."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tuning.capacity import MachineLost
from tuning.cluster import ClusterLost
from tuning.job import Job, Source
from tuning.machines import in_short

ATTEMPTS = 2  # launches of a job whose process Ray lost
MACHINES = 5  # launches of one whose machines were lost: seldom its fault, unless they all fall


class JobBoard:
    """The assignment of jobs to Tune's trials. Tune's thread changes it until `close` ends that."""

    def __init__(
        self,
        source: Source,
        places: Callable[[], int],
        lives: Callable[[str], bool] = lambda machine: True,
    ) -> None:
        self.source = source
        self.places = places
        self.lives = lives
        self.running: dict[str, Job] = {}  # by Tune's name of the trial
        self.begun: dict[str, str] = {}  # trials that have said a word, and on which machine
        self.again: deque[Job] = deque()
        self.losses: dict[str, list[str]] = defaultdict(list)  # of a job, on which machines
        self.fault: BaseException | None = None
        self.lock = threading.Lock()
        self.closed = False

    @property
    def empty(self) -> bool:
        return not self.running and not self.again and not self.source.left()

    @property
    def left(self) -> int:
        """The number of jobs that run or may still come."""
        return len(self.running) + len(self.again) + self.source.left()

    def take(self, trial: str) -> Job | None:
        """Take a job for this trial; None if there is no room or no job."""
        try:
            places = self.places()  # asks Ray, and may wait for ever: not while `close` waits
        except (MachineLost, ClusterLost) as error:
            self.fault = error
            raise
        with self._ours():
            if len(self.running) >= places:
                return None
            job = self.again.popleft() if self.again else self.source.next()
            if job:
                self.running[trial] = job
            return job

    def hear(self, trial: str, result: dict[str, Any]) -> bool:
        """Pass on the report of the trial; True when the trial is over with it."""
        with self._ours():
            job = self.running.get(trial)
            if job is None:
                return True
            if "begun" in result:
                self.begun[trial], node = result["begun"]
                self.source.started(job.id, node)
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
        """Handle a trial that ended without an outcome: launch its job again, up to a limit."""
        losses = self.losses[self.running[trial].id]
        losses.append(self.begun.get(trial, ""))
        # That a machine is gone is known some seconds after its processes are.
        own = sum(not machine or self.lives(machine) for machine in losses)
        with self._ours():
            job = self.running.pop(trial)
            if own < ATTEMPTS and len(losses) < MACHINES:
                self.again.append(job)
            else:
                self.source.ended(job.id, {"reason": "lost", "detail": why})

    def restart(self, error: Exception) -> None:
        """Handle the end of Tune and of its trials. Raises ClusterLost when no job had begun."""
        if self.fault:
            raise self.fault from None
        why = f"Ray gave up: {in_short(error)}"
        if not self.begun:
            raise ClusterLost(why) from error
        for trial in list(self.running):
            if trial in self.begun:
                self.lose(trial, why)
            else:
                self.again.append(self.running.pop(trial))
        self.begun.clear()

    def close(self) -> None:
        """Let no more reports reach the source; Tune's thread may still run when Ctrl-C left it."""
        with self.lock:
            self.closed = True

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Hold the lock, and keep an exception in `fault`: Tune would pass on only its text."""
        with self.lock:
            if self.closed:
                raise RuntimeError("nobody listens any more")
            try:
                yield
            except BaseException as error:
                self.fault = error
                raise
