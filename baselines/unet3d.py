"""UNet3D: a plain encoder and decoder that see a window of the volume.

    x ─ 32 ──────────────────────────────────────────► (+) 32 ─ conv1 ─ logits
        └ pool ─ 32 ────────────────────────────► (+) 32 ┘ up
                 └ pool ─ 64 ───────────────► (+) 64 ┘ up
                          └ pool ─ 128 ──► (+) 128 ┘ up
                                   └ pool ─ 256 ┘ up

Çiçek et al., arXiv:1606.06650, with the widths of Wang et al., arXiv:2210.14645: theirs is
not released; four poolings and these widths make it the 8.2 M network that Sec. IV-C compares.
Axes: (B, C, D, H, W). Numbers are output channels of a `PlainBlock`; (+) is concatenation.
"""

from collections.abc import Sequence

from models.blocks import PlainBlock
from models.unet import WIDTHS, UNet


class UNet3D(UNet):
    """(B, modalities, D, H, W) -> (B, targets, D, H, W) logits.

    D, H, W: multiples of 16, and the deepest map needs more than one voxel for its instance
    norm, so 16x16x32 is the smallest grid. 8,212,097 parameters at the default widths.
    """

    def __init__(
        self, modalities: int = 1, widths: Sequence[int] = WIDTHS, targets: int = 1
    ) -> None:
        super().__init__(modalities, targets, widths, PlainBlock)
