"""The way back: what is found on a network's grid lies in the scan where it was seen."""

import gzip
import os
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import Nifti1Image

from harness.data import phantom
from harness.data.cache import open_volume
from harness.data.case import Scan
from harness.data.export import packed
from harness.data.nifti import read_image, read_label
from harness.data.prepare import liver
from harness.data.request import DataRequest
from harness.data.scan_view import ScanView, WayBack, view_of
from harness.data.unlabelled import find, read
from harness.data.volumes import prepare

TOP = Path(__file__).parent.parent
DATA = Path(os.environ.get("PFBENCH_TEST_DATA", TOP.parent / "shared" / "data"))
ORDERS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def oblique(order=(0, 1, 2), signs=(1, 1, 1), sizes_mm=(0.9, 1.1, 1.7)) -> np.ndarray:
    """An affine of three sizes, its axes in this order and direction, then turned and moved."""
    axes = np.zeros((3, 3))
    axes[order, range(3)] = np.multiply(signs, sizes_mm)
    a, b = np.deg2rad(11), np.deg2rad(-7)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3] = np.column_stack([about_z @ about_x @ axes, [-83.25, 31.5, 17.125]])
    return affine


def saved(path: Path, stored: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(Nifti1Image(stored, affine), path)
    return path


def put(path: Path, array: np.ndarray, affine: np.ndarray) -> Nifti1Image:
    """Written by us, read by nibabel."""
    path.write_bytes(packed(array, affine))
    return nibabel.load(path)


@pytest.mark.parametrize("order, signs", ORDERS)
def test_an_array_that_was_read_is_written_in_the_order_of_its_file(tmp_path, order, signs):
    stored = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    path = saved(tmp_path / "scan.nii", stored, oblique(order, signs))
    scan = read_image(path)
    written = put(tmp_path / "copy.nii.gz", scan.array, scan.stored_affine)
    np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), stored)
    np.testing.assert_array_equal(written.affine, nibabel.load(path).affine)


@pytest.mark.parametrize("order, signs", ORDERS[::11])
@pytest.mark.parametrize("reduce", [(1, 1, 1), (4, 3, 3)])
def test_a_painted_mask_comes_back_to_where_it_was_painted(tmp_path, order, signs, reduce):
    """Each voxel of the file on its own: through mm into the turned scan, then onto the grid."""
    stored = np.random.default_rng(0).random((19, 17, 13), dtype=np.float32)
    affine = oblique(order, signs)
    scan = read_image(saved(tmp_path / "scan.nii", stored, affine))
    field = view_of(scan.array[None], scan.spacing_mm, "brats", reduce)
    painted = np.random.default_rng(1).random(field.images[0].shape[1:]) < 0.5
    written = put(tmp_path / "mask.nii.gz", field.mask([painted]), scan.stored_affine)

    index = np.indices(stored.shape).reshape(3, -1)
    mm = np.concatenate([index, np.ones_like(index[:1])])
    turned = (np.linalg.inv(scan.affine) @ nibabel.load(tmp_path / "scan.nii").affine @ mm)[:3]
    slices, rows, columns = scan.array.shape
    x, y, z = np.rint(turned).astype(int)
    grid = (
        (z + 0.5) * 128 / slices,  # all slices become 128
        y - (rows - 192) // 2 + 0.5,  # planes are cut or padded around their middle
        x - (columns - 192) // 2 + 0.5,
    )
    at = tuple(np.floor(place / by).astype(int) for place, by in zip(grid, reduce, strict=True))
    np.testing.assert_array_equal(written.get_fdata().ravel(), painted[at])


def test_outside_what_the_network_saw_there_is_nothing():
    image = np.random.default_rng(0).random((1, 5, 200, 210), dtype=np.float32)
    field = view_of(image, (1, 1, 1), "brats", (4, 3, 3))
    ones = np.ones(field.images[0].shape[1:])
    expected = np.zeros(image.shape[1:])
    expected[:, 4:196, 9:201] = 1
    np.testing.assert_array_equal(field.mask([ones]), expected)
    np.testing.assert_array_equal(field.probability([ones]), expected)


@pytest.mark.parametrize("reduce", [(1, 1, 1), (4, 3, 3)])
def test_a_probability_comes_back_interpolated_where_it_was(reduce):
    """A ramp along each axis stays one, in voxels of the scan (half-voxel centres)."""
    image = np.random.default_rng(0).random((1, 30, 192, 192), dtype=np.float32)
    field = view_of(image, (1, 1, 1), "brats", reduce)
    _, *grid = field.images[0].shape
    for axis, have in enumerate(image.shape[1:]):
        shape = [-1 if other == axis else 1 for other in range(3)]
        ramp = (np.arange(grid[axis]) + 0.5) / grid[axis]
        found = field.probability([np.broadcast_to(ramp.reshape(shape), grid)])
        expected = (np.arange(have) + 0.5) / have
        inner = slice(3, -3)  # beyond the outermost centres the last value is repeated
        line = np.moveaxis(found, axis, 0)[:, 15, 90]
        np.testing.assert_allclose(line[inner], expected[inner], atol=1e-6)


def test_masks_are_bytes_of_0_and_1_and_probabilities_floats(tmp_path):
    field = view_of(np.arange(8.0).reshape(1, 2, 2, 2), (1, 1, 1), "brats", (32, 48, 48))
    half = np.indices((4, 4, 4))[0] >= 2
    mask = put(tmp_path / "mask.nii.gz", field.mask([half]), np.eye(4))
    probability = put(tmp_path / "prob.nii.gz", field.probability([half * 0.7]), np.eye(4))
    assert mask.get_data_dtype() == np.uint8
    assert np.unique(mask.get_fdata()).tolist() == [0, 1]
    assert probability.get_data_dtype() == np.float32


