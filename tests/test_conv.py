"""The convolution that cuts a lone volume in two: the same results, by oneDNN."""

import pytest
import torch
from torch import nn
from torch.profiler import profile

from models.conv import Conv3d, ConvTranspose3d


def pair(channels, dilation):
    """Ours and PyTorch's own, with the same parameters."""
    torch.manual_seed(0)
    ours = Conv3d(channels, 5, 3, padding=dilation, dilation=dilation)
    theirs = nn.Conv3d(channels, 5, 3, padding=dilation, dilation=dilation)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(conv, x):
    x = x.clone().requires_grad_()
    conv.zero_grad()
    out = conv(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, conv.weight.grad, conv.bias.grad]


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("depth", [4, 5, 8, 9])
def test_values_and_gradients_are_those_of_pytorch(depth, dilation):
    ours, theirs = pair(4, dilation)
    x = torch.randn(1, 4, depth, 6, 7)
    assert ours._alone(x)
    for given, expected in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 16, 32, 32), (1, 32, 4, 8, 8)])
def test_a_lone_small_volume_is_convolved_by_onednn(shape):
    conv = Conv3d(shape[1], 8, 3, padding=1)
    with profile() as seen:
        conv(torch.randn(shape))
    names = {event.key for event in seen.key_averages()}
    assert "aten::mkldnn_convolution" in names
    assert "aten::slow_conv3d" not in names


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 4, 8, 6, 6),
        torch.randn(1, 4, 8, 6, 6, dtype=torch.float64),
        torch.randn(1, 4, 3, 6, 6),
        torch.randn(1, 4, 128, 64, 8),
        torch.empty(1, 4, 8, 6, 6, device="meta"),
    ],
    ids=["a batch", "float64", "shallow", "large", "meta"],
)
def test_everything_else_is_left_to_pytorch(x):
    assert not pair(4, 1)[0]._alone(x)


@pytest.mark.parametrize("kernel, padding", [(4, 1), (2, 0)])
@pytest.mark.parametrize(
    "shape", [(1, 4, 5, 6, 7), (2, 4, 5, 6, 7), (1, 4, 64, 81, 2)], ids=["lone", "batch", "large"]
)
def test_a_transposed_convolution_has_the_values_and_gradients_of_pytorch(shape, kernel, padding):
    torch.manual_seed(0)
    ours = ConvTranspose3d(4, 5, kernel, stride=2, padding=padding)
    theirs = nn.ConvTranspose3d(4, 5, kernel, stride=2, padding=padding).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    for given, expected in zip(gradients(ours, x), gradients(theirs, x.double()), strict=True):
        torch.testing.assert_close(given, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape, forward",
    [((1, 4, 5, 6, 7), "aten::addmm"), ((1, 4, 64, 81, 2), "aten::conv_transpose3d")],
    ids=["lone", "large"],
)
def test_doubling_is_a_product_where_onednn_is_not_asked_or_takes_longer(shape, forward):
    double = ConvTranspose3d(4, 4, 2, stride=2)
    with profile() as seen:
        double(torch.randn(shape, requires_grad=True)).sum().backward()
    names = {event.key for event in seen.key_averages()}
    assert forward in names
    assert not names & {"aten::slow_conv_transpose3d", "aten::convolution_backward"}


def test_a_transposed_convolution_leaves_its_channels_last_as_onednn_computes_them():
    out = ConvTranspose3d(8, 8, 4, stride=2, padding=1)(torch.randn(1, 8, 4, 8, 8))
    assert out.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("side, kind", [(3, torch.bfloat16), (2, torch.float32)])
def test_only_what_a_kernel_overreaches_leaves_bfloat16(side, kind):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Conv3d(1, 1, 3, padding=1)(torch.rand(1, 1, side, 4, 4)).dtype == kind
