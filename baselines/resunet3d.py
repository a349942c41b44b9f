"""ResUNet3D: UNet3D whose blocks have a shortcut.

    x ─ 32 ──────────────────────────────────────────► (+) 32 ─ conv1 ─ logits
        └ pool ─ 32 ────────────────────────────► (+) 32 ┘ up
                 └ pool ─ 64 ───────────────► (+) 64 ┘ up
                          └ pool ─ 128 ──► (+) 128 ┘ up
                                   └ pool ─ 256 ┘ up

Yu et al., AAAI 2017, as Wang et al., arXiv:2210.14645, use it: long skips are concatenated
and there is no deep supervision; the topology is that of the refinement network they released.
Axes: (B, C, D, H, W). Numbers are output channels of a `ResBlock`; (+) is concatenation.
"""

from collections.abc import Sequence

from models.blocks import ResBlock
from models.unet import WIDTHS, UNet


class ResUNet3D(UNet):
    """(B, modalities, D, H, W) -> (B, targets, D, H, W) logits.

    D, H, W: multiples of 16, and the deepest map needs more than one voxel for its instance
    norm, so 16x16x32 is the smallest grid. 8,301,217 parameters at the default widths.
    """

    def __init__(
        self, modalities: int = 1, widths: Sequence[int] = WIDTHS, targets: int = 1
    ) -> None:
        super().__init__(modalities, targets, widths, ResBlock)
