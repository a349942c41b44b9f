"""Sliding windows against MONAI, brute force and the paper's 27."""

from itertools import product

import numpy as np
import pytest
import torch

from harness.systems.sliding_window import sliding_window, starts


def image(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def network(x):
    """Logits that depend on the place within the window, as a padded convolution's do."""
    place = torch.linspace(-1, 1, x.shape[-1]) + torch.linspace(-1, 1, x.shape[-3])[:, None, None]
    return x.sum(dim=1, keepdim=True) + place + x.mean(dim=(1, 2, 3, 4), keepdim=True)


def brute_force(volume, window, stride):
    """Voxel by voxel window list, each window on its own."""
    total, count = np.zeros(volume.shape[1:]), np.zeros(volume.shape[1:])
    corners = [
        sorted({min(i * step, n - w) for i in range(n)})
        for n, w, step in zip(volume.shape[1:], window, stride, strict=True)
    ]
    for corner in product(*corners):
        box = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
        logits = network(volume[(slice(None), *box)][None])[0, 0]
        total[box] += 1 / (1 + np.exp(-logits.double().numpy()))
        count[box] += 1
    return total / count


@pytest.mark.parametrize(
    "length, window, stride, expected",
    [
        (128, 64, 32, [0, 32, 64]),
        (192, 96, 48, [0, 48, 96]),
        (140, 64, 32, [0, 32, 64, 76]),
        (64, 64, 32, [0]),
        (65, 64, 32, [0, 1]),
        (10, 4, 4, [0, 4, 6]),
    ],
)
def test_windows_cover_an_axis_to_its_end(length, window, stride, expected):
    assert starts(length, window, stride) == expected


def test_the_paper_needs_27_windows():
    seen = []

    def count(x):
        seen.append(tuple(x.shape))
        return torch.zeros(1, 1, *x.shape[2:])

    sliding_window(count, torch.zeros(1, 128, 192, 192), (64, 96, 96))
    assert seen == [(1, 1, 64, 96, 96)] * 27


@pytest.mark.parametrize(
    "shape, window, stride",
    [((16, 20, 24), (8, 10, 12), (4, 5, 6)), ((13, 17, 11), (5, 8, 4), (3, 8, 2))],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_mean_over_windows_is_brute_force(shape, window, stride, batch):
    volume = image(2, *shape)
    ours = sliding_window(network, volume, window, stride, batch)
    np.testing.assert_allclose(ours, brute_force(volume, window, stride), atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 24, 32), (19, 24, 29)])
def test_the_mean_over_windows_is_monais(shape):
    """Half overlap; where the stride does not divide, MONAI's last window is flush as well."""
    inferers = pytest.importorskip("monai.inferers")
    volume = image(1, *shape)
    theirs = inferers.sliding_window_inference(
        volume[None], (8, 12, 16), 1, lambda x: network(x).sigmoid(), overlap=0.5, mode="constant"
    )
    torch.testing.assert_close(sliding_window(network, volume, (8, 12, 16)), theirs[0, 0])


def test_a_window_as_large_as_the_volume_is_one_plain_prediction():
    volume = image(1, 8, 8, 8)
    whole = network(volume[None]).sigmoid()[0, 0]
    assert torch.equal(sliding_window(network, volume, (8, 8, 8)), whole)


def test_half_precision_logits_are_averaged_in_single_precision():
    result = sliding_window(lambda x: x.half(), image(1, 8, 8, 8), (4, 4, 4))
    assert result.dtype == torch.float32


def test_no_gradient_is_kept():
    layer = torch.nn.Conv3d(1, 1, 3, padding=1)
    assert not sliding_window(layer, image(1, 8, 8, 8), (4, 4, 4)).requires_grad


def test_shapes_alone_are_enough_to_count_operations():
    layer = torch.nn.Conv3d(1, 1, 3, padding=1, device="meta")
    result = sliding_window(layer, torch.empty(1, 8, 8, 8, device="meta"), (4, 4, 4))
    assert result.device.type == "meta"
    assert result.shape == (8, 8, 8)


def test_the_image_is_left_as_it_was():
    volume = image(1, 8, 8, 8)
    before = volume.clone()
    sliding_window(network, volume, (4, 4, 4))
    assert torch.equal(volume, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_probabilities():
    layer = torch.nn.Conv3d(1, 1, 3, padding=1)
    volume = image(1, 16, 16, 16)
    here = sliding_window(layer, volume, (8, 8, 8))
    there = sliding_window(layer.cuda(), volume.cuda(), (8, 8, 8))
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=1e-3)


def test_a_volume_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="window of 16 voxels does not fit an axis of 8"):
        sliding_window(network, image(1, 8, 32, 32), (16, 16, 16))


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_that_leaves_gaps_is_refused(stride):
    with pytest.raises(ValueError, match=f"stride {stride}"):
        starts(16, 4, stride)


def test_an_image_without_a_channel_axis_is_refused():
    with pytest.raises(ValueError, match=r"\(C, D, H, W\), not \(8, 8, 8\)"):
        sliding_window(network, image(8, 8, 8), (4, 4, 4))
