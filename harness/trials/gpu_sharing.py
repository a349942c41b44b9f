"""How many trials run at once, and how many may share a GPU by their memory."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace

from harness.runs.records import Failed, ProbedTraining
from harness.trials.placement import Placement
from tuning.capacity import Size
from tuning.machines import Machine
from tuning.machines import room as joined_room

MARGIN = 1.1
"""The factor between the memory that is reserved and the peak that a probe reached."""
CONTEXT_MIB = 600
"""Memory that CUDA itself takes for each process, in MiB, besides that of torch's allocator."""
MOST = 100
RAY_UNITS = 10_000  # Ray counts GPUs in ten-thousandths


def together(peak_mib: float, device_mib: float, most: int) -> int:
    """The number of trials of this peak that a GPU holds at once: at least one, at most `most`."""
    needed = peak_mib * MARGIN + CONTEXT_MIB
    return max(1, min(most, int(device_mib / needed)))


def sized(placement: Placement, found: Mapping[str, ProbedTraining | Failed]) -> Placement:
    """The placement with a share of a GPU for each trial, from the record of its probe.

    A trial that could not be probed keeps a whole GPU. Processors are shared in the same way,
    unless their number was asked for.
    """
    if placement.packing == "given":
        return placement
    probed = {trial: one for trial, one in found.items() if isinstance(one, ProbedTraining)}
    smallest = min((one.device_mib or 0.0 for one in probed.values()), default=0.0)
    sizes = {
        trial: _size(placement, one.reserved_mib or one.peak_mib, smallest)
        for trial, one in probed.items()
    }
    return replace(placement, sizes=sizes)


def _size(placement: Placement, peak_mib: float, device_mib: float) -> Size:
    """The processors and GPUs of one trial, so that a whole number of trials fills the GPU."""
    cpus = placement.cpus_per_trial
    shared = placement.packing == "gpus and cpus"
    count = together(peak_mib, device_mib, max(1, int(cpus)) if shared else MOST)
    gpus = RAY_UNITS // count / RAY_UNITS
    return (cpus // count if shared else cpus), gpus


def room(placement: Placement, size: Size) -> int:
    """The number of trials of this size that run at once, at least one."""
    if placement.executor == "inline":
        return 1
    if placement.address:
        places = joined_room(*size)
    else:
        places = Machine("", "", os.cpu_count() or 1, _gpus(placement)).holds(*size)
    most = placement.max_concurrent
    return max(1, places if most is None else min(places, most))


def _gpus(placement: Placement) -> int:
    import torch

    return torch.cuda.device_count() if placement.device == "cuda" else 0


def shown(gpus: float) -> str:
    """The share of a GPU as text: 0.3333 -> "1/3 of a GPU"."""
    return "a whole GPU" if gpus >= 1 else f"1/{math.floor(1 / gpus)} of a GPU"
