"""The phase that measures: all trials of a run on one machine that does nothing else."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.runs.events import OnEvent
from harness.runs.records import Measured
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import Action
from harness.trials.machine_facts import device
from harness.trials.placement import Phase, Placement, cluster_of
from harness.trials.supervise import supervise
from harness.trials.workplace import Workplace
from tuning.capacity import machines_for
from tuning.cluster import Cluster, ClusterLost
from tuning.launch import Job, MachineLost, run_jobs
from tuning.machines import Machine, everywhere

Kind = tuple[str, int]
"""Device and threads of a machine: times of different kinds never stand in one column."""
PATIENCE_S = 120


def on_one_machine(workplace: Workplace, action: Action, trials: Phase, tell: OnEvent) -> None:
    """Carry out `action` for each of `trials`, alone; if the machine dies, the rest on another."""
    placement = workplace.placement
    cluster = replace(cluster_of(placement), max_concurrent=1)
    while waiting := trials():

        def note(message: str, trial: str = waiting[0]) -> None:
            tell(trial, {"event": "note", "message": message})

        machine = _machine(workplace.folder, placement, cluster, note)
        whole = (machine.cpus, math.ceil(placement.gpus_per_trial))
        threads = max(1, int(machine.cpus))
        jobs = [Job(trial, workplace.task(action, trial, threads), *whole) for trial in waiting]
        try:
            run_jobs(jobs, supervise, replace(cluster, grows=False), tell, only=machine)
            return
        except MachineLost as lost:
            note(f"{lost} is gone; what it has not measured is measured on another machine")


def _machine(
    folder: RunFolder, placement: Placement, cluster: Cluster, note: Callable[[str], None]
) -> Machine:
    found = machines_for((placement.cpus_per_trial, placement.gpus_per_trial), cluster)
    if not placement.address:
        return found[0]
    kinds = _kinds(found, gpu=placement.device == "cuda")
    before = _before(folder)
    machine = chosen(kinds, before)
    if before and kinds[machine] not in before.values():
        what = ", ".join(sorted({f"{name} ({n} threads)" for name, n in before.values()}))
        note(f"the cluster has no machine like the one that measured before: {what}")
    return machine


def chosen(kinds: Mapping[Machine, Kind], before: Mapping[str, Kind]) -> Machine:
    """The machine to measure on, given the machines that measured before (name -> kind).

    It is the same machine as before, else one of the same kind, else one of the most frequent kind.
    """
    common = Counter(kinds.values())

    def merit(machine: Machine) -> tuple[bool, bool, int, int]:
        kind = kinds[machine]
        return before.get(machine.name) == kind, kind in before.values(), common[kind], kind[1]

    return max(kinds, key=merit)


def _kinds(machines: Sequence[Machine], *, gpu: bool) -> dict[Machine, Kind]:
    """The device and threads that each machine that answers would measure with."""
    answers = everywhere(device, {"gpu": gpu}, machines, PATIENCE_S)
    kinds = {
        machine: (answer["device"], max(1, int(machine.cpus)))
        for machine, answer in answers.items()
        if isinstance(answer, dict)
    }
    if not kinds:
        raise ClusterLost("no machine answers that could measure")
    return kinds


def _before(folder: RunFolder) -> dict[str, Kind]:
    """The device and threads of the trials already measured, by node."""
    found = [trial.measurement() for trial in folder.trials()]
    return {one.node: (one.device, one.threads) for one in found if isinstance(one, Measured)}
