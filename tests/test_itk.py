"""NRRD and MetaImage have the geometry that the same volume has in NIfTI, or are refused."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.data.export import packed
from harness.data.nifti import outline, read_image, read_label
from harness.data.request import DataRequest
from harness.data.volumes import prepare
from harness.errors import DataError

sitk = pytest.importorskip("SimpleITK")
TOP = Path(__file__).parent.parent
REAL = Path(os.environ.get("PFBENCH_TEST_DATA", TOP.parent / "shared" / "data")) / "real"
FORMS = ["a.nrrd", "a.mha", "a.mhd"]


def image(array=None) -> "sitk.Image":
    """A turned, moved volume of three sizes (LPS)."""
    array = np.random.default_rng(0).integers(0, 999, (6, 7, 8)) if array is None else array
    made = sitk.GetImageFromArray(array.astype(np.int16))
    made.SetSpacing((0.7, 1.1, 3.0))
    made.SetOrigin((-83.25, 31.5, 17.0))
    a = np.deg2rad(25)
    made.SetDirection((np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, -1))
    return made


def code_of(path: Path, read=read_image, **how) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **how)
    return caught.value.code


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_a_volume_is_the_same_as_in_nifti(tmp_path, name, compressed):
    sitk.WriteImage(image(), str(tmp_path / name), compressed)
    sitk.WriteImage(image(), str(tmp_path / "same.nii.gz"))
    found, same = read_image(tmp_path / name), read_image(tmp_path / "same.nii.gz")
    np.testing.assert_array_equal(found.array, same.array)
    np.testing.assert_allclose(found.affine, same.affine, atol=1e-4)
    np.testing.assert_allclose(found.spacing_mm, same.spacing_mm, rtol=1e-6)
    assert found.stored_axes == same.stored_axes
    shape, spacing = outline(tmp_path / name)
    assert shape == found.array.shape
    np.testing.assert_allclose(spacing, found.spacing_mm, rtol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_label_in_it_is_a_label(tmp_path, name):
    label = np.zeros((6, 7, 8), np.uint8)
    label[2:4, 3:5, 1:3] = 2
    sitk.WriteImage(image(label), str(tmp_path / name))
    found = read_label(tmp_path / name).array
    assert found.dtype == np.uint8 and found.sum() == label.sum()


def test_a_mask_for_it_lies_where_it_lies(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "a.nrrd"))
    scan = read_image(tmp_path / "a.nrrd")
    mask = (scan.array > 500).astype(np.uint8)
    (tmp_path / "mask.nii.gz").write_bytes(packed(mask, scan.stored_affine, scan.place))
    back = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back),
                                  sitk.GetArrayFromImage(image()) > 500)  # fmt: skip
    for asked in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, asked)(), getattr(image(), asked)(), atol=1e-4)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-200] ^= 4
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"a note\n" * 100)


def png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(400))


@pytest.mark.parametrize(
    ("damage", "code"), [(cut_short, "V02 V05"), (empty, "V01"), (text, "V06"), (png, "V06")]
)
@pytest.mark.parametrize("name", FORMS[:2])
def test_a_file_that_cannot_be_trusted_is_refused(tmp_path, name, damage, code):
    path = tmp_path / name
    sitk.WriteImage(image(), str(path), True)
    damage(path)
    assert code_of(path).removeprefix("PFB-") in code.split()


def test_a_flipped_bit_in_compressed_nrrd_is_found(tmp_path):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(image(), str(path), True)
    flip(path)
    assert code_of(path) == "PFB-V05"


@pytest.mark.parametrize("name", ["../b.raw", "/etc/passwd", "LIST", "b%02d.raw 1 6 1"])
def test_voxels_in_another_folder_are_not_followed(tmp_path, name):
    sitk.WriteImage(image(), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text(encoding="latin-1").replace("a.raw", name)
    (tmp_path / "a.mhd").write_text(text, encoding="latin-1")
    assert code_of(tmp_path / "a.mhd") == "PFB-V06"


def test_a_header_that_claims_more_than_memory_is_refused_before_a_voxel_is_read(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "a.mha"))
    raw = (tmp_path / "a.mha").read_bytes().replace(b"DimSize = 8 7 6", b"DimSize = 9000 9000 9000")
    (tmp_path / "a.mha").write_bytes(raw)
    assert code_of(tmp_path / "a.mha") == "PFB-V07"


def test_nrrd_without_directions_has_no_orientation(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "a.nrrd"))
    lines = (tmp_path / "a.nrrd").read_bytes().split(b"\n")
    raw = b"\n".join(line for line in lines if not line.startswith(b"space directions"))
    (tmp_path / "a.nrrd").write_bytes(raw)
    assert code_of(tmp_path / "a.nrrd") == "PFB-V30"


def test_without_simpleitk_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    sitk.WriteImage(image(), str(tmp_path / "a.nrrd"))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(DataError, match=r"needs SimpleITK.*pip install 'pfbench\[itk\]'"):
        read_image(tmp_path / "a.nrrd")


def folder_of(root: Path, ending: str) -> Path:
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 99, (20, 30, 30))
        label = np.zeros_like(array)
        label[5:12, 8:20, 8:20] = 1
        for name, voxels in (("images", array), ("labels", label)):
            (root / name).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(image(voxels), str(root / name / f"c{number}{ending}"))
    return root


@pytest.mark.parametrize("ending", [".nrrd", ".mhd"])
def test_a_folder_of_them_is_prepared_as_one_of_nifti(tmp_path, ending):
    cache = tmp_path / "cache"
    made = prepare(DataRequest("folder", folder_of(tmp_path / "a", ending)), cache)
    same = prepare(DataRequest("folder", folder_of(tmp_path / "b", ".nii.gz")), cache)
    assert made.grid == same.grid and list(made.keys) == list(same.keys) == ["c0", "c1", "c2"]
    for case in made.keys:
        one, other = (np.load(cache / each.keys[case] / "label.npy") for each in (made, same))
        np.testing.assert_array_equal(one, other)


def test_the_voxels_beside_a_header_are_part_of_what_a_volume_was_made_from(tmp_path):
    root = folder_of(tmp_path / "a", ".mhd")
    before = prepare(DataRequest("folder", root), tmp_path / "cache").keys["c0"]
    path = root / "images" / "c0.raw"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    assert prepare(DataRequest("folder", root), tmp_path / "cache").keys["c0"] != before


@pytest.mark.skipif(not REAL.is_dir(), reason="no real volumes here")
@pytest.mark.parametrize("name", ["brain1", "breast1"])
def test_real_nrrd_volumes_are_read_as_simpleitk_reads_them(tmp_path, name):
    path = REAL / "pyradiomics-nrrd" / f"{name}_image.nrrd"
    volume = sitk.ReadImage(str(path))
    sitk.WriteImage(volume, str(tmp_path / "same.nii.gz"))
    found, same = read_image(path), read_image(tmp_path / "same.nii.gz")
    np.testing.assert_array_equal(found.array, same.array)
    np.testing.assert_allclose(found.affine, same.affine, atol=1e-3)
    label = read_label(REAL / "pyradiomics-nrrd" / f"{name}_label.nrrd")
    assert label.array.shape == found.array.shape and label.array.any()


def test_a_volume_has_two_voxels_or_more_on_each_axis(tmp_path):
    for side, code in ((2, None), (1, "PFB-V26")):
        array = np.random.default_rng(0).integers(0, 99, (side, 7, 8))
        sitk.WriteImage(image(array), str(tmp_path / f"{side}.mha"))
        if code:
            assert code_of(tmp_path / f"{side}.mha") == code
        else:
            assert read_image(tmp_path / f"{side}.mha").array.shape == (side, 7, 8)


def test_of_several_values_in_a_voxel_a_channel_has_to_be_named(tmp_path):
    both = sitk.Compose(image(), image() + 1000)
    sitk.WriteImage(both, str(tmp_path / "both.mha"))
    assert code_of(tmp_path / "both.mha") == code_of(tmp_path / "both.mha", channel=2) == "PFB-V26"
    sitk.WriteImage(image() + 1000, str(tmp_path / "second.mha"))
    second = read_image(tmp_path / "second.mha").array
    np.testing.assert_array_equal(read_image(tmp_path / "both.mha", 1).array, second)
