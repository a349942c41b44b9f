"""Time and memory of one system, measured with the device to itself.

The timed region is from an array in memory to a mask in memory: guidance cropping, sliding
window and interpolation included, disk excluded, training-only modules removed.
"""

import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from harness.systems.methods import Image, Method
from harness.trials.machine_facts import cpu_name

MIB = 1024**2
WARM_UP = 1
REPETITIONS = 5


def peak_memory_mib(device: torch.device) -> dict[str, float]:
    """Peak memory of this process so far in MiB.

    On CUDA what the allocator handed out and what it held; on CPU the peak resident memory of
    the process, the Python runtime and libraries included.
    """
    if device.type == "cuda":
        return {
            "peak_mib": torch.cuda.max_memory_allocated(device) / MIB,
            "reserved_mib": torch.cuda.max_memory_reserved(device) / MIB,
        }
    return {"peak_mib": _peak_resident_mib()}


def _peak_resident_mib() -> float:
    """On Linux of this program alone: getrusage counts what its process held before it, too."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if peaks:
        return int(peaks[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


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
