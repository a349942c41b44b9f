"""The numbers a network is computed in, and what training keeps: every system, one step."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from harness.systems import catalogue as systems
from harness.systems.protocol import Protocol
from models.conv import Conv3d
from models.precision import autocast, guard, ieee_float32
from models.recompute import blocks, recompute

GRID = (32, 64, 64)
FP32, BF16 = Protocol(), Protocol(precision="bf16")
SPARING = Protocol(checkpointing=True)


def method(name, protocol):
    torch.manual_seed(0)
    made = systems.build(name, systems.options(name, "quick"), 1, GRID)
    made.follow(protocol)
    return made


def volume():
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32)
    label = np.zeros(GRID, bool)
    label[8:24, 20:44, 16:50] = True
    image[0, label] += 1
    return image / 2, label


def losses(made, number):
    """Of the first step of a stage; the graph is not used up."""
    stage = made.stages[number]
    stage.network.train()
    sample = stage.sample(*volume(), np.random.default_rng(0))
    torch.manual_seed(1)  # dropout
    with autocast(made.device, stage.precision):
        return stage.losses(*sample)["total"]


def step(name, protocol):
    """Loss, gradient as one vector, and the system, after the first backward pass."""
    made = method(name, protocol)
    loss = losses(made, -1)
    loss.backward()
    network = made.stages[-1].network
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(parts), made


def kept_bytes(name, protocol):
    """What a forward pass of the first stage keeps for the gradient."""
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # kept, so that no address is used twice
        return tensor

    made = method(name, protocol)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = losses(made, 0)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_a_step_in_bfloat16_goes_the_way_of_float32(name):
    loss, exact, _ = step(name, FP32)
    rounded_loss, rounded, _ = step(name, BF16)
    assert rounded_loss.dtype == rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert abs(rounded_loss - loss) < 0.02 * loss
    assert torch.cosine_similarity(rounded, exact, dim=0) > 0.98


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_recomputed_blocks_give_the_same_step_and_statistics(name):
    loss, exact, plain = step(name, FP32)
    again_loss, again, sparing = step(name, SPARING)
    assert torch.equal(loss, again_loss)
    torch.testing.assert_close(again, exact, rtol=1e-4, atol=1e-6)
    kept, other = plain.network.state_dict(), sparing.network.state_dict()
    assert kept.keys() == other.keys()
    assert all(torch.equal(kept[key], other[key]) for key in kept)


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_recomputed_blocks_keep_less_for_the_gradient(name):
    assert kept_bytes(name, SPARING) < 0.7 * kept_bytes(name, FP32)


@pytest.mark.parametrize(
    "name, drawn",
    [
        ("san", {"Unit", "Context", "Attend", "Finer"}),
        ("vnet", {"FirstStage", "Stage", "Down", "Up"}),
        ("resunet3d", {"ResBlock"}),
        ("unet3d", {"PlainBlock"}),
    ],
)
def test_the_blocks_that_the_figure_draws_are_recomputed(name, drawn):
    network = method(name, FP32).network
    assert {type(block).__name__ for block in blocks(network)} == drawn


def test_float32_is_not_rounded_to_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    ieee_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_what_pfseg_computes_on_the_full_grid_is_not_kept():
    assert kept_bytes("pfseg", SPARING) < 0.2 * kept_bytes("pfseg", FP32)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_kernel_that_overreaches_the_volume_has_the_right_gradient_in_bfloat16(kernel):
    torch.manual_seed(0)
    conv = Conv3d(8, 8, kernel, padding=kernel // 2)
    x = torch.rand(1, 8, 2, 6, 6)
    conv(x).square().sum().backward()
    exact, conv.weight.grad = conv.weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        conv(x).square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, exact)


def test_a_network_of_somebody_else_is_guarded_too():
    network = nn.Sequential(nn.Conv3d(1, 2, 5, padding=2), nn.Conv3d(2, 1, 1))
    names = list(network.state_dict())
    guard(network)
    assert [type(layer) for layer in network] == [Conv3d, Conv3d]
    assert list(network.state_dict()) == names


def test_a_network_without_marked_blocks_is_cut_at_its_children():
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Dropout(0.5), nn.Conv3d(4, 1, 1)
    network = nn.Sequential(*layers)
    sparing = copy.deepcopy(network)
    recompute(sparing)
    x = torch.rand(2, 1, 6, 6, 6)
    for each in (network, sparing):
        torch.manual_seed(1)
        each(x).square().mean().backward()
    for p, q in zip(network.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)
    assert torch.equal(network[1].running_mean, sparing[1].running_mean)
    assert sparing[1].num_batches_tracked == 1


@pytest.mark.parametrize("name", sorted(set(systems.SYSTEMS) - {"point_unet"}))
def test_a_probability_in_bfloat16_is_float32_and_near(name):
    image, _ = volume()
    rounded = method(name, BF16).probability(image)
    assert rounded.dtype == np.float32
    assert np.abs(rounded - method(name, FP32).probability(image)).max() < 0.1
