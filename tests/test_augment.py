"""Augmentation moves image and label alike, by what the paper allows, into new arrays."""

import math

import numpy as np
import pytest

from harness.data.augment import augment, transform

FLAT = np.eye(2, 3)


def one_voxel(y: int, x: int, side: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """A volume of two modalities and three slices with one bright voxel in the middle slice."""
    image = np.zeros((2, 3, side, side), np.float32)
    image[:, 1, y, x] = 1, 0.5
    return image, (image[0] > 0).astype(np.uint8)


def turn(degrees: float) -> np.ndarray:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin, 0], [sin, cos, 0]])


def where(volume: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, place)) for place in np.argwhere(volume > 0.5)]


@pytest.mark.parametrize(
    "matrix, expected",
    [
        (FLAT, (10, 20)),
        (np.diag([-1, 1]) @ FLAT, (22, 20)),
        (np.diag([1, -1]) @ FLAT, (10, 12)),
        (np.array([[1, 0, 4], [0, 1, -6.0]]), (6, 26)),
        (turn(180), (22, 12)),
    ],
)
def test_a_bright_voxel_goes_where_the_map_sends_it(matrix, expected):
    moved, label = transform(*one_voxel(10, 20), matrix)
    assert where(label) == [(1, *expected)]
    assert where(moved[0]) == [(1, *expected)]


def test_a_quarter_turn_is_that_of_numpy():
    image, label = one_voxel(10, 20)
    moved, mask = transform(image, label, turn(-90))
    np.testing.assert_allclose(moved, np.rot90(image, axes=(2, 3)), atol=1e-5)
    np.testing.assert_array_equal(mask, np.rot90(label, axes=(1, 2)))


def test_a_turn_agrees_with_scipy():
    from scipy.ndimage import rotate

    rng = np.random.default_rng(0)
    image = np.zeros((1, 2, 33, 33), np.float32)
    image[..., 8:25, 8:25] = rng.random((1, 2, 17, 17))
    moved, _ = transform(image, np.zeros((2, 33, 33), np.uint8), turn(-30))
    expected = rotate(image, 30, axes=(2, 3), order=1, reshape=False)
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize("slices", [2, 3, 12, 16])
def test_any_number_of_slices_agrees_with_scipy(slices):
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(slices)
    image = rng.random((1, slices, 21, 30), dtype=np.float32)
    label = (image[0] > 0.6).astype(np.uint8)
    matrix = np.column_stack([turn(200)[:, :2] * [[-1], [1]], [2.3, -4.1]])
    moved, mask = transform(image, label, matrix)
    centre = np.array([10, 14.5])
    offset = centre + matrix[:, 2] - matrix[:, :2] @ centre
    for z in range(slices):
        pulled = {"matrix": matrix[:, :2], "offset": offset, "mode": "grid-constant"}
        expected = affine_transform(image[0, z], order=1, **pulled)
        np.testing.assert_allclose(moved[0, z], expected, atol=2e-5)
        np.testing.assert_array_equal(mask[z], affine_transform(label[z], order=0, **pulled))


@pytest.mark.parametrize("flip", [[[1], [1]], [[-1], [1]], [[1], [-1]]])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_without_a_slanting_turn_every_voxel_keeps_its_value(degrees, flip):
    rng = np.random.default_rng(0)
    image = rng.random((2, 3, 16, 16), dtype=np.float32)
    matrix = turn(degrees) * flip
    moved, _ = transform(image, np.zeros((3, 16, 16), np.uint8), matrix)
    assert np.array_equal(np.sort(moved, axis=None), np.sort(image, axis=None))


def test_on_a_plane_that_is_not_square_a_turn_keeps_distances():
    image = np.zeros((1, 1, 33, 65), np.float32)
    image[0, 0, 16, 42] = 1  # 10 voxels right of the middle
    moved, _ = transform(image, image[0].astype(np.uint8), turn(-90))
    np.testing.assert_allclose(moved[0, 0, 6, 32], 1, atol=1e-4)


def test_what_comes_from_outside_is_zero():
    image, label = np.ones((1, 2, 16, 16), np.float32), np.ones((2, 16, 16), np.uint8)
    moved, mask = transform(image, label, np.array([[1, 0, 4], [0, 1, 0.0]]))
    assert moved[:, :, -4:].max() == 0 == mask[:, -4:].max()
    np.testing.assert_allclose(moved[:, :, :-4], 1, rtol=1e-5)


def test_image_and_label_stay_together():
    """The label is where the image, a copy of it, is brighter than one half."""
    label = np.zeros((4, 48, 48), np.uint8)
    label[1:3, 14:34, 20:30] = 1
    rng = np.random.default_rng(3)
    for _ in range(50):
        moved, mask = augment(label[None].astype(np.float32), label, rng)
        overlap = 2 * ((moved[0] > 0.5) & (mask > 0)).sum()
        assert overlap >= 0.97 * ((moved[0] > 0.5).sum() + (mask > 0).sum())


def test_arguments_are_never_changed_and_never_returned():
    image, label = one_voxel(10, 20)
    before = image.copy(), label.copy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved, mask = augment(image, label, rng)
        assert not np.shares_memory(moved, image) and not np.shares_memory(mask, label)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_read_only_arrays_of_the_cache_are_accepted():
    image, label = one_voxel(10, 20)
    image.setflags(write=False)
    label.setflags(write=False)
    for seed in range(8):
        moved, mask = augment(image, label, np.random.default_rng(seed))
        assert moved.dtype == np.float32 and mask.dtype == np.uint8
        assert moved.flags.writeable and mask.flags.writeable


def test_the_generator_alone_decides():
    image, label = one_voxel(10, 20)
    first, again, other = (augment(image, label, np.random.default_rng(s))[0] for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_eighth_of_all_volumes_stays_as_it_is():
    """No flip, no shift, no turn: one half each."""
    image, label = one_voxel(10, 20, side=24)
    rng = np.random.default_rng(0)
    kept = sum(np.array_equal(augment(image, label, rng)[0], image) for _ in range(800))
    assert 70 < kept < 135


@pytest.mark.parametrize("side, low", [(192, 12), (64, 4)])
def test_shifts_are_those_of_the_paper_in_proportion_to_the_plane(side, low):
    """-12 to 11 voxels of the low grid in a plane of 192, each of them two of the full grid."""
    image = np.zeros((1, 1, side, side), np.float32)
    middle = slice(side // 2 - 3, side // 2 + 3)
    image[0, 0, middle, middle] = np.random.default_rng(0).uniform(0.2, 0.8, (6, 6))
    image[0, 0, side // 2, side // 2] = 1
    label = np.zeros((1, side, side), np.uint8)
    rng = np.random.default_rng(1)
    shifts = set()
    for _ in range(1000):
        moved, _ = augment(image, label, rng)
        y, x = np.unravel_index(moved.argmax(), (side, side))
        shift = int(y) - side // 2, int(x) - side // 2
        if np.allclose(
            moved, np.roll(image, shift, axis=(2, 3)), atol=1e-3
        ):  # neither flip nor turn
            shifts |= set(shift)
    assert shifts == set(range(-2 * low, 2 * low, 2))