@pytest.mark.parametrize("shear", [0.0, 0.2])
def test_qform_and_sform_agree_and_a_shear_leaves_the_sform_alone(tmp_path, shear):
    affine = oblique()
    affine[:3, 0] += shear * affine[:3, 1]
    written = put(
        tmp_path / "a.nii.gz", np.eye(5, dtype=np.uint8).repeat(5).reshape(5, 5, 5), affine
    )
    assert (written.header["qform_code"], written.header["sform_code"]) == (shear == 0, 1)
    np.testing.assert_allclose(read_label(tmp_path / "a.nii.gz").stored_affine, affine, rtol=1e-6)


def test_an_axis_too_long_for_nifti_1_is_written_all_the_same(tmp_path):
    array = np.zeros((2, 2, 40_000), np.uint8)
    assert put(tmp_path / "a.nii.gz", array, np.eye(4)).shape == (40_000, 2, 2)


def test_a_file_says_neither_when_nor_where_it_was_made():
    content = packed(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    flags, made = content[3], content[4:8]
    assert (flags, made) == (0, bytes(4))
    fields = Nifti1Image.from_bytes(gzip.decompress(content)).header
    assert [fields[name].item() for name in ("descrip", "aux_file", "db_name", "intent_name")] == (
        [b""] * 4
    )


@pytest.fixture(scope="module")
def brats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brats") / "data"
    phantom.write(folder, 1, (132, 200, 60))
    return folder


def the_only_field(root: Path, modalities, reduce) -> ScanView:
    native = read(find([root], modalities).cases[0])
    return view_of(native.image, native.spacing_mm, "brats", reduce)


@pytest.mark.parametrize("reduce", [(1, 1, 1), (4, 3, 3)])
def test_a_scan_without_its_label_becomes_the_image_that_was_prepared_with_it(
    brats, tmp_path, reduce
):
    modalities = ("t2", "flair")
    prepared = prepare(DataRequest("brats", brats, modalities, reduce=reduce), tmp_path)
    [key] = prepared.keys.values()
    [image] = the_only_field(brats, modalities, reduce).images
    np.testing.assert_array_equal(image, open_volume(tmp_path, key).image)


@pytest.mark.skipif(not (DATA / "brats_sample").is_dir(), reason="no real volumes here")
def test_a_real_scan_becomes_the_image_that_was_prepared(tmp_path):
    root = DATA / "brats_sample"
    prepared = prepare(DataRequest("brats", root, ("flair",), reduce=(4, 3, 3)), tmp_path)
    case = sorted(prepared.keys)[0]
    [image] = the_only_field(root / case, ("flair",), (4, 3, 3)).images
    np.testing.assert_array_equal(image, open_volume(tmp_path, prepared.keys[case]).image)


SCANS = [(60, 3.0), (64, 3.0), (65, 3.0), (300, 1.0), (41, 5.0), (97, 2.1), (257, 1.5), (13, 0.4)]


@pytest.mark.parametrize("slices, mm", SCANS)
@pytest.mark.parametrize("thickness", [1, 4])
def test_liver_blocks_cover_every_slice(slices, mm, thickness):
    image = np.random.default_rng(0).random((1, slices, 6, 6), dtype=np.float32)
    field = view_of(image, (mm, 1, 1), "liver", (thickness, 96, 96))
    block = (128 // thickness, 2, 2)
    assert {part.shape[1:] for part in field.images} == {block}
    assert len(field.images) == max(1, -(-slices * mm // 192))  # a block is 128 x 1.5 mm
    assert field.mask([np.ones(block)] * len(field.images)).all()


def test_a_scan_shorter_than_a_liver_block_lies_in_its_middle_as_in_training():
    image = np.random.default_rng(0).random((1, 60, 80, 70), dtype=np.float32)
    scan = Scan(image, np.ones((60, 80, 70), np.uint8), (3.0, 1.2, 1.5), np.eye(4))
    [seen] = view_of(image, scan.spacing_mm, "liver", (4, 3, 3)).images
    np.testing.assert_array_equal(seen, liver(scan, (1,), (4, 3, 3), "a").image)
    assert not seen[:, [0, -1]].any()


def test_liver_planes_are_what_they_are_in_the_scan():
    """A slab of 30 mm in a scan of 400 mm, found by its brightness, is where it was."""
    image = np.zeros((1, 200, 8, 8), np.float32)
    image[:, 90:105] = 1
    field = view_of(image, (2.0, 1.0, 1.0), "liver", (4, 96, 96))
    assert len(field.images) == 3
    found = field.mask([part[0] > 0.5 * part.max() for part in field.images])
    slab = np.flatnonzero(found.any(axis=(1, 2)))
    assert abs(slab[0] - 90) <= 2
    assert abs(slab[-1] - 104) <= 2


def overlapping() -> WayBack:
    """Two blocks of three slices, the last of the first on the first of the second."""
    places = tuple(np.arange(side) + 0.0 for side in (5, 1, 1))
    return WayBack((0, 2), places)


def test_where_blocks_overlap_one_of_two_votes_is_enough():
    masks = [np.array([1, 0, 1]), np.array([0, 0, 1])]
    found = overlapping().mask([mask.reshape(3, 1, 1) for mask in masks])
    assert found.ravel().tolist() == [1, 0, 1, 0, 1]


def test_where_blocks_overlap_probabilities_are_averaged():
    parts = [np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])]
    found = overlapping().probability([part.reshape(3, 1, 1) for part in parts])
    np.testing.assert_allclose(found.ravel(), [0.1, 0.2, 0.4, 0.6, 0.7], rtol=1e-6)
