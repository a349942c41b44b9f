"""Where the voxels of a file lie: units, forms, labels beside their image, and the way back.

The numbers of the other readers are of SimpleITK 2.5.7 and nibabel 5.4.2.
"""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.case import Case
from harness.data.export import packed
from harness.data.header import same_place
from harness.data.nifti import read_image
from harness.data.scans import Rules, examine
from harness.errors import DataError

sitk = pytest.importorskip("SimpleITK")
SHAPE = (128, 128, 30)


def turned(degrees: float, spacing=(1.8, 1.8, 4.0), origin=(120.0, 120.0, -60.0)) -> np.ndarray:
    """LPS axes turned about z, as scanners write them."""
    a = np.deg2rad(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ np.diag([-1.0, -1, 1]) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def save(path: Path, affine: np.ndarray | None, unit="mm", codes=(1, 1), pixdim=None,
         array=None, **fields) -> Path:  # fmt: skip
    """A file whose qform and sform say `affine`, with the form codes (qform, sform)."""
    array = np.random.default_rng(0).random(SHAPE, np.float32) if array is None else array
    image = nibabel.Nifti1Image(array, affine)
    if affine is not None:
        image.set_qform(affine, codes[0], strip_shears=True)
        image.set_sform(affine, codes[1])
    image.header.set_xyzt_units(unit)
    if pixdim:
        image.header["pixdim"][1:4] = pixdim
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def fault_of(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_image(path)
    return caught.value


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000), ("meter", 0.001), ("mm", 1),
                                              ("unknown", 1)])  # fmt: skip
def test_a_length_in_any_unit_is_read_in_mm(tmp_path, unit, factor):
    affine = turned(20, (0.05, 0.06, 0.07), (5, -3, 2))
    scaled = np.diag([factor, factor, factor, 1.0]) @ affine
    scan = read_image(save(tmp_path / "a.nii.gz", scaled, unit))
    np.testing.assert_allclose(scan.spacing_mm, (0.07, 0.06, 0.05), rtol=1e-5)
    np.testing.assert_allclose(scan.stored_affine, affine, rtol=1e-5, atol=1e-5)
    if unit != "unknown":
        other = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
        np.testing.assert_allclose(scan.spacing_mm[::-1], other.GetSpacing(), rtol=1e-5)
        origin = np.multiply((-1, -1, 1), other.GetOrigin())
        np.testing.assert_allclose(scan.stored_affine[:3, 3], origin, rtol=1e-5)


def test_voxels_of_more_than_100_mm_are_read_and_noted(tmp_path):
    [note] = read_image(save(tmp_path / "a.nii.gz", np.eye(4), "meter")).notes
    assert "voxels of 1000x1000x1000 mm" in note and "metre" in note


