"""Import `harness.trials` with all modules that it imports on first use, for a fork server."""

import scipy.spatial  # noqa: F401  for the surface distances: 0.2 s
import torch._inductor  # noqa: F401  for deterministic algorithms and optimisers: 1.3 s

from harness.trials.__main__ import main

__all__ = ["main"]
