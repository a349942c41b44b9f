"""Why a trial has no numbers: the reasons that stand in a table, one word each."""

import torch

from harness.errors import DataError, PfbenchError, StateError
from harness.runs.records import CUDA_OOM
from harness.systems.memory import MIB, out_of_gpu_memory
from harness.systems.methods import UnsoundPrediction
from harness.systems.train import NotFinite


class BaseMissing(Exception):
    """The error for a missing base network to fine-tune; the text names the base trial."""


def classify(error: BaseException) -> tuple[str, str]:
    """The reason of a failure as one word for tables, and one line of detail."""
    if out_of_gpu_memory(error):
        peak = torch.cuda.max_memory_allocated() / MIB
        return CUDA_OOM, f"out of GPU memory at a peak of {peak:.0f} MiB; use a larger device"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "host_oom", "out of host memory; lower --max-concurrent"
    if isinstance(error, NotFinite | FloatingPointError):
        return "nan_loss", str(error)
    if isinstance(error, UnsoundPrediction):
        return "nan_prediction", str(error)
    if isinstance(error, BaseMissing):
        return "base_failed", str(error)
    if isinstance(error, DataError | OSError):
        return "bad_data", str(error)
    if isinstance(error, StateError):
        return "bad_state", str(error)
    if isinstance(error, PfbenchError):
        return "error", str(error)
    return "error", f"{type(error).__name__}: {error}"
