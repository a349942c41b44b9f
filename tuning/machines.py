"""The machines of the cluster that this process has joined: their resources, and calls on each."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Look = Callable[[dict[str, Any]], dict[str, Any]]
RAY_UNITS = 10_000  # Ray counts resources in ten-thousandths


class LaunchError(Exception):
    """The error for a use of Ray that is not possible; the text says why and what to change."""


class Silent(Exception):
    """The error for a machine that gave no answer; the text says why."""


@dataclass(frozen=True)
class Machine:
    """A living machine of the cluster, which Ray calls a node."""

    id: str
    name: str
    """The name given to `ray start --node-name`, else the host's name; unique within a cluster."""
    cpus: float
    gpus: float

    def holds(self, cpus: float, gpus: float) -> int:
        """The number of jobs of this size it holds at once; a share of a GPU lies on one GPU."""
        limits = []
        if cpus:
            limits.append(_times(self.cpus, cpus))
        if gpus > 1:
            limits.append(_times(self.gpus, gpus))
        elif gpus:
            limits.append(int(self.gpus) * _times(1, gpus))
        return min(limits)


def _times(have: float, want: float) -> int:
    return round(have * RAY_UNITS) // round(want * RAY_UNITS)


def machines() -> list[Machine]:
    """The living machines, in the order of their names."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    names = Counter(_name(node) for node in alive)
    found = []
    for node in alive:
        name, held = _name(node), node["Resources"]
        if names[name] > 1:
            name = f"{name}-{node['NodeID'][:6]}"
        found.append(Machine(node["NodeID"], name, held.get("CPU", 0), held.get("GPU", 0)))
    return sorted(found, key=lambda machine: machine.name)


def _name(node: dict[str, Any]) -> str:
    """The name of a node; a node without a given name has its address as the name in Ray."""
    given = node["NodeName"]
    return given if given != node["NodeManagerAddress"] else node["NodeManagerHostname"]


def here() -> Machine:
    """The machine that this process runs on."""
    import ray

    mine = ray.get_runtime_context().get_node_id()
    [machine] = [machine for machine in machines() if machine.id == mine]
    return machine


def room(cpus: float, gpus: float) -> int:
    """The number of jobs of this size that the living machines of the cluster hold at once."""
    return sum(machine.holds(cpus, gpus) for machine in machines())


def refuse_unplaceable(cpus: float, gpus: float) -> None:
    """Raise LaunchError when no machine of the cluster can ever hold a job of this size."""
    refuse_impossible(cpus, gpus)
    if not room(cpus, gpus):
        raise LaunchError(too_small(cpus, gpus))


def refuse_impossible(cpus: float, gpus: float) -> None:
    """Raise LaunchError for a size that no machine whatever can hold."""
    if not cpus and not gpus:
        raise LaunchError("a trial has to ask for a part of a CPU or of a GPU")
    if gpus > 1 and gpus % 1:
        raise LaunchError(f"more than one GPU is counted whole; {gpus:g} for a trial is not")


def too_small(cpus: float, gpus: float) -> str:
    """The resources that a job asks for and those of the living machines, as one line of text."""
    held = (f"{one.cpus:g} CPUs and {one.gpus:g} GPUs" for one in machines())
    most = "; ".join(dict.fromkeys(held))
    return (
        f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but the machines "
        f"have {most}; lower --cpus-per-trial or --gpus-per-trial"
    )


def everywhere(
    look: Look, asked: dict[str, Any], on: Iterable[Machine], patience_s: float
) -> dict[Machine, dict[str, Any] | Silent]:
    """Call `look(asked)` on each machine; returns the answers, a Silent where none came in time.

    The call takes no CPU from other jobs, and runs at once where a machine is busy.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(look)
    answers = {}
    for machine in on:
        there = NodeAffinitySchedulingStrategy(machine.id, soft=False)
        answers[machine] = remote.options(scheduling_strategy=there).remote(asked)
    ready, _ = ray.wait([*answers.values()], num_returns=len(answers), timeout=patience_s)
    return {
        machine: _answer(answer) if answer in ready else Silent(f"no answer in {patience_s:g} s")
        for machine, answer in answers.items()
    }


def _answer(answer: Any) -> dict[str, Any] | Silent:
    import ray

    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        return Silent(f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        return Silent(in_short(error))


def in_short(error: Exception) -> str:
    """The first sentence of an error of Ray, without the report on the machine after it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    telling = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return telling.partition(". ")[0]
