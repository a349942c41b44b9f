"""Measure memory of this process and of its device, now and at its peak.

On CUDA it is what torch's allocator handed out; on a CPU the resident memory of the process, with
Python and all libraries in it.
"""

import gc
import resource
import sys
from pathlib import Path

import psutil
import torch

MIB = 1024**2
FULL = (
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Texts of errors where CUDA has less memory than torch expected: another process has it."""
RESET = "5"  # of /proc/PID/clear_refs: the highest resident memory becomes that of now


def peak_memory_mib(device: torch.device) -> dict[str, float]:
    """Return the peak memory in MiB since the process began, or since `reset_peak`.

    On CUDA what the allocator handed out and what it held; on a CPU what was resident.
    """
    if device.type == "cuda":
        return {
            "peak_mib": torch.cuda.max_memory_allocated(device) / MIB,
            "reserved_mib": torch.cuda.max_memory_reserved(device) / MIB,
        }
    return {"peak_mib": _peak_resident_mib()}


def reset_peak(device: torch.device) -> bool:
    """Restart the peak at the memory held now; return False where the system cannot do that.

    What nothing refers to any more is given back first.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text(RESET, encoding="utf-8")
    except OSError:  # not Linux, or not allowed here
        return False
    return True


def out_of_gpu_memory(error: BaseException) -> bool:
    """Return whether `error` reports a full GPU: from torch's allocator, CUDA, cuBLAS or cuDNN."""
    said = str(error)
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in said for word in FULL)


def resident_mib() -> float:
    """Return the resident memory of the process now, in MiB."""
    return psutil.Process().memory_info().rss / MIB


def _peak_resident_mib() -> float:
    """Return the peak resident memory in MiB; on Linux of this program only.

    getrusage also counts the program that ran in this process before it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if peaks:
        return int(peaks[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
