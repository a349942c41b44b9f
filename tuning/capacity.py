"""The number of jobs that there is room for, while the machines of a cluster come and go."""

import time
from types import TracebackType

from tuning.cluster import Cluster, ClusterLost
from tuning.machines import (
    Machine,
    machines,
    refuse_impossible,
    refuse_unplaceable,
    room,
    too_small,
)

GROWING_S = 1800
"""Seconds to wait for a new machine: a cloud gives one within minutes, or has none left."""
RESTARTING_S = 60
"""Seconds that a lone machine may be gone: a watcher may start its Ray again."""
Size = tuple[float, float]
LOOK_S = 2
LANES_OF_GROWING = 10
"""Points at the same time where machines come on demand: the first ten of TPE are random anyway."""


class MachineLost(Exception):
    """The error for a lost machine that was the only one for the jobs; the text names it."""


class Capacity:
    """The room for jobs of some sizes, in CPUs and GPUs; on one machine only, if one is given.

    Raises LaunchError when no machine can hold a job and none will come that could, ClusterLost
    when there is no machine any more.
    """

    def __init__(self, sizes: set[Size], cluster: Cluster, only: Machine | None) -> None:
        if not cluster.grows and not machines():
            raise ClusterLost("no machine of the cluster is left; the same command continues")
        for size in sizes:
            (refuse_impossible if cluster.grows else refuse_unplaceable)(*size)
        self.sizes = sizes
        self.cluster = cluster
        self.only = only
        self.patience_s = GROWING_S if cluster.grows else RESTARTING_S
        self.seen = time.monotonic()
        self.asked = 0

    def __enter__(self) -> "Capacity":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, ClusterLost):
            self.wants(0)  # an autoscaler would remember for ever

    def places(self) -> int:
        """The number of jobs that may run at once now.

        Raises MachineLost when the only machine is gone, ClusterLost when there has been no room
        at all for too long.
        """
        if self.only and not self.lives(self.only.id):
            raise MachineLost(self.only.name)
        held = max(room(*size) for size in self.sizes)
        if held:
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > self.patience_s:
            [size, *_] = self.sizes
            raise ClusterLost(f"no room for {self.patience_s} s: {too_small(*size)}")
        most = self.cluster.max_concurrent
        return held if most is None else min(held, most)

    def lives(self, machine: str) -> bool:
        """Whether the machine with this id is still in the cluster."""
        return any(one.id == machine for one in machines())

    def wants(self, jobs: int) -> None:
        """Tell the autoscaler the number of jobs that would run now; 0 lets it stop machines."""
        if not self.cluster.grows:
            return
        most = self.cluster.max_concurrent
        jobs = jobs if most is None else min(jobs, most)
        if jobs == self.asked:
            return
        from ray.autoscaler.sdk import request_resources

        cpus, gpus = max(self.sizes)
        request_resources(bundles=[{"CPU": cpus, **({"GPU": gpus} if gpus else {})}] * jobs)
        self.asked = jobs


def lanes_of(size: Size, cluster: Cluster) -> int:
    """The number of jobs of this size that run at the same time: by the options, else by room."""
    if cluster.max_concurrent is not None:
        return cluster.max_concurrent
    return LANES_OF_GROWING if cluster.grows else max(1, room(*size))


def machines_for(size: Size, cluster: Cluster) -> list[Machine]:
    """The machines that hold a job of this size; where the cluster grows, waits for the first.

    Raises LaunchError when there is none, ClusterLost when none came.
    """
    with Capacity({size}, cluster, None) as capacity:
        capacity.wants(1)
        while not capacity.places():
            time.sleep(LOOK_S)
        return [machine for machine in machines() if machine.holds(*size)]
