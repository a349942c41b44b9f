"""Time and memory of one system, measured with the device to itself.

    process 1    load ─ warm up ─ 5 predictions ┐
    process 2    load ─ warm up ─ 5 predictions ├─► together: median, percentile, highest memory
    process 3    load ─ warm up ─ 5 predictions ┘

The timed region is from an array in memory to a mask in memory: guidance cropping, sliding
window and interpolation included, disk excluded, training-only modules removed. Where a process
lies in memory moves its times by a few percent, and no repetition within it can tell by how much.
"""

import statistics
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from harness.data.case import Volume
from harness.runs.records import MeasuredProcess
from harness.systems.memory import peak_memory_mib, reset_peak, resident_mib
from harness.systems.methods import Image, Method
from harness.trials.machine_facts import cpu_name

WARM_UP_S = 0.5
"""The least time in s for which a process predicts before it is timed; it predicts at least once.
"""
REPETITIONS = 5
"""The number of predictions that a process times."""
KIND = ("device", "threads", "precision", "layout")
"""The fields that must be equal for the times of two processes to be put together."""


def measure(method: Method, volume: Volume, bare_process_mib: float) -> MeasuredProcess:
    """Measure the seconds of each prediction of `volume` in this process, and its memory.

    `method` is the one for inference, and nothing else is to hold a part of what was trained;
    `bare_process_mib` was resident before it was built.
    """
    image, method = np.array(volume.image), method.at(volume.case)
    since_loading = reset_peak(method.device)
    before = resident_mib()
    warm_up(method, image)
    seconds = [_timed(method, image) for _ in range(REPETITIONS)]
    memory = peak_memory_mib(method.device)
    return MeasuredProcess(
        inference_s=seconds,
        inference_peak_mib=memory["peak_mib"],
        inference_reserved_mib=memory.get("reserved_mib"),
        resident_before_mib=before,
        bare_process_mib=bare_process_mib,
        peak_since_loading=since_loading,
        **describe_device(method),
        **switched_off(),
    )


def warm_up(method: Method, image: Image) -> None:
    """Predict until WARM_UP_S have passed: caches fill, clocks rise."""
    end = time.perf_counter() + WARM_UP_S
    method.segment(image)
    while time.perf_counter() < end:
        method.segment(image)


def _timed(method: Method, image: Image) -> float:
    """Seconds of one prediction; the copy of the mask to the host waits for the device."""
    began = time.perf_counter()
    method.segment(image)
    return time.perf_counter() - began


def alike(processes: Sequence[MeasuredProcess], now: MeasuredProcess) -> list[MeasuredProcess]:
    """The `processes` that measured on the same kind of device as the process `now`."""
    kind = attrgetter(*KIND)
    return [one for one in processes if kind(one) == kind(now)]


def together(processes: Sequence[MeasuredProcess]) -> dict[str, Any]:
    """The fields of `Measured`: times of all processes, and the highest memory of any process.

    A figure that one process alone has measured comes from the first process.
    """
    first, *_ = processes
    by_process = [one.inference_s for one in processes]
    seconds = sorted(chain.from_iterable(by_process))
    peaks = (
        "inference_peak_mib",
        "inference_reserved_mib",
        "resident_before_mib",
        "bare_process_mib",
    )
    return {
        **first.model_dump(exclude_unset=True),
        **{name: _highest(getattr(one, name) for one in processes) for name in peaks},
        "inference_s": seconds,
        "inference_s_by_process": by_process,
        "inference_s_p50": statistics.median(seconds),
        "inference_s_p90": statistics.quantiles(seconds, n=10, method="inclusive")[-1],
        "warm_up_s": WARM_UP_S,
    }


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def describe_device(method: Method) -> dict[str, Any]:
    """The device of the measurement, its threads, precision and memory layout."""
    device = method.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    computed = {"precision": method.precision, "layout": method.layout}
    return {"device": name, "threads": torch.get_num_threads(), **computed}


def switched_off() -> dict[str, Any]:
    """The settings that a faster run could change.

    They are the search for the fastest cuDNN algorithms, and algorithms that sum in any order.
    """
    return {
        "cudnn_search": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
