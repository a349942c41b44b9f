"""The paper's preprocessing, checked against hand-made volumes and SciPy."""

import time

import numpy as np
import pytest
from scipy import ndimage

from harness.data import phantom
from harness.data.case import PAPER_GRID, Scan
from harness.data.datasets import DATASETS
from harness.data.grid import centred, cubic, linear, nearest, stretched, unit_range
from harness.data.lowres import block_mean, halve
from harness.data.prepare import brats, liver
from harness.data.prepare import phantom as prepare_phantom
from harness.errors import DataError

FULL = (1, 1, 1)
BRATS, LIVER = DATASETS["brats"].targets, DATASETS["liver"].targets["liver"]
WT = BRATS["wt"]


@pytest.fixture(scope="module")
def head() -> Scan:
    return phantom.scan(0, 0, (155, 240, 240), ("flair",))


def scan(image: np.ndarray, label: np.ndarray, spacing_mm=(1.0, 1.0, 1.0)) -> Scan:
    return Scan(image.astype(np.float32), label.astype(np.uint8), spacing_mm, np.eye(4))


def ramp(shape: tuple[int, int, int], axis: int) -> np.ndarray:
    """(1, D, H, W): each voxel's index along one axis."""
    line = np.arange(shape[axis], dtype=np.float32)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(3)]), shape)[None]


def test_halving_is_the_mean_of_2x2x2_blocks():
    image = np.arange(2 * 4 * 4 * 6, dtype=np.float32).reshape(2, 4, 4, 6)
    expected = image.reshape(2, 2, 2, 2, 2, 3, 2).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(halve(image), expected)


