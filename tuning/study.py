"""Carry out a study: Ray Tune places its points, Optuna proposes and stops them."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from tuning.launch import Cluster, Job, Work, place
from tuning.search import KnownPoint, Params, Range, Space, StudySettings
from tuning.timetable import Timetable

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
    lanes: int,
    time_budget_s: float | None = None,
) -> None:
    """Continue the study from `past` until it has `search.points` points, inside `ray_cluster`.

    The values of the points and the number of `lanes` decide what is proposed and stopped, see
    `tuning.timetable`; no more points than lanes train at the same time.

    `work(payload, report, node)` runs where Ray puts it, with so many `cpus` and `gpus`. It calls
    report({"epoch": e, "value": v, …}) as it goes, at every rung at least, and returns
    {"reason": "ok"} or {"reason": why not, "detail": …}; its last value is the point's. From a
    rung `report` may not return: then SystemExit leaves `work` as soon as its process is needed
    for another point, so nothing should run beside it at a rung. A point that waited there starts
    again, and `work` has to go on from what it left on disk.

    `payload_of(number, params)` is called before a point starts, which is the moment to write
    the point down. Numbers go up, over all commands. `on_event(number, event)` hears

        {"event": "proposed", "params"}            a new point, after `payload_of`
        {"event": "start", "node"}                 on which machine
        {"event": "epoch", "epoch", "value", …}    what `work` reported
        {"event": "wait", "epoch"}                 at a rung, for values of points before it
        {"event": "end", "state", "value", "reason", "detail"}    complete, stopped or failed

    After `time_budget_s` no point is started. Those that run go on to their last epoch, or to
    their next rung and are left there, without an end. What never ended is "unfinished" in the
    next command's `past`. A continued study proposes and stops what an undisturbed one would have.

    Raises LaunchError, ClusterLost and KeyboardInterrupt as `run_jobs` does, and what
    `payload_of` and `on_event` raise.
    """
    deadline = math.inf if time_budget_s is None else time.monotonic() + time_budget_s
    timetable = Timetable(search, lanes, past)
    points = _Points(timetable, payload_of, cpus, gpus, on_event, deadline)
    points.end_stopped()
    place(points, work, cluster, {(cpus, gpus)})


class _Points:
    """The points of a study, as jobs to be placed."""

    def __init__(
        self,
        timetable: Timetable,
        payload_of: PayloadOf,
        cpus: float,
        gpus: float,
        on_event: OnEvent,
        deadline: float,
    ) -> None:
        self.timetable = timetable
        self.payload_of = payload_of
        self.cpus = cpus
        self.gpus = gpus
        self.on_event = on_event
        self.deadline = deadline

    def next(self) -> Job | None:
        point = None if self._late() else self.timetable.next()
        if point is None:
            return None
        payload = self.payload_of(point.number, point.params)
        if point.new:
            self.on_event(point.number, {"event": "proposed", "params": point.params})
        return Job(str(point.number), payload, self.cpus, self.gpus)

    def left(self) -> int:
        return 0 if self._late() else self.timetable.left

    def started(self, job: str, node: str) -> None:
        self.on_event(int(job), {"event": "start", "node": node})

    def heard(self, job: str, event: dict[str, Any]) -> bool:
        number, epoch = int(job), event["epoch"]
        goes_on = self.timetable.heard(number, epoch, event["value"])
        self.on_event(number, {"event": "epoch", **event})
        if not self.end_stopped(number) and not goes_on:
            self.on_event(number, {"event": "wait", "epoch": epoch})
        if goes_on and self._late() and epoch in self.timetable.search.rungs:
            self.timetable.left_at_rung(number)
            return True
        return not goes_on

    def ended(self, job: str, outcome: dict[str, Any]) -> None:
        number, ok = int(job), outcome["reason"] == "ok"
        self.timetable.ended(number, failed=not ok)
        self._end(number, outcome["reason"], outcome.get("detail", ""))
        self.end_stopped()

    def end_stopped(self, number: int | None = None) -> bool:
        """Announce the end of the points that were stopped; returns whether `number` is one."""
        stopped = self.timetable.stopped()
        for each in stopped:
            best = f"not among the best 1 in {self.timetable.search.reduction}"
            self._end(each, "stopped", best)
        return number in stopped

    def _end(self, number: int, reason: str, detail: str) -> None:
        state, value = self.timetable.outcome(number)
        if state == "failed" and reason in ("ok", "stopped"):
            reason, detail = "value", "its last value is not a number"
        end = {"state": state, "value": value, "reason": reason, "detail": detail}
        self.on_event(number, {"event": "end", **end})

    def _late(self) -> bool:
        return time.monotonic() >= self.deadline
