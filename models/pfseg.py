"""PFSeg: the full-resolution mask from a half-size image beside one sharp window.

                    skips
    low ──► encoder ══════╦══► UST ─► seg   the mask we want
               │ deep     ║
               ├──────────╬══► SRT ─► sr    the sharp image, for training only
    window ─► SGM ────────╝

Wang et al., arXiv:2210.14645, Sec. III; widths as in the authors' release.
Axes: (B, C, D, H, W) is the full grid ("HR"). `low` is on half of it, `window` on a quarter: a
piece of the full-resolution image. Encoder and SGM meet on the same grid, HR / 2^len(widths).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.blocks import Block, MSResBlock, PlainBlock, ResBlock, Up
from models.unet import WIDTHS, Decoder, Encoder

GUIDANCE_WIDTHS = (16, 32, 64, 64)  # authors' code


@dataclass(frozen=True)
class PFSegConfig:
    """The switches of Tables II and IV, as far as they change the network.

    `backbone`: residual or plain blocks. `srt`: the super-resolution decoder. `sgm`: the guidance
    module. `msres`: where multi-scale blocks replace the backbone's; never in a decoder.

    Raises ValueError for combinations that mean nothing.
    """

    modalities: int = 1
    targets: int = 1
    """K, the channels of the mask; the paper has one."""
    widths: tuple[int, ...] = WIDTHS
    guidance_widths: tuple[int, ...] = GUIDANCE_WIDTHS
    backbone: Literal["unet", "resunet"] = "resunet"
    srt: bool = True
    sgm: bool = True
    msres: Literal["none", "sgm", "sgm+encoder"] = "sgm+encoder"

    def __post_init__(self) -> None:
        check_switch("srt", self.srt)
        check_switch("sgm", self.sgm)
        for name, widths in (("widths", self.widths), ("guidance_widths", self.guidance_widths)):
            if not isinstance(widths, tuple) or not all(type(width) is int for width in widths):
                raise ValueError(f"{name} is {widths}; it must be a list of whole numbers")
        if self.backbone not in ("unet", "resunet"):
            raise ValueError(f"backbone is '{self.backbone}'; it must be 'unet' or 'resunet'")
        if self.msres not in ("none", "sgm", "sgm+encoder"):
            raise ValueError(f"msres is '{self.msres}'; it must be 'none', 'sgm' or 'sgm+encoder'")
        if self.modalities < 1:
            raise ValueError(f"modalities is {self.modalities}; the image needs at least one")
        if self.targets < 1:
            raise ValueError(f"targets is {self.targets}; the mask needs at least one")
        if len(self.widths) < 2 or min(*self.widths, *self.guidance_widths) < 2:
            raise ValueError(
                f"widths {self.widths} and guidance_widths {self.guidance_widths} must have two or "
                "more levels of two or more channels each, because some layers have half of them"
            )
        if self.msres != "none" and not self.sgm:
            raise ValueError(
                f"msres='{self.msres}' puts multi-scale blocks into the guidance module, which "
                "sgm=False leaves out; use msres='none' without it"
            )
        if self.sgm and len(self.guidance_widths) != len(self.widths) - 1:
            raise ValueError(
                f"guidance_widths has {len(self.guidance_widths)} levels and widths has "
                f"{len(self.widths)}; the guidance module must have one level less than the "
                "encoder, so that both end on the same grid"
            )


def check_switch(name: str, value: object) -> None:
    """ValueError for what is neither true nor false, such as the text "no", which Python takes
    for true."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be true or false")


class Output(NamedTuple):
    seg: Tensor  # (B, K, D, H, W) logits, K targets
    sr: Tensor | None  # (B, C, D, H, W) intensities >= 0; None without an SRT decoder


