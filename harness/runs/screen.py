"""The display of a run in progress: a live table on a terminal, plain lines elsewhere."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from harness.errors import PfbenchError
from harness.runs.events import Event
from harness.runs.files import append

WIDE = 170  # columns where there is no terminal to ask


@dataclass
class ProgressLine:
    """The line of one trial in the display."""

    name: str
    state: str = "waiting"
    node: str = ""
    lost: bool = False
    """Whether the node or process of the trial died and the trial was placed anew."""
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    dice: float | None = None
    began: float | None = None
    first_epoch: int = 0
    ended: float | None = None

    def elapsed(self, now: float) -> float:
        return (self.ended or now) - self.began if self.began else 0.0

    def left(self, now: float) -> float | None:
        """Seconds of training left, estimated from the epochs seen so far."""
        seen = self.epoch - self.first_epoch
        if self.state != "training" or seen < 1:
            return None
        return self.elapsed(now) / (seen + 1) * (self.epochs - self.epoch)


class Screen:
    """The display that shows the trials of a run, and writes the same to a log file."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        # With --json, standard output belongs to the JSON.
        self.console = _console(stderr=quiet)
        if not self.console.is_terminal:
            self.console.width = WIDE
        self.log = log
        self.lines: dict[str, ProgressLine] = {}
        self.live: Live | None = None

    def say(self, text: str) -> None:
        """Print a line for the person and write it to the log."""
        self.tell(text)
        self._log(text)

    def warn(self, fault: PfbenchError) -> None:
        """Print a warning: a fault that does not end the work, and the remedy for afterwards."""
        self.say(f"warning: {fault.what}; later: {fault.remedy}")

    def tell(self, text: str) -> None:
        """Print a line for the person alone, because it must not be written down."""
        self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Write a line to the log, and print it where no live display shows the same."""
        self._log(text)
        if not self.console.is_terminal:
            self.console.print(text)

    def show(self, renderable: RenderableType) -> None:
        """Print a table for the person; write it to the log as plain text."""
        self.console.print(renderable)
        if self.log:
            text = io.StringIO()
            _console(file=text, width=WIDE).print(renderable)
            append(self.log, text.getvalue())

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """Show a progress bar; yields advance(done, total, what)."""
        with Progress(console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            yield lambda done, total, what: progress.update(
                task, completed=done, total=total, description=f"{title} {what}"
            )

    @contextmanager
    def trials(self, names: dict[str, str]) -> Iterator[None]:
        """Show the trials (id -> name) until the block ends."""
        self.lines = {trial: ProgressLine(name) for trial, name in names.items()}
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._table, console=self.console, refresh_per_second=2) as live:
            self.live = live
            try:
                yield
            finally:
                self.live = None

    def event(self, trial: str, event: Event) -> None:
        """Update the line of the trial from one of its events."""
        line = self.lines[trial]
        now = time.monotonic()
        kind = event["event"]
        if kind == "placed":
            line.lost = line.began is not None and line.ended is None
            line.node = event["node"]
        elif kind == "start":
            line.began, line.ended, line.state = now, None, "starting"
        elif kind == "epoch":
            first = line.state != "training"
            line.state, line.epoch, line.epochs = "training", int(event["epoch"]), event["of"]
            line.first_epoch = line.epoch - 1 if first else line.first_epoch
            line.loss, line.dice = event["loss"], event.get("val_dice", line.dice)
        elif kind == "case":
            line.state, line.dice = "testing", event["dice"]
        elif kind in ("measured", "probed"):
            line.state = kind
        elif kind == "note":
            self.say(f"{line.name:<24} {event['message']}")
        elif kind == "end":
            line.state, line.ended = event["reason"], now
        if kind in ("start", "epoch", "end", "measured", "probed"):
            self.note(self._plain(line, event))

    def _plain(self, line: ProgressLine, event: Event) -> str:
        kind = event["event"]
        if kind == "epoch":
            dice = f"  val Dice {event['val_dice']:.3f}" if "val_dice" in event else ""
            where = f"epoch {line.epoch}/{line.epochs}"
            return f"{line.name:<24} {where}  loss {event['loss']:.4f}{dice}{self._rest(line)}"
        if kind == "measured":
            return f"{line.name:<24} {event['seconds']:.3f} s per volume"
        if kind == "probed":
            timed = (f"{pace['steps']} steps of {pace['step_s']:.3f} s" for pace in event["paces"])
            return f"{line.name:<24} {', '.join(timed)}"
        if kind == "end":
            detail = f": {event['detail']}" if event.get("detail") else ""
            return f"{line.name:<24} {event['reason']}{detail}  {clock(line.elapsed(_now()))}"
        repeated = line.lost or event.get("attempt", 1) > 1
        again = " again, from its last checkpoint" if repeated else ""
        place = f" on {line.node}" if line.node else ""
        return f"{line.name:<24} started{place}{again}"

    def _rest(self, line: ProgressLine) -> str:
        left = line.left(_now())
        return f"  {clock(line.elapsed(_now()))} gone, {clock(left)} left" if left else ""

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False)
        spread = any(line.node for line in self.lines.values())
        titles = ["trial", "state", *["node"] * spread, "epoch", "loss", "Dice", "elapsed", "left"]
        for title in titles:
            text = title in ("trial", "state", "node")
            table.add_column(title, justify="left" if text else "right")
        now = _now()
        for line in self.lines.values():
            left = line.left(now)
            table.add_row(
                line.name,
                line.state,
                *[line.node] * spread,
                f"{line.epoch}/{line.epochs}" if line.epochs else "",
                "" if line.loss is None else f"{line.loss:.4f}",
                "" if line.dice is None else f"{line.dice:.3f}",
                clock(line.elapsed(now)) if line.began else "",
                "" if left is None else clock(left),
            )
        return table

    def _log(self, text: str) -> None:
        if self.log:
            append(self.log, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")


def _console(**where: Any) -> Console:
    """A console for words of others: neither brackets nor colons in them are markup."""
    return Console(**where, highlight=False, markup=False, emoji=False)


def _now() -> float:
    return time.monotonic()


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
