"""Networks of nnU-Net under the protocol of pfbench: its plain U-Net and its residual encoder.

    pip install 'pfbench[nnunet]' -c constraints.txt
    pfbench check-plugin examples/nnunet_networks.py
    pfbench run --suite table5 --plugin examples/nnunet_networks.py --model nnunet_resenc

The networks alone: planning, training, augmentation and ensembling of nnU-Net are not in them, and
`pfbench export nnunet` is the way to compare with those. Constraints keep pip from another torch,
which torchvision, needed by other networks of the package, would bring. Blocks per level are those
of nnU-Net's planner; the levels fit the window, with at most 320 channels.
"""

from collections.abc import Sequence

from torch import nn

from harness.plugin import Patches, System

FEATURES = (32, 64, 128, 256, 320)
QUICK = {"features": (8, 16, 32, 64)}
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)
DEVIATION = "{}: without deep supervision, which the common loss of all systems does not have"


def plain(modalities: int, features: Sequence[int] = FEATURES, targets: int = 1) -> nn.Module:
    """Isensee et al., Nature Methods 18 (2021) 203: two convolutions on each level."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    network = PlainConvUNet(
        n_conv_per_stage=2, n_conv_per_stage_decoder=2, **_common(modalities, features, targets)
    )
    return _ready(network)


def residual(modalities: int, features: Sequence[int] = FEATURES, targets: int = 1) -> nn.Module:
    """Isensee et al., arXiv:2404.09556: residual blocks on the way down, one convolution up."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    network = ResidualEncoderUNet(
        n_blocks_per_stage=RESIDUAL_BLOCKS[: len(features)],
        n_conv_per_stage_decoder=1,
        **_common(modalities, features, targets),
    )
    return _ready(network)


def _ready(network: nn.Module) -> nn.Module:
    """The network with its first weights, less the second names of its layers and unused heads.

    Two names for one layer cannot be stored; heads for deep supervision would learn nothing here.
    """
    network.apply(network.initialize)
    network.decoder.seg_layers = network.decoder.seg_layers[-1:]
    del network.decoder.encoder
    for module in network.modules():
        if "all_modules" in module._modules:
            module._modules = {"all_modules": module.all_modules}
    return network


def _common(modalities: int, features: Sequence[int], targets: int) -> dict[str, object]:
    """What nnU-Net's planner gives both networks."""
    return {
        "input_channels": modalities,
        "num_classes": targets,
        "n_stages": len(features),
        "features_per_stage": list(features),
        "conv_op": nn.Conv3d,
        "kernel_sizes": 3,
        "strides": [1] + [2] * (len(features) - 1),
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


SYSTEMS = {
    "nnunet_plain": System(
        "nnU-Net's U-Net",
        network=plain,
        sees=Patches,
        reference="Isensee et al., Nature Methods 18 (2021) 203",
        quick=QUICK,
        deviation=DEVIATION.format("nnU-Net's U-Net"),
    ),
    "nnunet_resenc": System(
        "nnU-Net's ResEnc U-Net",
        network=residual,
        sees=Patches,
        reference="Isensee et al., arXiv:2404.09556",
        quick=QUICK,
        deviation=DEVIATION.format("nnU-Net's ResEnc U-Net"),
    ),
}
