"""Networks of MONAI under the protocol of pfbench: SegResNet, SwinUNETR and UNETR.

    pip install 'pfbench[monai]'
    pfbench check-plugin examples/monai_networks.py
    pfbench run --suite table5 --plugin examples/monai_networks.py --model segresnet --model pfseg

MONAI is imported when a network is built, so that only the trials that need it wait for it. Sizes
are MONAI's defaults; the quick profile has a fraction of the channels. What SwinUNETR and UNETR
ask of a window stands beside it.
"""

from collections.abc import Sequence

import torch
from torch import nn

from harness.plugin import Patches, System


def segresnet(modalities: int, init_filters: int = 32, targets: int = 1) -> nn.Module:
    """Myronenko, arXiv:1810.11654, without the branch of the autoencoder."""
    from monai.networks.nets import SegResNet

    return SegResNet(init_filters=init_filters, in_channels=modalities, out_channels=targets)


def swinunetr(modalities: int, feature_size: int = 24, targets: int = 1) -> nn.Module:
    """Hatamizadeh et al., arXiv:2201.01266: sides of a window in multiples of 32."""
    from monai.networks.nets import SwinUNETR

    # It reads values of tensors while it is built, which the device "meta" does not have.
    with torch.device("cpu"):
        network = SwinUNETR(in_channels=modalities, out_channels=targets, feature_size=feature_size)
    return network.to(torch.get_default_device())


def unetr(
    modalities: int, img_size: Sequence[int], hidden_size: int = 768, mlp_dim: int = 3072,
    num_heads: int = 12, feature_size: int = 16, targets: int = 1,
) -> nn.Module:  # fmt: skip
    """Hatamizadeh et al., arXiv:2103.10504: `img_size` is the window, in multiples of 16."""
    from monai.networks.nets import UNETR

    network = UNETR(
        in_channels=modalities,
        out_channels=targets,
        img_size=tuple(img_size),
        feature_size=feature_size,
        hidden_size=hidden_size,
        mlp_dim=mlp_dim,
        num_heads=num_heads,
    )
    for name, parameter in network.named_parameters():
        if "cross_attn" in name:  # MONAI's transformer holds layers that UNETR never calls
            parameter.requires_grad_(False)
    return network


SYSTEMS = {
    "segresnet": System(
        "SegResNet",
        network=segresnet,
        sees=Patches,
        reference="Myronenko, arXiv:1810.11654; MONAI",
        quick={"init_filters": 8},
    ),
    "swinunetr": System(
        "SwinUNETR",
        network=swinunetr,
        sees=Patches,
        reference="Hatamizadeh et al., arXiv:2201.01266; MONAI",
        quick={"feature_size": 12, "window": [32, 64, 64]},
        deviation="SwinUNETR: the whole volume is one window in profile quick, too small to cut",
    ),
    "unetr": System(
        "UNETR",
        network=unetr,
        sees=Patches,
        reference="Hatamizadeh et al., arXiv:2103.10504; MONAI",
        options={"img_size": [64, 96, 96]},
        quick={
            "img_size": [16, 32, 32], "hidden_size": 48, "mlp_dim": 96, "num_heads": 4,
            "feature_size": 8,
        },
    ),
}  # fmt: skip
