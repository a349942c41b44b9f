"""Carry out trials: side by side on Ray, or one after another in this process."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.errors import ClusterError, StorageError, UsageError
from harness.ledger import Action, RunFolder
from harness.registry import kept
from harness.spec import Device

Phase = Callable[[], Sequence[str]]
"""Names the trials of a phase when its turn comes."""
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Placement:
    """Where trials run, and how many at once."""

    executor: Literal["ray", "inline"]
    device: Device
    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int | None
    address: str | None
    silence_s: float
    """A trial that reports nothing for so many seconds is ended as timed out."""


def execute(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    tell: OnEvent,
) -> None:
    """Carry out each phase for the trials it names; what became of them is in their folders.

    The phase "measure" has the device to itself: one trial at a time, all of its processors.
    """
    run = _inline if placement.executor == "inline" else _on_ray
    run(folder, cache, phases, placement, tell)


def _inline(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    tell: OnEvent,
) -> None:
    from harness.trial import Task, perform

    for action, trials in phases:
        threads = _threads(action, placement)
        for trial in trials():
            tell(trial, {"event": "start"})
            task = Task(action, folder.path, trial, cache, threads)
            reason = perform(task, partial(tell, trial))
            tell(trial, {"event": "end", "reason": reason})


def _on_ray(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    tell: OnEvent,
) -> None:
    if not any(trials() for _, trials in phases):
        return  # everything is done: no need to wait for Ray
    from harness.supervise import supervise
    from tuning.launch import Cluster, Job, ray_cluster, run_jobs

    with cluster_faults(), ray_cluster(Cluster(placement.address)):
        for action, trials in phases:
            at_once = 1 if action == "measure" else placement.max_concurrent
            jobs = [
                Job(
                    trial,
                    {
                        "action": action,
                        "run": str(folder.path),
                        "trial": trial,
                        "cache": str(cache.absolute()),
                        "plugins": kept(folder.path, folder.trial(trial).spec().plugins),
                        "threads": _threads(action, placement),
                        "silence_s": placement.silence_s,
                    },
                    cpus=placement.cpus_per_trial,
                    gpus=placement.gpus_per_trial,
                )
                for trial in trials()
            ]
            if jobs:
                hear = partial(_record_loss, folder, action, tell)
                run_jobs(jobs, supervise, Cluster(placement.address, at_once), hear)


def _record_loss(
    folder: RunFolder, action: Action, tell: OnEvent, trial: str, event: dict[str, Any]
) -> None:
    """Pass the event on; a trial that Ray lost with its supervisor cannot say so itself."""
    reason, detail = event.get("reason"), event.get("detail", "")
    if reason in ("lost", "error") and not folder.trial(trial).end(action):
        reason = "host_oom" if "memory" in detail else reason
        folder.trial(trial).write_failure(action, reason, detail)
    tell(trial, event)


def refuse_full_disk(event: dict[str, Any]) -> None:
    """StorageError when the event is that of a trial that found no room for what it has to write.

    The trial stays unfinished: it goes on when there is room again.
    """
    if event.get("reason") == "storage":
        remedy = "free space; the same command continues"
        raise StorageError(event["detail"], remedy=remedy, code="PFB-S01")


@contextmanager
def cluster_faults() -> Iterator[None]:
    """Ray's faults as what the user sees of them: UsageError and ClusterError."""
    from tuning.launch import ClusterLost, LaunchError

    try:
        yield
    except LaunchError as error:
        raise UsageError(str(error), code="PFB-C02") from error
    except ClusterLost as error:
        raise ClusterError(str(error), remedy="the same command", code="PFB-R06") from error


def threads_of(placement: Placement) -> int:
    """Threads of a trial that shares the machine with others."""
    return max(1, round(placement.cpus_per_trial))


def _threads(action: Action, placement: Placement) -> int:
    if action == "measure":
        return os.cpu_count() or 1
    return threads_of(placement)
