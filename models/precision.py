"""In which numbers a network is computed: the same for every system of a run.

    fp32   IEEE single precision throughout, also on GPUs that would round products to TF32
    bf16   convolutions and linear maps in bfloat16 by autocast; weights, their updates, the losses,
           probabilities and metrics stay in float32

oneDNN's gradient of a bfloat16 convolution is wrong, or crashes, where the kernel reaches further
than the volume (models/conv.py computes those in float32); `guard` extends that to the layers of a
network that was not written with it in mind.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.conv import Conv3d

Precision = Literal["fp32", "bf16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network is called; it changes nothing with fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def wide(x: Tensor) -> Tensor:
    """float32, or float64 where it is that already: what losses and probabilities are made of."""
    return x if x.dtype == torch.float64 else x.float()


def guard(network: nn.Module) -> None:
    """Give every plain 3-D convolution in `network` the care of models.conv.Conv3d, in place."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d


def ieee_float32() -> None:
    """Let no GPU replace float32 by TF32, which has the mantissa of half precision."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
