"""`harness.trials.trial` with all that it imports on first use: a zygote does so for all trials."""

import scipy.spatial  # noqa: F401  for the surface distances: 0.2 s
import torch._inductor  # noqa: F401  for deterministic algorithms and optimisers: 1.3 s

from harness.trials.trial import main

__all__ = ["main"]
