"""Peak memory of a process, on CUDA and on a CPU."""

import resource
import sys
from pathlib import Path

import torch

MIB = 1024**2


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
