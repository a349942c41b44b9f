"""A remedy helps: what interpolation invented is not to be renumbered, nor a good file copied."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from test_nifti import content, put

from harness.data.case import Case
from harness.data.nifti import read_image, read_label
from harness.data.scans import Rules, examine
from harness.errors import DataError


def fault_of(read, path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path)
    return caught.value


def splined() -> np.ndarray:
    """Labels 0 and 4 resampled by a cubic spline, as floats."""
    label = np.zeros((20, 20, 20))
    label[5:15, 5:15, 5:15] = 4
    grid = np.mgrid[0:19:28j, 0:19:28j, 0:19:28j]
    return map_coordinates(label, grid, order=3)


def test_labels_that_a_spline_resampled_into_scaled_integers_are_to_be_resampled(tmp_path):
    """As nilearn writes them: int16 with a scale."""
    values = splined()
    low, step = values.min(), (values.max() - values.min()) / 60_000
    stored = np.rint((values - low) / step - 30_000).astype(np.int16)
    raw = content(stored, slope=("2f", step, low + 30_000 * step))
    fault = fault_of(read_label, put(tmp_path, raw))
    assert fault.code == "PFB-V21" and "of their values lie in between" in fault.what
    assert "nearest neighbours" in fault.remedy and "plain integers" not in fault.remedy


def test_labels_that_a_scale_only_rounds_are_to_be_stored_as_they_are(tmp_path):
    label = (np.indices((5, 4, 3)).sum(0) % 3).astype(np.int16)
    for slope in (2, 1.0000001):
        fault = fault_of(read_label, put(tmp_path, content(label, slope=("2f", slope, 0))))
        assert (fault.code, fault.remedy) == ("PFB-V21", "store plain integers")


def examined(tmp_path: Path, label: np.ndarray) -> DataError:
    image = np.random.default_rng(0).random(label.shape, np.float32)
    for name, array in (("image", image), ("label", label)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    case = Case("a", {"t2": tmp_path / "image.nii.gz"}, tmp_path / "label.nii.gz")
    [fault] = examine(case, Rules("brats", "wt", frozenset({0, 4}))).faults
    return fault


def test_a_rim_that_rounding_a_spline_left_is_to_be_resampled(tmp_path):
    rounded = np.clip(np.rint(splined()), 0, 4).astype(np.uint8)
    assert set(np.unique(rounded)) > {0, 4}
    fault = examined(tmp_path, rounded)
    assert fault.code == "PFB-V24" and "a rim between others" in fault.what
    assert "nearest neighbours" in fault.remedy and "bring them to" not in fault.remedy


def test_a_region_of_its_own_is_to_be_renumbered(tmp_path):
    label = np.zeros((20, 20, 20), np.uint8)
    label[5:15, 5:15, 5:15] = 4
    label[6:12, 6:12, 6:12] = 2
    assert examined(tmp_path, label).remedy == "bring them to 0, 4"


@pytest.mark.parametrize("tail", [b"x", b"written by a tool\n", b"\0" * 9 + b"text"])
def test_bytes_behind_the_compressed_data_are_named_as_such(tmp_path, tail):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(content())) + tail)
    fault = fault_of(read_image, path)
    assert fault.code == "PFB-V09"
    assert f"{len(tail.lstrip(bytes(1)))} bytes that are not gzip follow" in fault.what
    assert "copy it again" not in fault.remedy


def test_several_members_and_zeros_behind_them_are_read(tmp_path):
    raw = bytes(content())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(512))
    assert read_image(path).array.shape == (5, 6, 7)


@pytest.mark.parametrize("at", [30, -6])
def test_data_that_are_damaged_are_still_called_damaged(tmp_path, at):
    raw = bytearray(gzip.compress(bytes(content())))
    raw[at] ^= 4
    path = tmp_path / "a.nii.gz"
    path.write_bytes(raw)
    fault = fault_of(read_image, path)
    assert (fault.code, fault.remedy) == ("PFB-V05", "copy it again")