def case_of(tmp_path: Path, image: dict, label: dict) -> Case:
    """A case whose two files are saved with these arguments."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:40, 20:40, 8:18] = 1
    path = save(tmp_path / "image.nii.gz", **image)
    return Case("a", {"t2": path}, save(tmp_path / "label.nii.gz", array=mask, **label))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ({"affine": np.diag([50.0, 50, 50, 1]), "unit": "micron"},
         {"affine": np.diag([0.05, 0.05, 0.05, 1])}),
        ({"affine": turned(0)}, {"affine": turned(0, origin=(120.002, 120, -60))}),
        ({"affine": turned(0)}, {"affine": turned(0, origin=(120.02, 120, -60))}),
        ({"affine": turned(0.03), "codes": (0, 1)}, {"affine": turned(0.03), "codes": (1, 0)}),
    ],
    ids=["other unit", "2 um", "20 um", "one by quaternion"],
)  # fmt: skip
def test_a_label_that_lies_where_its_image_lies_but_for_rounding_is_its_label(
    tmp_path, image, label
):
    found = examine(case_of(tmp_path, image, label), Rules("folder", "1"))
    assert found.faults == () and found.scan is not None


@pytest.mark.parametrize("away", [(0.3, 0, 0), (0, 0, 2.0)])
def test_a_label_a_part_of_a_voxel_away_is_none(tmp_path, away):
    label = {"affine": turned(0, origin=np.add((120, 120, -60), away))}
    [fault] = examine(case_of(tmp_path, {"affine": turned(0)}, label), Rules("folder", "1")).faults
    assert fault.code == "PFB-V28" and f"a corner is {max(away):g} mm away" in fault.what


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 1, 5)])
def test_a_voxel_size_against_the_only_form_is_a_fault_that_names_both(tmp_path, sizes):
    path = save(tmp_path / "a.nii.gz", np.eye(4), codes=(0, 2), pixdim=sizes)
    fault = fault_of(path)
    assert fault.code == "PFB-V29"
    assert f"pixdim says voxels of {'x'.join(map(str, sizes))} mm, the sform 1x1x1" in fault.what
    assert nibabel.load(path).affine[2, 2] != sitk.ReadImage(str(path)).GetSpacing()[2]


def test_a_voxel_size_in_another_unit_is_compared_in_mm(tmp_path):
    micron = np.diag([50.0, 50, 50, 1])
    path = save(tmp_path / "a.nii.gz", micron, "micron", codes=(0, 1), pixdim=(50, 50, 50))
    np.testing.assert_allclose(read_image(path).spacing_mm, (0.05,) * 3)


@pytest.mark.parametrize("degrees", [0.01, 0.03, 0.05, 0.1, 1, 30])
def test_forms_that_differ_by_what_a_quaternion_cannot_say_are_no_fault(tmp_path, degrees):
    scan = read_image(save(tmp_path / "a.nii.gz", turned(degrees)))
    np.testing.assert_allclose(scan.stored_affine, turned(degrees), rtol=1e-6, atol=1e-5)


def test_a_volume_that_simpleitk_turned_by_hundredths_of_a_degree_is_read(tmp_path):
    a = np.deg2rad(0.03)
    volume = sitk.GetImageFromArray(np.random.default_rng(0).random(SHAPE[::-1], np.float32))
    volume.SetSpacing((1.8, 1.8, 4))
    volume.SetDirection((np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, 1))
    sitk.WriteImage(volume, str(tmp_path / "a.nii.gz"))
    header = nibabel.load(tmp_path / "a.nii.gz").header
    apart = ((header.get_qform() - header.get_sform()) @ [127, 127, 29, 1])[:3]
    assert np.linalg.norm(apart) > 0.05  # mm: why it was refused
    assert read_image(tmp_path / "a.nii.gz").spacing_mm == pytest.approx((4, 1.8, 1.8))


@pytest.mark.parametrize(
    "other",
    [turned(0.5), turned(0, origin=(120, 120.5, -60)), turned(0, (1.8, 1.79, 4))],
    ids=["half a degree", "half a mm", "another size"],
)
def test_places_that_differ_by_more_than_rounding_are_two(other):
    assert same_place(turned(0), turned(0), SHAPE)
    assert not same_place(turned(0), other, SHAPE)


def test_a_gantry_tilt_is_called_one(tmp_path):
    affine = np.diag([-0.7, -0.7, 3.0, 1.0])
    affine[1, 2] = 3 * np.tan(np.deg2rad(12))
    fault = fault_of(save(tmp_path / "a.nii.gz", affine))
    assert fault.code == "PFB-V29"
    assert "sheared by 12.0 degrees, as the tilt of a CT gantry leaves it" in fault.what
    assert "resample it to square axes" in fault.remedy
    [note] = read_image(save(tmp_path / "b.nii.gz", affine, codes=(0, 1))).notes
    assert "12.0 degrees from square" in note


def test_a_file_without_orientation_is_taken_by_its_voxel_size_where_that_is_asked_for(tmp_path):
    stored = np.random.default_rng(0).random((4, 5, 6), np.float32)
    path = save(tmp_path / "a.nii.gz", None, codes=(0, 0), pixdim=(1.5, 2, 8), array=stored)
    fault = fault_of(path)
    assert fault.code == "PFB-V30" and "--set data.unoriented=pixdim" in fault.remedy
    scan = read_image(path, unoriented="pixdim")
    assert (scan.spacing_mm, scan.stored_axes) == ((8, 2, 1.5), "RAS")
    np.testing.assert_array_equal(scan.stored_affine, np.diag([1.5, 2, 8, 1]))
    np.testing.assert_array_equal(scan.array, stored.T)


@pytest.mark.parametrize(
    "how",
    [
        {"affine": turned(20, (50, 60, 70)), "unit": "micron"},
        {"affine": turned(20), "codes": (1, 0)},
        {"affine": turned(20), "codes": (0, 3)},
        {"affine": turned(20), "codes": (2, 4)},
        {"affine": None, "codes": (0, 0), "pixdim": (1.5, 2, 8)},
    ],
    ids=["micron", "qform", "sform", "other codes", "no codes"],
)
def test_a_mask_says_where_it_lies_in_the_words_of_its_scan(tmp_path, how):
    path = save(tmp_path / "scan.nii.gz", descrip=b"DOE^JOHN", **how)
    scan = read_image(path, unoriented="pixdim")
    content = packed((scan.array > 0.5).astype(np.uint8), scan.stored_affine, scan.place)
    (tmp_path / "mask.nii.gz").write_bytes(content)
    mask, own = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(path)
    np.testing.assert_array_equal(mask.get_fdata() > 0, own.get_fdata() > 0.5)
    np.testing.assert_array_equal(mask.affine, own.affine)
    for name in scan.place:
        np.testing.assert_array_equal(mask.header[name], own.header[name], err_msg=name)
    assert b"DOE" not in gzip.decompress(content)


def test_a_mask_of_a_nifti_2_scan_is_nifti_2(tmp_path):
    affine = turned(20, (1 / 3, 1 / 7, 1 / 11))
    array = np.random.default_rng(0).random((4, 5, 6), np.float32)
    nibabel.save(nibabel.Nifti2Image(array, affine), tmp_path / "scan.nii")
    scan = read_image(tmp_path / "scan.nii")
    (tmp_path / "mask.nii.gz").write_bytes(packed(scan.array, scan.stored_affine, scan.place))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert isinstance(mask, nibabel.Nifti2Image)
    np.testing.assert_array_equal(mask.affine, affine)


@pytest.mark.parametrize(
    "side, kind", [(32_767, nibabel.Nifti1Image), (32_768, nibabel.Nifti2Image)]
)
def test_an_axis_too_long_for_nifti_1_makes_nifti_2(tmp_path, side, kind):
    (tmp_path / "mask.nii.gz").write_bytes(packed(np.zeros((2, 2, side), np.uint8), np.eye(4)))
    assert type(nibabel.load(tmp_path / "mask.nii.gz")) is kind


def test_a_mask_of_a_nifti_1_scan_is_nifti_1(tmp_path):
    array = np.random.default_rng(0).random((4, 5, 6), np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii")
    scan = read_image(tmp_path / "scan.nii")
    (tmp_path / "mask.nii.gz").write_bytes(packed(scan.array, scan.stored_affine, scan.place))
    assert type(nibabel.load(tmp_path / "mask.nii.gz")) is nibabel.Nifti1Image
