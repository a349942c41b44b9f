"""NAME: say in one sentence what is new about it."""

from torch import Tensor, nn

from harness.plugin import Patches, System


class Network(nn.Module):
    """Two convolutions that keep the resolution: replace them by your own."""

    def __init__(self, modalities: int, width: int = 16, targets: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(modalities, width, 3, padding=1)
        self.norm = nn.InstanceNorm3d(width, affine=True)
        self.last = nn.Conv3d(width, targets, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, H, W) -> logits (B, targets, D, H, W), no sigmoid."""
        return self.last(self.norm(self.first(volume)).relu())


SYSTEMS = {
    "NAME": System(
        "NAME",  # as it stands in the tables
        network=Network,
        sees=Patches,  # or WholeVolume, LowResolution, a Method of your own
        reference="unpublished",
        options={"width": 16},
        quick={"width": 4},  # what the quick profile replaces
    ),
}
