"""The order of a study's decisions: by epochs trained, whoever arrives first.

    lane 0   point 0 ────┬───────────┬───────────────────────────────┬ point 5 ──
    lane 1   point 1 ────┬ point 2 ──┬────────────┬ point 3 ──┬ point 4 ──┬──────
             epoch       rung        rung         stopped     stopped

Points run on **lanes**, as many as train at the same time when the study begins. On paper an epoch
takes equally long on every lane. That says which of two points is first at a rung, and when a lane
is free for the next point, which is proposed then. Decisions are taken in this order alone: one
whose turn is later waits for the values of those before it. So the values and the number of lanes
decide what is proposed and what is stopped; the clock does not.
"""

import heapq
import math
from collections.abc import Iterable
from typing import NamedTuple

from tuning.proposals import Proposals
from tuning.search import KnownPoint, Params, State, StudySettings


class Point(NamedTuple):
    """A numbered point of a study; the number belongs to its parameters for good."""

    number: int
    params: Params
    new: bool


class Turn(NamedTuple):
    """The next decision on a point: when it is due on paper, and at which of the stops."""

    due: int
    """In epochs since the study began."""
    number: int
    stop: int


class _Begun:
    """A point that has a lane on paper, or had one."""

    def __init__(self, params: Params, past: KnownPoint | None) -> None:
        self.params = params
        self.new = past is None
        self.values: dict[int, float] = dict(past.values) if past else {}
        self.state: State = past.state if past else "unfinished"
        self.running = False

    @property
    def epochs(self) -> int:
        return max(self.values, default=0)

    @property
    def value(self) -> float:
        """The last value of the point; NaN before there is a value."""
        return self.value_at(self.epochs)

    def value_at(self, epoch: int) -> float:
        """The value after this epoch, or the last one of a training that ended before it."""
        last = max((each for each in self.values if each <= epoch), default=None)
        return math.nan if last is None else self.values[last]

    def end(self, state: State) -> None:
        self.state = state if math.isfinite(self.value) else "failed"


class Timetable:
    """The points of one study, past and to come; what was decided before is decided again."""

    def __init__(self, search: StudySettings, lanes: int, past: Iterable[KnownPoint] = ()) -> None:
        self.search = search
        self.proposals = Proposals(search)
        self.lanes = lanes if search.learns else max(lanes, search.size)
        self.stops = (*search.rungs, search.epochs)
        self.past = {point.number: point for point in past}
        self.points: dict[int, _Begun] = {}
        self.turns: list[Turn] = []
        """The next turn of each point with a lane, as a heap."""
        self.exhausted = False
        """Whether there are no more points than those begun, whatever was asked for."""
        self._stopped: list[int] = []
        for _ in range(min(self.lanes, max(search.points, len(self.past)))):
            self._begin(0)
        self._decide()

    def next(self) -> Point | None:
        """The next point to train; None while all that have a lane run or wait for their turn."""
        ready = (turn for turn in self.turns if not self._running(turn) and not self._known(turn))
        turn = min(ready, default=None)
        if turn is None:
            return None
        point = self.points[turn.number]
        point.running = True
        new, point.new = point.new, False
        return Point(turn.number, point.params, new)

    @property
    def left(self) -> int:
        """The largest number of points that may run beside those that do; 0 when none will come."""
        running = sum(map(self._running, self.turns))
        coming = 0 if self.exhausted else max(0, self.search.points - len(self.points))
        return min(len(self.turns) + coming, self.lanes) - running

    def heard(self, number: int, epoch: int, value: float) -> bool:
        """Record a value; returns False at a rung where the point is stopped or waits for its turn.

        In both cases nothing is to be left running of it; one that waited comes again by `next`.
        """
        point = self.points[number]
        point.values[epoch] = value
        if epoch in self.search.rungs:
            self._decide()
            point.running = any(
                turn.number == number and self.stops[turn.stop] > epoch for turn in self.turns
            )
        return point.running

    def ended(self, number: int, *, failed: bool) -> None:
        """Record the end of a training."""
        point = self.points[number]
        point.running = False
        point.end("failed" if failed else "complete")
        self._decide()

    def left_at_rung(self, number: int) -> None:
        """Record that a point does not go on now, although it might."""
        self.points[number].running = False

    def stopped(self) -> list[int]:
        """The points stopped since the last call, those of `past` without an end included."""
        stopped, self._stopped = self._stopped, []
        return stopped

    def outcome(self, number: int) -> tuple[State, float | None]:
        """State and value of a point that has ended; one without a finite value has failed."""
        point = self.points[number]
        return point.state, None if point.state == "failed" else point.value

    def _begin(self, due: int) -> None:
        """Give a free lane to the next point, if there is one."""
        number = len(self.points)
        past = self.past.get(number)
        if self.exhausted or (past is None and number >= self.search.points):
            return
        params = self.proposals.given(number, past.params) if past else self.proposals.new(number)
        if params is None:
            self.exhausted = True
            return
        self.points[number] = _Begun(params, past)
        heapq.heappush(self.turns, Turn(due + self.stops[0], number, 0))

    def _running(self, turn: Turn) -> bool:
        return self.points[turn.number].running

    def _known(self, turn: Turn) -> bool:
        """Whether there is what the decision needs."""
        point, epoch = self.points[turn.number], self.stops[turn.stop]
        return point.state != "unfinished" or (epoch in self.search.rungs and epoch in point.values)

    def _decide(self) -> None:
        """Take the decisions whose turn it is, one after the other, until one has to wait."""
        while self.turns and self._known(self.turns[0]):
            due, number, stop = heapq.heappop(self.turns)
            if self._goes_on(number, self.stops[stop]):
                further = self.stops[stop + 1] - self.stops[stop]
                heapq.heappush(self.turns, Turn(due + further, number, stop + 1))
                continue
            point = self.points[number]
            if point.state == "unfinished":
                point.end("stopped")
                self._stopped.append(number)
            self.proposals.tell(number, point.state, point.value)
            self._begin(due)

    def _goes_on(self, number: int, epoch: int) -> bool:
        """Whether a point goes on after this stop.

        What a past point has done stands, also where an earlier version decided otherwise.
        """
        point = self.points[number]
        if epoch not in self.search.rungs or (point.state == "failed" and point.epochs < epoch):
            return False
        value = point.value_at(epoch)
        poor = self.proposals.judge(number, epoch, value)  # asked of all: this fills the rung
        went_on = point.epochs > epoch or point.state in ("complete", "failed")
        return math.isfinite(value) and (went_on or (point.state == "unfinished" and not poor))
