"""The progress of a study on the screen: running points, points done, the best so far."""

import time
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table

from harness.runs import study_folder as study
from harness.runs.events import Event
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen, clock


class StudyScreen:
    """A live table on a terminal, a line for each epoch elsewhere; both show the best so far."""

    def __init__(
        self, screen: Screen, folder: RunFolder, name: str, points: int, epochs: int
    ) -> None:
        self.screen = screen
        self.name = name
        self.total = points
        self.epochs = epochs
        known = study.points(folder, name)
        self.ended = {"complete": 0, "stopped": 0, "failed": 0}
        for point in known:
            if point.state in self.ended:
                self.ended[point.state] += 1
        self.params = {point.number: point.params for point in known}
        best = study.best(folder, name)
        self.best = None if best is None else best.number
        self.best_value = -1.0 if best is None or best.value is None else best.value
        self.running: dict[int, tuple[int, float | None]] = {}
        """Epoch and value of each point that has begun and not ended."""
        self.waiting: set[int] = set()
        """Those of them that wait at a rung for points that come before them."""
        self.lengths = [max(p.values(), default=0) for p in known if p.state in self.ended]
        self.began = time.monotonic()
        self.heard = 0
        """The number of epochs trained since the screen was made."""
        self.live: Live | None = None

    def __enter__(self) -> Self:
        if self.screen.console.is_terminal:
            self.live = Live(
                get_renderable=self._table, console=self.screen.console, refresh_per_second=2
            )
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def event(self, number: int, event: Event) -> None:
        """Record an event of a point, and print it."""
        what = event["event"]
        if what == "proposed":
            self.params[number] = event["params"]
            return
        if what == "start":
            self.waiting.discard(number)
            self.running.setdefault(number, (0, None))
            place = f" on {event['node']}" if event.get("node") else ""
            text = f"started{place}  {self._named(number)}"
        elif what == "epoch":
            self.running[number] = (event["epoch"], event["value"])
            self.heard += 1
            text = f"epoch {event['epoch']}/{self.epochs}  val Dice {event['value']:.3f}"
        elif what == "wait":
            self.waiting.add(number)
            text = f"waits at epoch {event['epoch']} for points that come before it"
        else:
            text = self._end(number, event)
        line = f"{self.name} {number:<4} {text}  {self.summary()}"
        self.screen.note(line)

    def _end(self, number: int, event: Event) -> str:
        epoch, _ = self.running.pop(number, (0, None))
        self.waiting.discard(number)
        state = event["state"]
        self.ended[state] += 1
        self.lengths.append(epoch)
        if state == "complete" and event["value"] > self.best_value:
            self.best, self.best_value = number, event["value"]
        if state == "failed":
            return f"failed ({event['reason']}): {event['detail']}"
        return f"{state} at {event['value']:.3f}" if event.get("value") is not None else state

    def summary(self) -> str:
        """The progress: "12 of 20 done (5 stopped), 2 running, best 0.612 (#4 …), 3:10 left"."""
        done = sum(self.ended.values())
        parts = [f"{done} of {self.total} done ({self.ended['stopped']} stopped)"]
        parts.append(f"{len(self.running) - len(self.waiting)} running")
        if self.best is not None:
            parts.append(f"best {self.best_value:.3f} ({self._named(self.best)})")
        if self.heard:
            parts.append(f"{clock(self._left(self.total - done))} left")
        return ", ".join(parts)

    def _left(self, points: int) -> float:
        """Seconds for `points` more points, each as long as the mean of the ended points."""
        length = sum(self.lengths) / len(self.lengths) if self.lengths else self.epochs
        begun = sum(min(epoch, length) for epoch, _ in self.running.values())
        pace = (time.monotonic() - self.began) / self.heard
        return pace * max(0.0, length * points - begun)

    def _named(self, number: int) -> str:
        values = " ".join(f"{name}={value:.4g}" for name, value in self.params[number].items())
        return f"#{number} {values}"

    def _table(self) -> Group:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("point", "values", "epoch", "val Dice"):
            table.add_column(title)
        for number, (epoch, value) in sorted(self.running.items()):
            values = self._named(number).partition(" ")[2]
            score = "" if value is None else f"{value:.3f}"
            table.add_row(f"{self.name} {number}", values, f"{epoch}/{self.epochs}", score)
        return Group(table, self.summary())
