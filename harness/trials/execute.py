"""Carry out trials: side by side on Ray, or one after another without it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from harness.errors import StorageError
from harness.runs.events import Event
from harness.runs.records import CUDA_OOM, Failed
from harness.runs.trial_folder import Action
from harness.trials.placement import (
    ALONE,
    PROBES,
    Phase,
    cluster_faults,
    cluster_of,
    threads_of,
)
from harness.trials.workplace import Workplace
from tuning.cluster import Cluster, ray_cluster
from tuning.job import Job


def execute(workplace: Workplace, phases: Sequence[tuple[Action, Phase]]) -> None:
    """Carry out each phase for its trials; the results are in the folders of the trials.

    Phases in ALONE have a machine to themselves: one trial at a time, all of its processors.
    """
    run = _inline if workplace.placement.executor == "inline" else _on_ray
    run(workplace, phases)


def _inline(workplace: Workplace, phases: Sequence[tuple[Action, Phase]]) -> None:
    """Carry out the phases in this process, one trial after another.

    Probes and measurements have a process of their own, so that their memory is counted alone; all
    have where a plug-in is in use, so that what its code changes concerns its own trial.
    """
    from harness.runs import plugins
    from harness.trials.supervise import supervise
    from harness.trials.trial import perform

    placement, tell = workplace.placement, workplace.on_event
    for action, trials in phases:
        for trial in trials():
            threads = (os.cpu_count() or 1) if action in ALONE else threads_of(placement, trial)
            task = workplace.task(action, trial, threads)
            if action in (*PROBES, *ALONE) or plugins.active():
                outcome = supervise(task, partial(tell, trial))
            else:
                tell(trial, {"event": "start"})
                outcome = {"reason": perform(replace(task, shared=True), partial(tell, trial))}
            tell(trial, {"event": "end", **outcome})


def _on_ray(workplace: Workplace, phases: Sequence[tuple[Action, Phase]]) -> None:
    if not any(trials() for _, trials in phases):
        return  # everything is done: no need to wait for Ray
    from harness.trials.measuring_machine import on_one_machine
    from harness.trials.supervise import supervise
    from tuning.launch import run_jobs

    placement = workplace.placement
    cluster = cluster_of(placement)
    with cluster_faults(), ray_with_imports(cluster):
        for action, trials in phases:
            hear = partial(_record_loss, workplace, action)
            if action in ALONE:
                on_one_machine(workplace, action, trials, hear)
                continue
            jobs = [_job(workplace, action, trial) for trial in trials()]
            run_jobs(jobs, supervise, cluster, hear)
            if again := _crowded_out(workplace, action, jobs):
                run_jobs(again, supervise, replace(cluster, max_concurrent=1), hear)


def _job(workplace: Workplace, action: Action, trial: str) -> Job:
    """The job of a trial; training waits for the trial whose network it takes."""
    placement = workplace.placement
    task = workplace.task(action, trial, threads_of(placement, trial))
    needed = workplace.folder.trial(trial).spec().after if action == "train" else None
    return Job(trial, task, *placement.size_of(trial), after=needed.id if needed else "")


def _crowded_out(workplace: Workplace, action: Action, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that ran out of memory on a shared GPU, each as a new job with a whole GPU.

    The jobs that waited for their network follow them. The records of these failures are set aside,
    because the trial has not failed if it fits alone.
    """
    if action != "train" or workplace.placement.max_concurrent == 1:
        return []
    again: dict[str, Job] = {}
    for job in jobs:
        folder = workplace.folder.trial(job.id)
        ended = folder.end(action)
        if not isinstance(ended, Failed):
            continue
        if 0 < job.gpus < 1 and ended.reason == CUDA_OOM:
            what = "out of memory on a GPU that it shared; once more, alone"
            workplace.on_event(job.id, {"event": "note", "message": what})
            again[job.id] = replace(job, gpus=1.0)
        elif job.after in again:
            again[job.id] = job
        else:
            continue
        folder.forget_failure()
    return [*again.values()]


def _record_loss(workplace: Workplace, action: Action, trial: str, event: Event) -> None:
    """Record the failure of a trial that Ray lost with its supervisor, then pass the event on."""
    reason, detail = event.get("reason"), event.get("detail", "")
    folder = workplace.folder.trial(trial)
    if reason in ("lost", "error") and not folder.end(action):
        reason = "host_oom" if "memory" in detail else reason
        folder.write_failure(action, reason, detail)
    workplace.on_event(trial, event)


def refuse_full_disk(event: Event) -> None:
    """Raise StorageError when the event is the end of a trial for which the disk had no room.

    The trial stays unfinished: it goes on when there is room again.
    """
    if event.get("reason") == "storage":
        remedy = "free space; the same command continues"
        raise StorageError(event["detail"], remedy=remedy, code="PFB-S01")


@contextmanager
def ray_with_imports(cluster: Cluster) -> Iterator[None]:
    """Start Ray; on a local cluster, the imports of trials begin at the same time."""
    from harness.trials.shared_fork_server import shared_fork_server
    from harness.trials.supervise import TRIAL, trial_environment

    imports = nullcontext() if cluster.address else shared_fork_server(TRIAL, trial_environment())
    with imports, ray_cluster(cluster):
        yield
