"""The instance norm is PyTorch's, in every layout and at every size."""

import pytest
import torch
from torch import nn

from models import norm
from models.norm import InstanceNorm3d

LAST = torch.channels_last_3d
SHAPE = (1, 3, 4, 5, 6)


@pytest.fixture(params=[norm.SLAB, 50], ids=["in one piece", "in slabs"])
def _slab(request, monkeypatch):
    """Slabs of one slice and more, with a rest, in place of one piece."""
    monkeypatch.setattr(norm, "SLAB", request.param)


def gradient(layer, x, factor):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(x)
    (out * factor).sum().backward()
    return out.detach(), x.grad, *(p.grad for p in layer.parameters())


@pytest.mark.usefixtures("_slab")
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize("options", [{}, {"affine": True}, {"track_running_stats": True}])
def test_values_gradients_and_statistics_are_pytorchs(items, options, layout):
    torch.manual_seed(0)
    x = (2 + torch.randn(items, *SHAPE[1:])).contiguous(memory_format=layout)
    factor = torch.randn_like(x)
    ours, theirs = InstanceNorm3d(3, **options), nn.InstanceNorm3d(3, **options)
    expected = gradient(theirs, x.contiguous(), factor.contiguous())
    torch.testing.assert_close(gradient(ours, x, factor), expected)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.usefixtures("_slab")
@pytest.mark.parametrize("first", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("then", [torch.contiguous_format, LAST])
def test_the_gradient_is_right_whatever_layout_it_comes_in(first, then):
    torch.manual_seed(0)
    x, factor = torch.randn(SHAPE), torch.randn(SHAPE)
    expected = gradient(nn.InstanceNorm3d(3), x, factor)
    turned = x.contiguous(memory_format=first), factor.contiguous(memory_format=then)
    torch.testing.assert_close(gradient(InstanceNorm3d(3), *turned), expected)


@pytest.mark.usefixtures("_slab")
def test_one_volume_comes_back_in_its_layout():
    x = torch.randn(SHAPE).contiguous(memory_format=LAST).requires_grad_()
    out = InstanceNorm3d(3)(x)
    out.sum().backward()
    assert all(each.is_contiguous(memory_format=LAST) for each in (out, x.grad))


@pytest.mark.usefixtures("_slab")
def test_bfloat16_stays_bfloat16_and_is_near():
    torch.manual_seed(0)
    x = torch.randn(SHAPE).bfloat16().contiguous(memory_format=LAST)
    out, slope = gradient(InstanceNorm3d(3), x, 1 + x)
    assert out.dtype == slope.dtype == torch.bfloat16
    wide = x.double().contiguous()
    exact, exact_slope = gradient(nn.InstanceNorm3d(3), wide, 1 + wide)
    torch.testing.assert_close(out.double(), exact, atol=0.03, rtol=0.03)
    torch.testing.assert_close(slope.double(), exact_slope, atol=0.03, rtol=0.03)


def test_a_volume_of_millions_of_voxels_is_as_exact_as_float32():
    torch.manual_seed(0)
    x = (3 + torch.rand(1, 2, 64, 192, 192)).contiguous(memory_format=LAST)
    factor = torch.rand_like(x)
    wide = x.double().contiguous(), factor.double().contiguous()
    exact = gradient(nn.InstanceNorm3d(2), *wide)
    for ours, theirs in zip(gradient(InstanceNorm3d(2), x, factor), exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=5e-5, atol=5e-5)
