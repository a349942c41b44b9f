"""`harness.trial` with what it would import on first use: a zygote does so once for all trials."""

import scipy.spatial  # noqa: F401  for the surface distances: 0.2 s
import torch._inductor  # noqa: F401  for deterministic algorithms and optimisers: 1.3 s

from harness.trial import main

__all__ = ["main"]
