"""The place where the trials of a run folder are carried out: volumes, placement, event handler."""

from dataclasses import dataclass
from pathlib import Path

from harness.runs.events import OnEvent
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import Action
from harness.trials.placement import Placement
from harness.trials.task import Task


@dataclass(frozen=True)
class Workplace:
    """The place where the trials of a run folder run, and the receiver of their events."""

    folder: RunFolder
    cache: Path
    placement: Placement
    on_event: OnEvent

    def task(self, action: Action, trial: str, threads: int) -> Task:
        """One action of one trial of the folder."""
        return Task(
            action=action,
            run=self.folder.path,
            trial=trial,
            cache=self.cache.absolute(),
            threads=threads,
            plugins=self.folder.kept(self.folder.trial(trial).spec().plugins),
            silence_s=self.placement.silence_s,
            processes=self.placement.processes,
        )