def test_halving_is_half_pixel_linear_interpolation():
    image = np.random.default_rng(0).random((8, 10, 12), dtype=np.float32)
    expected = ndimage.zoom(image, 0.5, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(halve(image[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 4, 4, 5)])
def test_an_odd_axis_cannot_be_halved(shape):
    with pytest.raises(ValueError, match="do not divide"):
        halve(np.zeros(shape, np.float32))


def test_blocks_may_differ_by_axis():
    image = np.random.default_rng(0).random((2, 4, 6, 9), dtype=np.float32)
    expected = image.reshape(2, 2, 2, 2, 3, 3, 3).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(block_mean(image, (2, 3, 3)), expected, rtol=1e-6)


def test_brats_loses_24_voxels_at_both_ends_of_both_in_plane_axes():
    for axis in (1, 2):
        made = brats(scan(ramp((155, 240, 240), axis), np.zeros((155, 240, 240))), WT, FULL, "a")
        assert made.image.shape == (1, *PAPER_GRID)
        # 24..215 became 0..1
        line = made.image[0].take(range(192), axis=axis)[0]
        expected = np.linspace(0, 1, 192)
        np.testing.assert_allclose(line[:, 5] if axis == 1 else line[5], expected, atol=1e-6)


def test_brats_slices_are_interpolated_at_half_pixel_positions():
    made = brats(scan(ramp((155, 240, 240), 0), np.zeros((155, 240, 240))), WT, FULL, "a")
    position = (np.arange(128) + 0.5) * 155 / 128 - 0.5
    expected = (position - position[0]) / (position[-1] - position[0])
    np.testing.assert_allclose(made.image[0, :, 7, 9], expected, atol=1e-6)


def test_brats_labels_come_from_the_nearest_slice_and_mm_follow():
    label = np.zeros((155, 240, 240))
    label[60] = 4
    made = brats(scan(ramp(label.shape, 0), label), WT, FULL, "a")
    nearest_slice = np.floor((np.arange(128) + 0.5) * 155 / 128).astype(int)
    np.testing.assert_array_equal(made.label[:, 0, 0], nearest_slice == 60)
    assert made.spacing_mm == pytest.approx((155 / 128, 1, 1))


@pytest.mark.parametrize("side", [100, 192, 193, 301])
def test_brats_planes_of_other_sizes_are_cropped_or_padded_around_their_middle(side):
    label = np.zeros((20, side, side))
    label[:, side // 2, side // 2] = 1
    image = np.ones((1, 20, side, side))
    image[:, :, side // 2, side // 2] = 2
    made = brats(scan(image, label), WT, FULL, "a")
    assert made.image.shape == (1, *PAPER_GRID)
    [place] = np.argwhere(made.label[64])
    assert max(abs(place - 95.5)) <= 1
    assert made.image[0, 64][tuple(place)] == 1


@pytest.mark.parametrize("target, expected", [("wt", [1, 2, 4]), ("tc", [1, 4]), ("et", [4])])
def test_targets_are_the_regions_of_brats(target, expected):
    label = np.zeros((155, 240, 240))
    label[:, :, 60:180] = np.repeat([0, 1, 2, 4], 30)
    made = brats(scan(ramp(label.shape, 0), label), BRATS[target], FULL, "a")
    found = [value for value in (1, 2, 4) if made.label[0, 0, label[0, 0, 24:216] == value].all()]
    assert found == expected
    assert made.label.mean() == pytest.approx(30 * len(expected) / 192)


def test_each_modality_spans_0_to_1_and_a_constant_one_becomes_0():
    image = np.random.default_rng(0).normal(5, 3, (3, 4, 5, 6)).astype(np.float32)
    image[1] = 7
    made = unit_range(image)
    assert made.min(axis=(1, 2, 3)).tolist() == [0, 0, 0]
    assert made.max(axis=(1, 2, 3)).tolist() == [1, 0, 1]
    np.testing.assert_allclose(np.corrcoef(made[0].ravel(), image[0].ravel())[0, 1], 1)


def test_a_reduced_volume_is_the_block_mean_of_the_paper_volume(head):
    full, small = (brats(head, WT, reduce, "a") for reduce in (FULL, (2, 3, 3)))
    assert small.image.shape == (1, 64, 64, 64)
    np.testing.assert_allclose(small.image, block_mean(full.image, (2, 3, 3)), atol=1e-6)
    blocks = full.label.reshape(64, 2, 64, 3, 64, 3).sum(axis=(1, 3, 5))
    np.testing.assert_array_equal(small.label, blocks >= 9)
    assert small.spacing_mm == pytest.approx((155 / 64, 3, 3))


def test_brats_takes_a_tenth_of_a_second(head):
    began = time.process_time()
    brats(head, WT, FULL, "a")
    assert time.process_time() - began < 0.35


def test_arguments_stay_as_they_are():
    made = phantom.scan(0, 0, (20, 30, 40), ("flair",))
    before = made.image.copy(), made.label.copy()
    brats(made, WT, FULL, "a")
    liver(made, LIVER, FULL, "a")
    prepare_phantom(made, WT, FULL, "a")
    np.testing.assert_array_equal(made.image, before[0])
    np.testing.assert_array_equal(made.label, before[1])


def test_liver_is_brought_to_one_and_a_half_mm():
    """A ball of 40 mm radius keeps its volume in mm whatever the voxels were."""
    z, y, x = np.indices((60, 150, 150))
    ball = ((z - 30) * 3.0) ** 2 + ((y - 75) * 0.9) ** 2 + ((x - 75) * 0.9) ** 2 < 40**2
    image = 100.0 * ball[None] - 50
    made = liver(scan(image, ball, (3.0, 0.9, 0.9)), LIVER, FULL, "a")
    assert made.image.shape == (1, *PAPER_GRID)
    assert made.spacing_mm == (1.5, 1.5, 1.5)
    assert made.label.sum() * 1.5**3 == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.03)
    used = np.flatnonzero(made.label.any(axis=(1, 2)))
    assert 128 - used[-1] - used[0] in (0, 1, 2)  # in the middle
    outside = made.label.any(axis=(1, 2)) == 0
    assert made.image[0, outside].max() == 0  # slices without liver were dropped, not kept


def test_liver_slices_beyond_128_are_cut_at_both_ends():
    label = np.zeros((200, 60, 60))
    label[10:190, 20:40, 20:40] = 1
    made = liver(scan(ramp(label.shape, 0), label, (1.5, 1.5, 1.5)), LIVER, FULL, "a")
    middle = made.image[0, :, 96, 96]
    assert made.label.any(axis=(1, 2)).all()
    # The kept slices are 36..163 of 0..199.
    expected = (np.arange(36, 164) - 0) / 163
    np.testing.assert_allclose(middle, expected, atol=2e-3)


def test_the_liver_is_the_organ_with_its_tumours():
    label = np.zeros((100, 100, 100))
    label[20:80, 20:80, 20:80] = 1
    label[45:55, 45:55, 45:55] = 2
    made = liver(scan(ramp(label.shape, 1), label, (1.5, 1.5, 1.5)), LIVER, FULL, "a")
    assert made.label.sum() == 60**3


def test_liver_without_any_liver_names_the_case():
    with pytest.raises(DataError, match="no liver") as caught:
        liver(scan(ramp((20, 20, 20), 0), np.zeros((20, 20, 20))), LIVER, FULL, "case_7")
    assert (caught.value.code, caught.value.where) == ("PFB-V25", "case_7")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [0.7, 1.9])
def test_cubic_is_the_spline_of_scipy(axis, step):
    array = np.random.default_rng(0).random((13, 17, 15), dtype=np.float32)
    positions = centred(array.shape[axis], 8, step)
    positions = positions[(positions > -0.5) & (positions < array.shape[axis] - 0.5)]
    grid = np.indices(array.shape).astype(float)
    places = grid.take(range(len(positions)), axis=axis + 1)
    places[axis] = positions.reshape([-1 if i == axis else 1 for i in range(3)])
    expected = ndimage.map_coordinates(array, places, order=3, mode="mirror")
    np.testing.assert_allclose(cubic(array, axis, positions), expected, atol=1e-5)


@pytest.mark.parametrize("side, places", [(2, [-0.4, 0, 0.3, 1, 1.4]), (1, [-0.4, 0, 0.4])])
def test_the_spline_of_one_or_two_voxels_is_scipy_s(side, places):
    line = np.array([3, 7], np.float32)[:side]
    found = cubic(line, 0, np.array(places))
    expected = ndimage.map_coordinates(line, [places], order=3, mode="mirror")
    np.testing.assert_allclose(found, expected if side > 1 else [3] * 3, atol=1e-5)


@pytest.mark.parametrize("side", [5, 8, 20])
def test_linear_over_a_whole_axis_is_that_of_scipy(side):
    array = np.random.default_rng(0).random((8, 3, 3), dtype=np.float32)
    zoom = (side / 8, 1, 1)
    expected = ndimage.zoom(array, zoom, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(linear(array, 0, stretched(8, side)), expected, atol=1e-6)


PLACES = np.array([-0.5, -0.2, 0, 0.25, 1, 1.5, 2.75, 3, 3.2, 3.49])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_linear_at_any_position_is_numpy_s(axis):
    """Beyond the outermost centres the last value is repeated."""
    line = np.array([3, 1, 4, 1.5], np.float32)
    shape = [4 if each == axis else 2 for each in range(3)]
    array = np.broadcast_to(line.reshape([-1 if each == axis else 1 for each in range(3)]), shape)
    found = np.moveaxis(linear(np.array(array), axis, PLACES), axis, -1)
    expected = np.interp(PLACES, range(4), line)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-6)


def test_the_nearest_voxel_is_the_one_that_covers_a_position():
    """A voxel covers from half before its centre to just before half behind it."""
    found = nearest(np.arange(10.0, 14.0), 0, PLACES)
    assert found.tolist() == [10, 10, 10, 10, 11, 12, 13, 13, 13, 13]


@pytest.mark.parametrize("method", [nearest, linear, cubic])
def test_outside_the_array_there_is_only_the_fill(method):
    array = np.full((4, 3), 5, np.float32)
    found = method(array, 0, np.array([-0.6, -0.4, 3.4, 3.6]), fill=-1)
    np.testing.assert_allclose(found[:, 0], [-1, 5, 5, -1], rtol=1e-6)


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("sample", [linear, nearest])
def test_what_is_only_cut_is_never_written_to(sample, fill):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    before = array.copy()
    cut = sample(array, 2, np.arange(1.0, 4.0), fill)
    np.testing.assert_array_equal(cut, before[..., 1:4])
    beyond = sample(array, 2, np.arange(-1.0, 5.0), fill)
    np.testing.assert_array_equal(
        beyond, np.pad(before, [(0, 0)] * 2 + [(1, 1)], constant_values=fill)
    )
    np.testing.assert_array_equal(array, before)