class FullResolutionStage(nn.Sequential):
    """To the full grid, without a skip and with half the channels: up, block, 1x1x1 head."""

    recomputed = True

    def __init__(self, width: int, outputs: int, block: Block) -> None:
        super().__init__(
            Up(width, width), block(width, width // 2), nn.Conv3d(width // 2, outputs, 1)
        )


class FullResolutionDecoder(nn.Module):
    """One task's way up: the U-Net's decoder, then a stage to the full grid."""

    def __init__(self, deep: int, skips: Sequence[int], outputs: int, block: Block) -> None:
        super().__init__()
        self.decoder = Decoder(deep, skips, block)
        self.finest = FullResolutionStage(skips[0], outputs, block)

    def forward(self, deep: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """deep and skips of the half-size grid -> (B, outputs, D, H, W), no final activation."""
        return self.finest(self.decoder(deep, skips))


class PFSeg(nn.Module):
    """The patch-free framework; its parts are called as in the paper: encoder, sgm, ust, srt.

    D, H, W must be multiples of 2^len(widths): 32 for the paper's five levels.
    """

    def __init__(self, config: PFSegConfig) -> None:
        super().__init__()
        self.config = config
        plain: Block = ResBlock if config.backbone == "resunet" else PlainBlock
        in_encoder = MSResBlock if config.msres == "sgm+encoder" else plain
        in_sgm = plain if config.msres == "none" else MSResBlock
        *skips, deep = config.widths
        self.encoder = Encoder(config.modalities, config.widths, in_encoder)
        self.sgm: Encoder | None = None
        if config.sgm:
            self.sgm = Encoder(config.modalities, config.guidance_widths, in_sgm)
            deep += config.guidance_widths[-1]
        self.ust = FullResolutionDecoder(deep, skips, config.targets, plain)
        self.srt: FullResolutionDecoder | None = None
        if config.srt:
            self.srt = FullResolutionDecoder(deep, skips, config.modalities, plain)

    def forward(self, low: Tensor, window: Tensor | None) -> Output:
        """low (B, C, D/2, H/2, W/2), window (B, C, D/4, H/4, W/4) -> Output.

        `window` is None exactly where the network has no guidance module; ValueError otherwise,
        and where the two grids do not belong together.
        """
        skips, deep = self.read(low, window)
        sr = None if self.srt is None else self.srt(deep, skips).relu()
        return Output(seg=self.ust(deep, skips), sr=sr)

    def segment(self, low: Tensor, window: Tensor | None) -> Tensor:
        """Logits (B, K, D, H, W) without the SRT decoder: what runs in a clinic."""
        skips, deep = self.read(low, window)
        return self.ust(deep, skips)

    def reconstruct(self, low: Tensor, window: Tensor | None) -> Tensor:
        """The sharp image (B, C, D, H, W) without the UST decoder; ValueError without SRT."""
        if self.srt is None:
            raise ValueError("this network has no SRT decoder, so it reconstructs no image")
        skips, deep = self.read(low, window)
        return self.srt(deep, skips).relu()

    def read(self, low: Tensor, window: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """The encoder's skips, finest first, and the deepest map with the window's beside it."""
        self._check(low, window)
        *skips, deep = self.encoder(low)
        if self.sgm is not None:
            deep = torch.cat([deep, self.sgm(window)[-1]], dim=1)
        return skips, deep

    def segmentation_half(self) -> "PFSeg":
        """A network without the SRT decoder whose `segment` is the same; it shares the weights."""
        with torch.device("meta"):
            half = PFSeg(replace(self.config, srt=False))
        kept = {k: v for k, v in self.state_dict().items() if not k.startswith("srt.")}
        half.load_state_dict(kept, assign=True)
        return half.train(self.training)

    def _check(self, low: Tensor, window: Tensor | None) -> None:
        grid, step = tuple(low.shape[2:]), 2 ** (len(self.config.widths) - 1)
        if any(side % step for side in grid):
            raise ValueError(f"the half-size image is on {grid}; sides must be multiples of {step}")
        if (window is None) != (self.sgm is None):
            raise ValueError(
                "this network has a guidance module and needs a window"
                if window is None
                else "this network has no guidance module, so a window must not be given"
            )
        if window is not None and tuple(2 * side for side in window.shape[2:]) != grid:
            raise ValueError(
                f"the window is on {tuple(window.shape[2:])} but the half-size image is on {grid}; "
                "the window must have half its sides"
            )


def build(modalities: int = 1, targets: int = 1, **options: Any) -> PFSeg:
    """PFSeg from the fields of PFSegConfig as they come out of a file (lists are fine)."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return PFSeg(PFSegConfig(modalities, targets, **fields))
