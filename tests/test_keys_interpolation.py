"""Tricubic interpolation of ResUNet3D↑, against its definition and against scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from baselines.resunet3d_up import (
    QUARTER,
    low_resolution_label,
    upsample_bspline,
    upsample_keys,
)


def keys(s: float, a: float = -0.5) -> float:
    """The kernel as Keys (1981) writes it."""
    s = abs(s)
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    if s < 2:
        return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a
    return 0.0


def keys_matrix(size: int) -> torch.Tensor:
    """(2 size, size): output i at input coordinate (i + 0.5) / 2 - 0.5, edge samples repeated."""
    matrix = torch.zeros(2 * size, size, dtype=torch.float64)
    for i in range(2 * size):
        x = (i + 0.5) / 2 - 0.5
        for j in range(-3, size + 3):
            matrix[i, min(max(j, 0), size - 1)] += keys(x - j)
    return matrix


def low_grid(shape):
    """Coordinates of the low grid's voxels in its own units, and those of the full grid."""
    low = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    full = torch.meshgrid(
        *((torch.arange(2 * n, dtype=torch.float64) + 0.5) / 2 - 0.5 for n in shape), indexing="ij"
    )
    return low, full


def test_the_weights_are_keys_kernel_a_quarter_of_a_voxel_off():
    assert tuple(keys(-0.25 - offset) for offset in (-2, -1, 0, 1)) == QUARTER


def test_the_weights_sum_to_one():
    assert sum(QUARTER) == 1


def test_every_output_is_the_triple_sum_over_the_kernel():
    x = torch.rand(2, 3, 3, 4, 6, dtype=torch.float64)
    expected = torch.einsum("ai,bj,ck,nmijk->nmabc", *map(keys_matrix, x.shape[2:]), x)
    torch.testing.assert_close(upsample_keys(x), expected, rtol=0, atol=1e-14)


def test_a_single_voxel_becomes_eight_of_the_same_value():
    assert torch.equal(
        upsample_keys(torch.full((1, 1, 1, 1, 1), 0.5)), torch.full((1, 1, 2, 2, 2), 0.5)
    )


@pytest.mark.parametrize(
    "polynomial",
    [
        lambda z, y, x: 3 * z - 2 * y + x + 5,
        lambda z, y, x: z**2 - 3 * y**2 + 2 * x**2 + z * x - y,
        lambda z, y, x: z**2 * y**2 * x**2,
    ],
    ids=["linear", "quadratic", "product of quadratics"],
)
def test_ramps_are_reproduced_away_from_the_edges(polynomial):
    low, full = low_grid((6, 7, 8))
    result = upsample_keys(polynomial(*low)[None, None])[0, 0]
    inner = (slice(4, -4),) * 3  # outputs that read no repeated edge
    torch.testing.assert_close(result[inner], polynomial(*full)[inner], rtol=1e-12, atol=1e-12)


def test_a_mirrored_volume_is_interpolated_to_the_mirrored_result():
    x = torch.rand(1, 1, 4, 5, 6, dtype=torch.float64)
    for axis in (2, 3, 4):
        torch.testing.assert_close(upsample_keys(x.flip(axis)), upsample_keys(x).flip(axis))


def test_the_input_stays_as_it_is():
    x = torch.rand(1, 1, 4, 4, 4)
    before = x.clone()
    upsample_keys(x)
    upsample_bspline(x)
    assert torch.equal(x, before)


def test_a_half_mask_thresholded_keeps_its_border():
    low = torch.zeros(1, 1, 4, 4, 4)
    low[..., 2:] = 1
    mask = upsample_keys(low)[0, 0] >= 0.5
    assert torch.equal(mask, (torch.arange(8) >= 4).expand(8, 8, 8))


def test_the_spline_is_scipy_s_on_aligned_corners():
    x = torch.rand(2, 2, 4, 5, 6, dtype=torch.float64)
    places = np.meshgrid(*(np.linspace(0, n - 1, 2 * n) for n in (4, 5, 6)), indexing="ij")
    result = upsample_bspline(x)
    for b in range(2):
        for c in range(2):
            expected = ndimage.map_coordinates(x[b, c].numpy(), places, order=3, mode="mirror")
            np.testing.assert_allclose(result[b, c].numpy(), expected, atol=1e-12)


def test_the_spline_keeps_the_corner_voxels():
    x = torch.rand(1, 1, 4, 5, 6)
    ends = (..., slice(None, None, 7), slice(None, None, 9), slice(None, None, 11))
    corners = x[..., ::3, ::4, ::5]
    torch.testing.assert_close(upsample_bspline(x)[ends], corners)


@pytest.mark.parametrize("voxels, expected", [(3, 0.0), (4, 1.0), (8, 1.0), (0, 0.0)])
def test_a_low_voxel_is_target_when_half_of_it_is(voxels, expected):
    label = torch.zeros(8)
    label[:voxels] = 1
    assert low_resolution_label(label.reshape(1, 1, 2, 2, 2)).item() == expected


def test_an_odd_grid_cannot_be_halved():
    with pytest.raises(ValueError, match="even sides"):
        low_resolution_label(torch.zeros(1, 1, 4, 5, 4))
