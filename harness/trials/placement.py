"""Where trials run and how many at once, and what Ray's faults are called to a user."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import harness
from harness.errors import ClusterError, UsageError
from harness.runs.spec import Device
from harness.runs.trial_folder import Action
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


ALONE: tuple[Action, ...] = ("measure", "probe_inference")
"""Actions that have a machine to themselves, whatever share of it trials take otherwise."""


PROBES: tuple[Action, ...] = ("probe_training", "probe_inference")


TRAINING: tuple[Action, ...] = ("train", "adapt")
"""Actions whose end is a row of the table."""


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
    processes: int = 3
    """In which a trial is measured, one after another: they differ by more than repetitions do."""

    def size_of(self, trial: str) -> Size:
        """Processors and GPUs of a trial while it trains."""
        return self.sizes.get(trial, (self.cpus_per_trial, self.gpus_per_trial))


def cluster_of(placement: Placement) -> Cluster:
    """Where Ray puts the trials of a placement."""
    return Cluster(placement.address, placement.max_concurrent, placement.autoscale, CODE)


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
