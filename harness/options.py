"""Options of the command line that need a look at the machine."""

import math
import os
from typing import get_args

from harness.errors import UsageError, unknown
from harness.execute import Placement
from harness.spec import Device


def chosen_placement(
    executor: str,
    device: str,
    cpus: float | None,
    gpus: float | None,
    max_concurrent: int | None,
    address: str | None,
    silence_s: float,
) -> Placement:
    """Defaults: on GPUs one trial each; on CPUs as many trials as eight share the cores."""
    fields = Placement.__annotations__
    if executor not in get_args(fields["executor"]):
        raise unknown("executor", executor, get_args(fields["executor"]))
    device = chosen_device(device, elsewhere=bool(address))
    visible = _visible_gpus() if device == "cuda" else 0
    cores = os.cpu_count() or 1
    if gpus is None:
        gpus = 1.0 if device == "cuda" else 0.0
    if cpus is None:
        cpus = float(max(1, cores // 8) if device == "cpu" else max(1, cores // max(1, visible)))
    _in_range("--cpus-per-trial", cpus, 0.0, exclusive=True)
    _in_range("--gpus-per-trial", gpus, 0.0, exclusive=device == "cuda")
    return Placement(executor, device, cpus, gpus, max_concurrent, address, silence_s)  # type: ignore[arg-type]


def chosen_device(device: str, *, elsewhere: bool = False) -> Device:
    """ "auto" takes a GPU where there is one; UsageError for a GPU that is not there.

    `elsewhere`: on other machines, whose GPUs are not seen from here.
    """
    if device not in ("auto", *get_args(Device)):
        raise unknown("device", device, ("auto", *get_args(Device)))
    visible = _visible_gpus() if device != "cpu" else 0
    if device == "cuda" and not visible and not elsewhere:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        what = f"requested cuda, 0 GPUs visible (CUDA_VISIBLE_DEVICES={chosen})"
        raise UsageError(what, where="--device", remedy="--device cpu", code="PFB-C02")
    return "cuda" if device == "cuda" or (device == "auto" and visible) else "cpu"


def _in_range(option: str, value: float, low: float, *, exclusive: bool) -> None:
    if not math.isfinite(value) or value < low or (exclusive and value == low):
        raise UsageError(f"{value:g} is not a positive number", where=option, code="PFB-C03")


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def parse_size(text: str) -> tuple[int, int, int]:
    """ "155x240x240" -> (155, 240, 240); UsageError when it is none."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and 16 <= int(part) <= 1024 for part in parts):
        what = f"'{text}' is not three sides from 16 to 1024"
        raise UsageError(what, where="--size", remedy="--size 155x240x240")
    d, h, w = map(int, parts)
    return d, h, w
