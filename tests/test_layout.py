"""Where the channels lie in memory changes when a network is done, not what it says."""

import copy

import numpy as np
import pytest
import torch
from test_precision import method, step, volume
from torch import nn
from torch.nn.modules.conv import _ConvNd

from harness.systems import catalogue as systems
from harness.systems.protocol import Protocol
from models.layout import channels_last, faster

FIRST, LAST = Protocol(layout="channels_first"), Protocol(layout="channels_last")


def is_last(volume):
    return volume.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_a_step_is_the_same_up_to_rounding(name):
    loss, exact, _ = step(name, FIRST)
    other_loss, other, _ = step(name, LAST)
    torch.testing.assert_close(other_loss, loss, rtol=1e-5, atol=1e-6)
    assert torch.cosine_similarity(other, exact, dim=0) > 0.99999


@pytest.mark.parametrize("name", sorted(set(systems.SYSTEMS) - {"point_unet"}))
def test_a_probability_is_the_same_up_to_rounding(name):
    image, _ = volume()
    first, last = (method(name, layout).probability(image) for layout in (FIRST, LAST))
    np.testing.assert_allclose(last, first, atol=1e-4)


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_nothing_between_two_convolutions_turns_a_volume_back(name):
    made = method(name, LAST)
    turned_back = []

    def look(module, inputs, output):
        [volume, *_] = inputs
        if volume.shape[1] > 1 and is_last(volume) and not is_last(output):
            turned_back.append(module)

    for module in made.network.modules():
        if not list(module.children()) and not isinstance(module, _ConvNd):
            module.register_forward_hook(look)
    made.probability(volume()[0])
    assert turned_back == []


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_on_a_cpu_the_channels_of_our_systems_lie_last(name):
    assert method(name, Protocol()).layout == "channels_last"
    assert method(name, FIRST).layout == "channels_first"


def test_a_network_that_turns_volumes_back_is_left_as_it_is():
    assert faster(nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2))) == "channels_first"


def test_a_network_that_is_turned_all_the_same_learns_the_same():
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.ReLU(), nn.Conv3d(4, 2, 1)
    network = nn.Sequential(*layers)
    turned = copy.deepcopy(network)
    channels_last(turned)
    x = torch.rand(1, 1, 6, 7, 8)
    for each in (network, turned):
        each(x).square().mean().backward()
    for p, q in zip(network.parameters(), turned.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)
