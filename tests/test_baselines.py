"""The dense baselines: sizes the paper reports, grids they accept, what tells them apart."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.hdresunet import HDResUNet, depth_to_space, space_to_depth
from baselines.resunet3d import ResUNet3D
from baselines.san import SAN, ChannelAttention, Context, SpatialAttention
from baselines.unet3d import UNet3D
from baselines.vnet import COMMON_DOWN, COMMON_UP, VNet

QUARTER_UNET = {"widths": (8, 8, 16, 32, 64)}
# what the quick profile builds, and the smallest grid each documents
QUICK: dict[str, tuple[Any, ...]] = {
    "unet3d": (UNet3D, QUARTER_UNET, (16, 16, 32)),
    "resunet3d": (ResUNet3D, QUARTER_UNET, (16, 16, 32)),
    "vnet": (VNet, {"widths": (4, 8, 16, 32, 64)}, (16, 16, 32)),
    "hdresunet": (HDResUNet, QUARTER_UNET, (32, 32, 64)),
    "san": (SAN, {"width": 4}, (16, 16, 32)),
}


def quick(name: str, modalities: int = 1) -> Any:
    torch.manual_seed(0)
    network, options, _ = QUICK[name]
    return network(modalities=modalities, **options)


def volume(name: str, modalities: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, modalities, *QUICK[name][2], generator=generator)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "network, options, expected",
    [
        (UNet3D, {}, 8_212_097),
        (ResUNet3D, {}, 8_301_217),
        (VNet, {}, 65_175_795),
        (VNet, {"down": COMMON_DOWN, "up": COMMON_UP}, 45_590_995),
        (HDResUNet, {}, 8_307_720),
        (SAN, {}, 1_533_971),
    ],
)
def test_the_paper_setting_has_the_reported_number_of_parameters(network, options, expected):
    with torch.device("meta"):
        assert parameters(network(**options)) == expected


@pytest.mark.parametrize(
    "network, grid, expected",
    [
        (UNet3D, (64, 96, 96), 180.3),
        (ResUNet3D, (64, 96, 96), 183.5),
        (VNet, (64, 96, 96), 569.6),
        (HDResUNet, (128, 192, 192), 191.2),
        (SAN, (128, 192, 192), 835.4),
    ],
)
def test_the_paper_setting_does_the_expected_work_on_the_paper_grid(network, grid, expected):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        assert network()(torch.rand(1, 1, *grid)).shape == (1, 1, *grid)
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("modalities", [1, 4])
@pytest.mark.parametrize("name", QUICK)
def test_one_logit_per_voxel_on_the_smallest_grid(name, modalities):
    x = volume(name, modalities)
    assert quick(name, modalities)(x).shape == (1, 1, *x.shape[2:])


@pytest.mark.parametrize("name", QUICK)
def test_half_of_the_smallest_grid_leaves_the_norm_a_single_value(name):
    x = volume(name)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        quick(name)(x[..., : x.shape[-1] // 2])


@pytest.mark.parametrize("name", QUICK)
def test_every_parameter_gets_a_gradient(name):
    network = quick(name)
    network(volume(name)).square().mean().backward()
    # a bias before a norm cancels out: its gradient is there, and zero
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    idle = [n for n, p in network.named_parameters() if p.ndim > 1 and not p.grad.any()]
    assert (missing, idle) == ([], [])


@pytest.mark.parametrize("name", QUICK)
def test_a_state_dict_restores_the_same_network(name):
    network = quick(name)
    other = QUICK[name][0](**QUICK[name][1])
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(other(volume(name)), network(volume(name)))


@pytest.mark.parametrize("name", QUICK)
def test_training_and_evaluation_give_the_same_answer_every_time(name):
    network, x = quick(name), volume(name)
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(network.train()(x), network.eval()(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["vnet", "san"])
def test_the_last_two_convolutions_have_nothing_between_or_after_them(name):
    network, x = quick(name), volume(name)
    doubled = copy.deepcopy(network)
    with torch.no_grad():
        doubled.head[0].weight *= 2
        doubled.head[0].bias *= 2
        bias = network.head[1].bias
        torch.testing.assert_close(doubled(x) - bias, 2 * (network(x) - bias))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [1, 2, 3, 3, 3, 3, 3, 2, 1]),
        ({"down": COMMON_DOWN, "up": COMMON_UP}, [1, 1, 2, 3, 2, 2, 2, 1, 1]),
    ],
)
def test_vnet_has_the_counts_of_convolutions_it_was_asked_for(options, expected):
    network = VNet(widths=(2, 2, 2, 2, 2), **options)
    stages = [network.first, *network.encoders, *network.decoders]
    assert [sum(isinstance(m, nn.Conv3d) for m in s.modules()) for s in stages] == expected


@pytest.mark.parametrize(
    "options", [{"down": (1, 2)}, {"up": (1, 1, 1, 1, 1)}, {"up": (3, 3, 0, 1)}]
)
def test_vnet_refuses_counts_that_do_not_fit_its_widths(options):
    with pytest.raises(ValueError, match="counts down"):
        VNet(**options)


def test_a_vnet_stage_whose_convolutions_are_silent_passes_its_input_on():
    network = quick("vnet")
    stage = network.decoders[0]
    with torch.no_grad():
        for conv in stage.convs[::3]:
            conv.weight.zero_()
            conv.bias.zero_()
    x = torch.rand(1, 64, 2, 2, 2)  # positive, as LeakyReLU leaves it
    torch.testing.assert_close(stage(x), x)


def test_the_first_vnet_stage_adds_the_mean_modality():
    first = quick("vnet", modalities=4).first
    with torch.no_grad():
        first.convs[0].weight.zero_()
        first.convs[0].bias.zero_()
    x = torch.rand(1, 4, 2, 3, 4)
    torch.testing.assert_close(first(x), x.mean(1, keepdim=True).expand(1, 4, 2, 3, 4))


def test_folding_puts_each_voxel_of_a_2x2x2_cube_into_its_own_channel():
    x = torch.arange(2 * 3 * 4 * 6 * 8).reshape(2, 3, 4, 6, 8)
    folded = space_to_depth(x)
    for c in range(3):
        for dz, dy, dx in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)):
            channel = 8 * c + 4 * dz + 2 * dy + dx
            assert torch.equal(folded[:, channel], x[:, c, dz::2, dy::2, dx::2])


def test_unfolding_undoes_folding():
    x = torch.rand(2, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(x)), x)


@pytest.mark.parametrize(
    "fold, shape", [(space_to_depth, (1, 1, 4, 5, 4)), (depth_to_space, (1, 12, 2, 2, 2))]
)
def test_what_cannot_be_folded_is_refused(fold, shape):
    with pytest.raises(ValueError, match="folding by 2"):
        fold(torch.zeros(shape))


@pytest.mark.parametrize("attention", [ChannelAttention(3), SpatialAttention()])
def test_attention_that_knows_nothing_gives_everything_half_weight(attention: nn.Module):
    for p in attention.parameters():
        nn.init.zeros_(p)
    x = torch.rand(2, 3, 4, 4, 4)
    torch.testing.assert_close(attention(x), x / 2)


def test_channel_attention_weighs_by_the_mean_and_the_maximum_of_a_channel():
    attention = ChannelAttention(1)
    for p in attention.parameters():
        nn.init.constant_(p, float(p.ndim == 2))  # the MLP passes positive numbers on
    x = torch.tensor([0.0, 0.5, 0.5, 1.0]).reshape(1, 1, 1, 2, 2)
    torch.testing.assert_close(attention(x), x * torch.sigmoid(torch.tensor(0.5 + 1.0)))


def test_spatial_attention_weighs_by_the_mean_and_the_maximum_of_a_voxel():
    attention: Any = SpatialAttention()
    nn.init.zeros_(attention.conv.weight)
    nn.init.zeros_(attention.conv.bias)
    with torch.no_grad():
        attention.conv.weight[0, :, 2, 2, 2] = 1
    x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1)
    torch.testing.assert_close(attention(x), x * torch.sigmoid(torch.tensor(3.0 + 2.0)))


def test_the_context_looks_one_two_and_three_voxels_far():
    context: Any = Context(1)
    impulse = torch.zeros(1, 1, 9, 9, 9)
    impulse[0, 0, 4, 4, 4] = 1
    for reach, conv in zip((1, 2, 3), context.reaches, strict=True):
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
        seen = conv(impulse)[0, 0].nonzero() - 4
        assert set(seen.flatten().tolist()) == {-reach, 0, reach}
