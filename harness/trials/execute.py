"""Carry out trials: side by side on Ray, or one after another without it."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import harness
from harness.errors import ClusterError, StorageError, UsageError
from harness.runs.plugins import kept
from harness.runs.run_folder import Action, RunFolder
from harness.runs.spec import Device
from tuning.capacity import Size
from tuning.cluster import Cluster, ClusterLost, Unreachable, ray_cluster
from tuning.machines import LaunchError

CODE = tuple(
    Path(harness.__file__).parent.parent / package
    for package in ("harness", "models", "baselines", "tuning")
)
"""What a trial's process imports of ours; the machines of a cluster are given it."""
Phase = Callable[[], Sequence[str]]
"""Names the trials of a phase when its turn comes."""
OnEvent = Callable[[str, dict[str, Any]], None]
ALONE: tuple[Action, ...] = ("measure", "probe_inference")
"""Actions that have a machine to themselves, whatever share of it trials take otherwise."""
PROBES: tuple[Action, ...] = ("probe_training", "probe_inference")


Packing = Literal["given", "gpus", "gpus and cpus"]
"""Which shares of a trial are sized from its memory; processors are where none were asked for."""


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
    autoscale: bool = False
    """The cluster starts machines on demand, and trials wait for them."""
    packing: Packing = "given"
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """Of the trials that take another share than the rest."""

    def size_of(self, trial: str) -> Size:
        """Processors and GPUs of a trial while it trains."""
        return self.sizes.get(trial, (self.cpus_per_trial, self.gpus_per_trial))


def execute(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    tell: OnEvent,
) -> None:
    """Carry out each phase for the trials it names; what became of them is in their folders.

    Phases in ALONE have a machine to themselves: one trial at a time, all of its processors.
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
    """In this process, but for probes: the peak of a probe's memory is to be its own."""
    from harness.trials.supervise import supervise
    from harness.trials.trial import Task, perform

    for action, trials in phases:
        for trial in trials():
            threads = (os.cpu_count() or 1) if action in ALONE else threads_of(placement, trial)
            if action in PROBES:
                payload = _payload(folder, cache, placement, action, trial, threads)
                outcome = supervise({**payload, "node": platform.node()}, partial(tell, trial))
            else:
                tell(trial, {"event": "start"})
                task = Task(action, folder.path, trial, cache, threads)
                outcome = {"reason": perform(task, partial(tell, trial))}
            tell(trial, {"event": "end", **outcome})


def _on_ray(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    tell: OnEvent,
) -> None:
    if not any(trials() for _, trials in phases):
        return  # everything is done: no need to wait for Ray
    from harness.trials.measuring_machine import on_one_machine
    from harness.trials.supervise import supervise
    from tuning.launch import Job, run_jobs

    payload = partial(_payload, folder, cache, placement)
    cluster = cluster_of(placement)
    with cluster_faults(), ray_with_imports(cluster):
        for action, trials in phases:
            hear = partial(_record_loss, folder, action, tell)
            if action in ALONE:
                on_one_machine(folder, trials, partial(payload, action), placement, hear)
                continue
            jobs = [
                Job(
                    trial,
                    payload(action, trial, threads_of(placement, trial)),
                    *placement.size_of(trial),
                )
                for trial in trials()
            ]
            run_jobs(jobs, supervise, cluster, hear)


def _payload(
    folder: RunFolder,
    cache: Path,
    placement: Placement,
    action: Action,
    trial: str,
    threads: int,
) -> dict[str, Any]:
    """What a trial's supervisor is given."""
    return {
        "action": action,
        "run": str(folder.path),
        "trial": trial,
        "cache": str(cache.absolute()),
        "plugins": kept(folder.path, folder.trial(trial).spec().plugins),
        "threads": threads,
        "silence_s": placement.silence_s,
    }


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


def cluster_of(placement: Placement) -> Cluster:
    """Where Ray puts the trials of a placement."""
    return Cluster(placement.address, placement.max_concurrent, placement.autoscale, CODE)


@contextmanager
def ray_with_imports(cluster: Cluster) -> Iterator[None]:
    """Ray, and on a cluster of this machine alone what trials import, begun at the same time."""
    from harness.trials.shared_fork_server import shared_zygote
    from harness.trials.supervise import TRIAL, trial_environment

    imports = nullcontext() if cluster.address else shared_zygote(TRIAL, trial_environment())
    with imports, ray_cluster(cluster):
        yield


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Be part of the cluster at this address; without one nothing is started yet.

    Raises ClusterError when there is none, or it does not let us in.
    """
    if address is None:
        yield
        return
    with cluster_faults(), ray_cluster(Cluster(address, code=CODE)):
        yield


@contextmanager
def cluster_faults() -> Iterator[None]:
    """Ray's faults as what the user sees of them: UsageError and ClusterError."""
    try:
        yield
    except Unreachable as error:
        raise ClusterError(str(error), where="--address", code="PFB-R01") from error
    except LaunchError as error:
        raise UsageError(str(error), code="PFB-C02") from error
    except ClusterLost as error:
        raise ClusterError(str(error), remedy="the same command", code="PFB-R06") from error


def threads_of(placement: Placement, trial: str = "") -> int:
    """Threads of a trial that shares the machine with others."""
    cpus, _ = placement.size_of(trial)
    return max(1, round(cpus))
