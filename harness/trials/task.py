"""One action of one trial, as a value and as arguments of a command line.

execute ─ Task ─► Ray ─► supervise ─ to_arguments ─► process ─ from_arguments ─► trial.perform
"""

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args

from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import Action, TrialFolder


@dataclass(frozen=True)
class Task:
    """One action of one trial, with the places of its files."""

    action: Action
    run: Path
    trial: str
    cache: Path
    threads: int = 1
    processes: int = 1
    """The number of processes in which a trial is measured, one after another."""
    shared: bool = False
    """Whether other trials have run, or will run, in the process of this trial."""
    until: int | None = None
    """The epoch after which `train_to` pauses."""
    plugins: tuple[Path, ...] = ()
    """Plug-in files to execute first; one that is in use already is not executed again."""
    node: str = platform.node()
    """The machine that carries out the task, by its name in the cluster."""
    silence_s: float = 7200
    """Seconds without a report after which the supervisor ends the process as timed out."""

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.run)

    @property
    def folder(self) -> TrialFolder:
        return self.run_folder.trial(self.trial)

    def to_arguments(self) -> list[str]:
        """The task as arguments for `from_arguments`, without fields for the supervisor alone."""
        words = [self.action, str(self.run), self.trial, "--cache", str(self.cache)]
        words += ["--threads", str(self.threads), "--node", self.node]
        words += ["--processes", str(self.processes)]
        if self.until is not None:
            words += ["--until", str(self.until)]
        return [*words, *chain.from_iterable(("--plugin", str(path)) for path in self.plugins)]

    @classmethod
    def from_arguments(cls, words: Sequence[str] | None = None) -> "Task":
        """The task that these arguments, or those of the command line, describe."""
        parser = argparse.ArgumentParser(
            prog="python -m harness.trials", description="Carry out one action of one trial."
        )
        parser.add_argument("action", choices=get_args(Action))
        parser.add_argument("run", type=Path)
        parser.add_argument("trial")
        parser.add_argument("--cache", type=Path, required=True)
        parser.add_argument("--threads", type=int, default=cls.threads)
        parser.add_argument("--node", default=cls.node, help="this machine, in the cluster")
        parser.add_argument("--processes", type=int, default=1, help="that measure in turn")
        parser.add_argument("--until", type=int, help="epoch after which train_to pauses")
        parser.add_argument("--plugin", type=Path, action="append", default=[], dest="plugins")
        given = vars(parser.parse_args(words))
        return cls(**{**given, "plugins": tuple(given["plugins"])})


@dataclass(frozen=True)
class PointTask:
    """One point of a study: trials, one for each seed, to train to each of `stops` in turn."""

    tasks: tuple[Task, ...]
    stops: tuple[int, ...]
    """Epochs at which training stops, ascending; the last is the end of training."""
