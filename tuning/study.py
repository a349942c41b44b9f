"""Carry out a study: Ray Tune places its points, Optuna proposes and stops them."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from tuning.launch import Cluster, Job, Work, place
from tuning.proposals import Proposals
from tuning.search import KnownPoint, Params, Range, Space, StudySettings

__all__ = ["KnownPoint", "Params", "Range", "Space", "StudySettings", "run_study"]

OnEvent = Callable[[int, dict[str, Any]], None]
PayloadOf = Callable[[int, Params], Any]


def run_study(
    search: StudySettings,
    past: Iterable[KnownPoint],
    work: Work,
    payload_of: PayloadOf,
    cpus: float,
    gpus: float,
    cluster: Cluster,
    on_event: OnEvent,
    *,
    time_budget_s: float | None = None,
) -> None:
    """Continue the study from `past` until it has `search.points` points, inside `ray_cluster`.

    `work(payload, report, node)` runs where Ray puts it, with so many `cpus` and `gpus`. It calls
    report({"epoch": e, "value": v, …}) as it goes, at every rung at least, and returns
    {"reason": "ok"} or {"reason": why not, "detail": …}; its last value is the point's. From a
    rung `report` may not return: then SystemExit leaves `work` as soon as its process is needed
    for another point, so nothing should run beside it at a rung.

    `payload_of(number, params)` is called before a point starts, which is the moment to write
    the point down. Numbers go up, over all commands. `on_event(number, event)` hears

        {"event": "proposed", "params"}            a new point, after `payload_of`
        {"event": "start", "node"}                 on which machine
        {"event": "epoch", "epoch", "value", …}    what `work` reported
        {"event": "end", "state", "value", "reason", "detail"}    complete, stopped or failed

    After `time_budget_s` no point is started. Those that run go on to their last epoch, or to
    their next rung and are left there, without an end. What never ended is "unfinished" in the
    next command's `past`; it comes first there, under its number. With one point at a time a
    continued study proposes what an undisturbed one would have proposed.

    Raises LaunchError, ClusterLost and KeyboardInterrupt as `run_jobs` does, and what
    `payload_of` and `on_event` raise.
    """
    deadline = math.inf if time_budget_s is None else time.monotonic() + time_budget_s
    points = _Points(Proposals(search, past), payload_of, cpus, gpus, on_event, deadline)
    points.stop_pruned()
    place(points, work, cluster, {(cpus, gpus)})


class _Points:
    """The points of a study, as jobs to be placed."""

    def __init__(
        self,
        proposals: Proposals,
        payload_of: PayloadOf,
        cpus: float,
        gpus: float,
        on_event: OnEvent,
        deadline: float,
    ) -> None:
        self.proposals = proposals
        self.payload_of = payload_of
        self.cpus = cpus
        self.gpus = gpus
        self.on_event = on_event
        self.deadline = deadline

    def next(self) -> Job | None:
        point = None if self._late() else self.proposals.next()
        if point is None:
            return None
        payload = self.payload_of(point.number, point.params)
        if point.new:
            self.on_event(point.number, {"event": "proposed", "params": point.params})
        return Job(str(point.number), payload, self.cpus, self.gpus)

    def left(self) -> int:
        return 0 if self._late() else self.proposals.left

    def started(self, job: str, node: str) -> None:
        self.on_event(int(job), {"event": "start", "node": node})

    def heard(self, job: str, event: dict[str, Any]) -> bool:
        number, epoch = int(job), event["epoch"]
        poor = self.proposals.judge(number, epoch, event["value"])
        self.on_event(number, {"event": "epoch", **event})
        if poor:
            self._stop(number)
        return poor or (epoch in self.proposals.search.rungs and self._late())

    def ended(self, job: str, outcome: dict[str, Any]) -> None:
        number, reason, detail = int(job), outcome["reason"], outcome.get("detail", "")
        if reason == "ok":
            state, value = self.proposals.complete(number)
            self._end(number, state, value, *_why(state, "ok", ""))
        else:
            self.proposals.fail(number)
            self._end(number, "failed", None, reason, detail)

    def stop_pruned(self) -> None:
        """Stop the points, without a process, that were due for it when the last command died."""
        for number in self.proposals.poor:
            self._stop(number)

    def _stop(self, number: int) -> None:
        state, value = self.proposals.stop(number)
        best = f"not among the best 1 in {self.proposals.search.reduction}"
        self._end(number, state, value, *_why(state, "stopped", best))

    def _end(self, number: int, state: str, value: float | None, reason: str, detail: str) -> None:
        end = {"state": state, "value": value, "reason": reason, "detail": detail}
        self.on_event(number, {"event": "end", **end})

    def _late(self) -> bool:
        return time.monotonic() >= self.deadline


def _why(state: str, reason: str, detail: str) -> tuple[str, str]:
    return ("value", "its last value is not a number") if state == "failed" else (reason, detail)
