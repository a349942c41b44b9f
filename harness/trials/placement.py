"""Where trials run and how many at once, and the errors that a user sees for Ray's faults."""

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
from tuning.cluster import Cluster, ClusterLost, NotStarted, Unreachable, ray_cluster
from tuning.machines import LaunchError

CODE = tuple(
    Path(harness.__file__).parent.parent / package
    for package in ("harness", "models", "baselines", "tuning")
)
"""Our packages that a trial's process imports; the machines of a cluster get a copy of them."""


Phase = Callable[[], Sequence[str]]
"""A function that names the trials of a phase when its turn comes."""


ALONE: tuple[Action, ...] = ("measure", "probe_inference")
"""Actions that have a machine to themselves, whatever share of a machine trials take otherwise."""


PROBES: tuple[Action, ...] = ("probe_training", "probe_inference")


TRAINING: tuple[Action, ...] = ("train", "adapt")
"""Actions whose result is a row of the table."""


Packing = Literal["given", "gpus", "gpus and cpus"]
"""Which shares of a trial are sized from its memory; processors only where no number was asked for.
"""


@dataclass(frozen=True)
class Placement:
    """The place where trials run, and how many run at once."""

    executor: Literal["ray", "inline"]
    device: Device
    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int | None
    address: str | None
    silence_s: float
    """Seconds without an event after which a trial is ended as timed out."""
    autoscale: bool = False
    """Whether the cluster starts machines on demand, for which trials wait."""
    packing: Packing = "given"
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """Processors and GPUs of the trials that take another share than the rest."""
    processes: int = 3
    """The number of processes in which a trial is measured, one after another: processes differ by
    more than repetitions do."""

    def size_of(self, trial: str) -> Size:
        """The processors and GPUs of a trial while it trains."""
        return self.sizes.get(trial, (self.cpus_per_trial, self.gpus_per_trial))


def cluster_of(placement: Placement) -> Cluster:
    """The cluster on which Ray places the trials of a placement."""
    return Cluster(placement.address, placement.max_concurrent, placement.autoscale, CODE)


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Join the cluster at this address for the block; without an address nothing is started.

    Raises ClusterError when there is no cluster, or it refuses the connection.
    """
    if address is None:
        yield
        return
    with cluster_faults(), ray_cluster(Cluster(address, code=CODE)):
        yield


@contextmanager
def cluster_faults() -> Iterator[None]:
    """Raise Ray's faults in the block as errors for the user: UsageError and ClusterError."""
    try:
        yield
    except Unreachable as error:
        raise ClusterError(str(error), where="--address", code="PFB-R01") from error
    except NotStarted as error:
        remedy = "more memory, processes or open files; `run --executor inline` needs no Ray"
        raise ClusterError(str(error), remedy=remedy, code="PFB-R07") from error
    except LaunchError as error:
        raise UsageError(str(error), code="PFB-C02") from error
    except ClusterLost as error:
        raise ClusterError(str(error), remedy="the same command", code="PFB-R06") from error


def threads_of(placement: Placement, trial: str = "") -> int:
    """The number of threads of a trial that shares the machine with others."""
    cpus, _ = placement.size_of(trial)
    return max(1, round(cpus))
