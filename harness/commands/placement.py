"""The placement of trials: the options, checked against this machine or the cluster."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from harness.commands.options import PlacementOptions, one_of
from harness.errors import UsageError
from harness.runs.redact import redact
from harness.runs.spec import Device
from harness.trials.placement import Packing, Placement, joined
from tuning.machines import machines as joined_machines

AskedDevice = Literal["auto", Device]


class MachineSize(NamedTuple):
    """The processors and GPUs of a machine that trials may run on."""

    cpus: float
    gpus: float


def placement_of(
    options: PlacementOptions, executor: str = "ray", processes: int = Placement.processes
) -> Placement:
    """The placement of trials by the options; each trial is measured in `processes` processes.

    Defaults: on GPUs one trial each; on CPUs as many trials as eight share the cores.

    With an address, of the machines of the cluster that this process has joined.
    """
    address, cpus, gpus = options.address, options.cpus_per_trial, options.gpus_per_trial
    where = one_of("executor", executor, Placement.__annotations__["executor"])
    if executor == "ray":
        _refuse_environment(address)
    device, machines = _machines(options.device, address)
    packing: Packing = "given"
    if gpus == "auto":
        _refuse_auto(executor, device)
        packing, gpus = "gpus and cpus" if cpus is None else "gpus", 1.0
    if gpus is None:
        gpus = 1.0 if device == "cuda" else 0.0
    if cpus is None:
        cpus = share(machines, device, gpus)
    _in_range("--cpus-per-trial", cpus, 0.0, exclusive=True)
    _in_range("--gpus-per-trial", gpus, 0.0, exclusive=device == "cuda")
    if not address:
        _refuse_absent(cpus, gpus, device)
    return Placement(
        where,
        device,
        cpus,
        gpus,
        options.max_concurrent,
        address,
        options.stall_timeout,
        options.autoscale,
        packing,
        processes=processes,
    )


def _machines(device: str, address: str | None) -> tuple[Device, list[MachineSize]]:
    """The device that trials use, and the sizes of the machines that trials may run on."""
    if address:
        machines = [MachineSize(machine.cpus, machine.gpus) for machine in joined_machines()]
        return device_of(device, machines), machines
    chosen = chosen_device(device)
    return chosen, [MachineSize(os.cpu_count() or 1, _visible_gpus() if chosen == "cuda" else 0)]


def _refuse_auto(executor: str, device: Device) -> None:
    """UsageError for --gpus-per-trial auto where no two trials could share a GPU."""
    where, remedy = "--gpus-per-trial", "leave it out"
    if device == "cpu":
        what = "auto sizes shares of a GPU, and these trials run on the CPU"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C02")
    if executor == "inline":
        what = "auto lets trials share a GPU, and inline runs one after another"
        raise UsageError(what, where=where, remedy="--executor ray", code="PFB-C02")


def share(machines: Sequence[MachineSize], device: Device, gpus: float = 1.0) -> float:
    """The processors of a trial that even the smallest machine has, for its share of a GPU."""
    if device == "cuda":
        shares = [one.cpus * min(gpus, 1) // one.gpus for one in machines if one.gpus >= 1]
    else:
        shares = [one.cpus // 8 for one in machines if one.cpus]
    return float(max(1, min(shares, default=1)))


@contextmanager
def joined_cluster(options: PlacementOptions, executor: str = "ray") -> Iterator[None]:
    """Join the cluster of --address for the block; without an address, do nothing.

    Raises UsageError for options that no cluster goes with, ClusterError for one out of reach.
    """
    refuse_address(options.address, executor, autoscale=options.autoscale)
    with joined(options.address):
        yield


def refuse_address(address: str | None, executor: str, *, autoscale: bool) -> None:
    """UsageError for options that do not go with a cluster address, or need one."""
    if autoscale and not address:
        what = "--autoscale needs --address: it is the cluster that grows"
        raise UsageError(what, remedy="--address HOST:PORT")
    if address and executor == "inline":
        what = "--executor inline runs in this process, --address on a cluster"
        raise UsageError(what, remedy="leave one of them out")
    if address and "://" in address:
        what = (
            f"'{redact(address)}' is not HOST:PORT; trials report to a process within the cluster"
        )
        remedy = "run pfbench on a machine of the cluster, with --address HOST:PORT of its head"
        raise UsageError(what, where="--address", remedy=remedy)


def device_of(device: str, machines: Sequence[MachineSize]) -> Device:
    """The device that was asked for; "auto" takes GPUs where the cluster has any."""
    asked = one_of("device", device, AskedDevice)
    if asked == "auto":
        return "cuda" if any(one.gpus for one in machines) else "cpu"
    return asked


def chosen_device(device: str) -> Device:
    """The device here: "auto" takes a GPU where there is one; UsageError for a missing GPU."""
    one_of("device", device, AskedDevice)
    visible = _visible_gpus() if device != "cpu" else 0
    if device == "cuda" and not visible:
        what = f"requested cuda, 0 GPUs visible ({_visibility()})"
        raise UsageError(what, where="--device", remedy="--device cpu", code="PFB-C02")
    return "cuda" if device == "cuda" or (device == "auto" and visible) else "cpu"


def _in_range(option: str, value: float, low: float, *, exclusive: bool) -> None:
    if not math.isfinite(value) or value < low or (exclusive and value == low):
        what = f"{value:g} is not a positive number"
        raise UsageError(what, where=option, remedy=f"{option} 1", code="PFB-C03")


def _refuse_absent(cpus: float, gpus: float, device: Device) -> None:
    """UsageError for more processors or GPUs than this machine has: trials would wait for ever."""
    cores = os.cpu_count() or 1
    if cpus > cores:
        what = f"requested {cpus:g} processors, this machine has {cores}"
        where = "--cpus-per-trial"
        raise UsageError(what, where=where, remedy=f"{where} {cores}", code="PFB-C03")
    visible = _visible_gpus() if gpus else 0
    if gpus > visible:
        what = f"requested {gpus:g} GPUs, {visible} visible ({_visibility()})"
        remedy = f"--gpus-per-trial {visible}" if visible else "leave it out"
    elif gpus and device == "cpu":
        what, remedy = f"requested {gpus:g} GPUs for trials on the CPU", "--device cuda"
    else:
        return
    raise UsageError(what, where="--gpus-per-trial", remedy=remedy, code="PFB-C02")


def _refuse_environment(address: str | None) -> None:
    """UsageError for environment variables that Ray would follow silently, or fail on."""
    elsewhere = os.environ.get("RAY_ADDRESS")
    if elsewhere and not address:
        what = f"RAY_ADDRESS={redact(elsewhere)} names a cluster"
        remedy = f"unset RAY_ADDRESS, or pass --address {redact(elsewhere)}"
        raise UsageError(what, where="environment", remedy=remedy, code="PFB-C16")
    usage = os.environ.get("RAY_USAGE_STATS_ENABLED", "0")
    if usage not in ("0", "1"):
        what = f"RAY_USAGE_STATS_ENABLED={usage}, but Ray knows 0 and 1 only"
        remedy = "unset RAY_USAGE_STATS_ENABLED; pfbench switches the statistics off itself"
        raise UsageError(what, where="environment", remedy=remedy, code="PFB-C17")


def _visibility() -> str:
    return f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}"


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def parse_size(text: str) -> tuple[int, int, int]:
    """The sides of a size: "155x240x240" -> (155, 240, 240); UsageError for an invalid size."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and 16 <= int(part) <= 1024 for part in parts):
        what = f"'{text}' is not three sides from 16 to 1024"
        raise UsageError(what, where="--size", remedy="--size 155x240x240")
    d, h, w = map(int, parts)
    return d, h, w
