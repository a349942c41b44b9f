"""The path down and the path up that the framework and its U-Net baselines share.

    x ─ block ──────────────────────────────► (+) block ─ out    level 1
          └ pool ─ block ────────────► (+) block ┘ up            level 2
                     └ pool ─ block ──────┘ up                   level 3 (deepest)

Axes: (B, C, D, H, W); level k lives on the grid (D, H, W) / 2^(k-1). (+) is concatenation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.blocks import Block, ResBlock, Up

WIDTHS = (32, 32, 64, 128, 256)  # authors' code


class Encoder(nn.Module):
    """One block for each width, halved by max pooling in between."""

    def __init__(self, inputs: int, widths: Sequence[int], block: Block) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            block(i, o) for i, o in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool3d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, D, H, W) -> one map per level, finest first."""
        maps = [self.blocks[0](x)]
        for block in self.blocks[1:]:
            maps.append(block(self.pool(maps[-1])))
        return maps


class Decoder(nn.Module):
    """Up, concatenate the encoder's map of that level, block; until the finest level."""

    def __init__(self, inputs: int, skips: Sequence[int], block: Block) -> None:
        """`inputs`: channels of the deepest map; `skips`: of the encoder's maps, finest first."""
        super().__init__()
        outputs = list(reversed(skips))
        self.ups = nn.ModuleList(
            Up(i, o) for i, o in zip([inputs, *outputs[:-1]], outputs, strict=True)
        )
        self.blocks = nn.ModuleList(block(2 * o, o) for o in outputs)

    def forward(self, deep: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """deep (B, inputs, D/2^n, ...), skips finest first -> (B, skips[0], D, H, W)."""
        x = deep
        for up, block, skip in zip(self.ups, self.blocks, reversed(skips), strict=True):
            x = block(torch.cat([up(x), skip], dim=1))
        return x


class UNet(nn.Module):
    """Encoder, decoder and a 1x1x1 head: (B, inputs, D, H, W) -> (B, outputs, D, H, W) logits.

    D, H, W must be multiples of 2^(len(widths) - 1): 16 for the paper's five levels.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        widths: Sequence[int] = WIDTHS,
        block: Block = ResBlock,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, widths, block)
        self.decoder = Decoder(widths[-1], widths[:-1], block)
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deep = self.encoder(x)
        return self.head(self.decoder(deep, skips))
