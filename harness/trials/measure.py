"""Time and memory of one system, measured with the device to itself.

The timed region is from an array in memory to a mask in memory: guidance cropping, sliding
window and interpolation included, disk excluded, training-only modules removed.
"""

import statistics
import time
from typing import Any

import psutil
import torch

from harness.systems.memory import MIB, peak_memory_mib
from harness.systems.methods import Image, Method
from harness.trials.machine_facts import cpu_name

WARM_UP = 1
REPETITIONS = 5


def measure(method: Method, image: Image) -> dict[str, Any]:
    """Seconds per volume (p50, p90) and peak memory of inference on `image` (C, D, H, W)."""
    method = method.for_inference()
    before = psutil.Process().memory_info().rss / MIB
    for _ in range(WARM_UP):
        method.segment(image)
    if method.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(method.device)
    seconds = sorted(_timed(method, image) for _ in range(REPETITIONS))
    memory = peak_memory_mib(method.device)
    return {
        "inference_s_p50": statistics.median(seconds),
        "inference_s_p90": statistics.quantiles(seconds, n=10, method="inclusive")[-1],
        "inference_s": seconds,
        "inference_peak_mib": memory["peak_mib"],
        "inference_reserved_mib": memory.get("reserved_mib"),
        "resident_before_mib": before,
        **describe_device(method),
    }


def _timed(method: Method, image: Image) -> float:
    """Seconds of one prediction; the copy of the mask to the host waits for the device."""
    began = time.perf_counter()
    method.segment(image)
    return time.perf_counter() - began


def describe_device(method: Method) -> dict[str, Any]:
    """What the numbers were measured on, and in."""
    device = method.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    computed = {"precision": method.precision, "layout": method.layout}
    return {"device": name, "threads": torch.get_num_threads(), **computed}
