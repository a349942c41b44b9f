"""Where the trials of a run folder are carried out: its volumes, its placement, who is told."""

from dataclasses import dataclass
from pathlib import Path

from harness.runs.events import OnEvent
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import Action
from harness.trials.placement import Placement
from harness.trials.task import Task


@dataclass(frozen=True)
class Workplace:
    """Where the trials of a run folder are carried out, and who is told of it."""

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
