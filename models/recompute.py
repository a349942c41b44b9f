"""Activation checkpointing: training keeps what enters a block and computes the rest again.

    forward   x ─[ block ]─ y            only x is kept
    backward  x ─[ block once more ]─ gradient

A block says of itself that it is one: `recomputed = True` on its class. A network that has no such
block is cut at its direct children. The loss is the same to the last bit and gradients up to
rounding: noise is drawn again from the same state, and running statistics are not updated twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(network: nn.Module) -> None:
    """Make the blocks of `network` recompute their inner activations, in place."""
    for block in list(blocks(network)) or list(_children(network)):
        block.forward = partial(_recomputed, block, block.forward)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules below `module` that are marked."""
    for child in module.children():
        if getattr(child, "recomputed", False):
            yield child
        else:
            yield from blocks(child)


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """Direct children, with a list of modules counted as its members."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _children(child)
        else:
            yield child


def _recomputed(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    again = partial(_statistics_kept, block)
    return checkpoint(
        forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
    )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch norms in `block` write into copies of their running statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    statistics = [dict(norm._buffers) for norm in norms]
    try:
        for norm in norms:
            norm._buffers.update(
                {k: v if v is None else v.clone() for k, v in norm._buffers.items()}
            )
        yield
    finally:
        for norm, kept in zip(norms, statistics, strict=True):
            norm._buffers.update(kept)
