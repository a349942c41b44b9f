"""V-Net: stages of 5x5x5 convolutions that learn a residual.

    x ─ 16 ───────────────────────────────────────► (+) 32 ─ conv5 ─ conv1 ─ logits
        └ down ─ 32 ─────────────────────────► (+) 64 ┘ up 16
                 └ down ─ 64 ───────────► (+) 128 ┘ up 32
                          └ down ─ 128 ──► (+) 256 ┘ up 64
                                   └ down ─ 256 ┘ up 128

    stage    y ─ conv5 ─ IN ─ LReLU ─ ... ─ conv5 ─ IN ─ + ─ LReLU
             └───────────────────────────────────────────┘

Milletari et al., arXiv:1606.04797, with the instance norm and LeakyReLU that Wang et al.,
arXiv:2210.14645, Sec. IV-B, give to every network. They do not say which V-Net they ran;
the counts of convolutions are the original's by default. The head has neither norm nor
activation: an instance norm on a single channel of logits would fix the mean and the variance
of the answer in each volume.
Axes: (B, C, D, H, W). down and up: (transposed) convolutions, kernel 2, stride 2; (+) is
concatenation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.blocks import activation, norm
from models.conv import ConvTranspose3d

WIDTHS = (16, 32, 64, 128, 256)  # the paper of V-Net, Fig. 2
DOWN = (1, 2, 3, 3, 3)  # 5x5x5 convolutions of each stage on the way down, finest first
UP = (3, 3, 2, 1)  # and on the way up, deepest first
COMMON_DOWN, COMMON_UP = (1, 1, 2, 3, 2), (2, 2, 1, 1)  # the port of V-Net most often copied


class Stage(nn.Module):
    """`count` 5x5x5 convolutions whose sum with the input is activated."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in [inputs] + [outputs] * (count - 1):
            layers += [nn.Conv3d(i, outputs, 5, padding=2), norm(outputs), activation()]
        self.convs = nn.Sequential(*layers[:-1])
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.convs(x).add_(x))


class FirstStage(Stage):
    """Adds the image itself, the mean of its modalities, to each of its output channels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.convs(x).add_(x.mean(1, keepdim=True)))


class Down(nn.Sequential):
    """(B, i, d, h, w) -> (B, o, d/2, h/2, w/2)."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv3d(inputs, outputs, 2, stride=2), norm(outputs), activation())


class Up(nn.Sequential):
    """(B, i, d, h, w) -> (B, o, 2d, 2h, 2w)."""

    recomputed = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvTranspose3d(inputs, outputs, 2, stride=2), norm(outputs), activation())


class VNet(nn.Module):
    """(B, modalities, D, H, W) -> (B, targets, D, H, W) logits.

    `down` and `up` count the convolutions of each stage. D, H, W: multiples of 16, and the
    deepest map needs more than one voxel for its instance norm, so 16x16x32 is the smallest
    grid. 65,175,795 parameters by default, 45,590,995 with `COMMON_DOWN` and `COMMON_UP`.
    Raises ValueError when the counts do not fit the widths.
    """

    def __init__(
        self,
        modalities: int = 1,
        widths: Sequence[int] = WIDTHS,
        down: Sequence[int] = DOWN,
        up: Sequence[int] = UP,
        targets: int = 1,
    ) -> None:
        super().__init__()
        if len(down) != len(widths) or len(up) != len(widths) - 1 or min(*down, *up) < 1:
            raise ValueError(
                f"{len(widths)} widths need {len(widths)} counts down and {len(widths) - 1} up, "
                f"each at least 1, not {tuple(down)} and {tuple(up)}"
            )
        skips = list(reversed(widths[:-1]))  # deepest first
        wide = [widths[-1], *(2 * s for s in skips)]
        self.first = FirstStage(modalities, widths[0], down[0])
        self.downs = nn.ModuleList(map(Down, widths[:-1], widths[1:]))
        self.encoders = nn.ModuleList(map(Stage, widths[1:], widths[1:], down[1:]))
        self.ups = nn.ModuleList(map(Up, wide[:-1], skips))
        self.decoders = nn.ModuleList(map(Stage, wide[1:], wide[1:], up))
        self.head = nn.Sequential(
            nn.Conv3d(wide[-1], targets, 5, padding=2), nn.Conv3d(targets, targets, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.first(x)]
        for down, encoder in zip(self.downs, self.encoders, strict=True):
            maps.append(encoder(down(maps[-1])))
        y = maps.pop()
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            y = decoder(torch.cat([up(y), maps.pop()], dim=1))
        return self.head(y)
