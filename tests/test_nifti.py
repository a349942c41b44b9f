"""A NIfTI file is read exactly, or refused with the code of its fault."""

import gzip
import os
import resource
import struct
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.nifti import read_image, read_label
from harness.errors import DataError

TOP = Path(__file__).parent.parent
REAL = Path(os.environ.get("PFBENCH_TEST_DATA", TOP.parent / "shared" / "data")) / "real"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real volumes here")
DIM, DATATYPE, BITPIX, PIXDIM, OFFSET, SLOPE, INTER = 40, 70, 72, 76, 108, 112, 116
QFORM, SFORM, QUATERN_B, SROW_X, DESCRIP = 252, 254, 256, 280, 148


def textured(shape=(7, 6, 5), dtype=np.int16):
    """(x, y, z): smooth, every voxel different from its neighbours."""
    x, y, z = np.indices(shape)
    return (100 + 3 * x + 20 * y + 7 * z).astype(dtype)


def content(array=None, affine=None, **patches) -> bytearray:
    """A single-file NIfTI-1; `patches` are (struct format, *values) at a named offset."""
    array = textured() if array is None else array
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine
    raw = bytearray(nibabel.Nifti1Image(array, affine).to_bytes())
    struct.pack_into("<2f", raw, SLOPE, 1, 0)
    for name, (form, *values) in patches.items():
        struct.pack_into(f"<{form}", raw, globals()[name.upper()], *values)
    return raw


def put(tmp_path: Path, raw: bytes | bytearray, name="case.nii") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(raw), 1) if name.endswith(".gz") else bytes(raw))
    return path


def code_of(read, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
def test_voxels_come_as_slices_rows_columns(tmp_path, name):
    stored = textured()
    image = read_image(put(tmp_path, content(stored), name))
    assert image.array.shape == (5, 6, 7)
    assert image.array[4, 2, 1] == stored[1, 2, 4]
    assert image.array.dtype == np.float32
    assert image.spacing_mm == (3, 2, 1)
    assert image.stored_axes == "RAS"


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"])
@pytest.mark.parametrize("order", "<>")
def test_every_plain_number_in_both_byte_orders_is_read(tmp_path, dtype, order):
    stored = np.arange(1, 61).reshape(5, 4, 3).astype(dtype)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    raw = nibabel.Nifti1Image(stored, np.eye(4), header).to_bytes()
    np.testing.assert_array_equal(read_image(put(tmp_path, raw)).array, stored.T)


def test_nifti_2_is_read(tmp_path):
    raw = nibabel.Nifti2Image(textured(), np.diag([1.0, 2, 3, 1])).to_bytes()
    np.testing.assert_array_equal(read_image(put(tmp_path, raw)).array, textured().T)


def test_scaling_is_applied_to_an_image(tmp_path):
    raw = content(slope=("2f", 0.5, -10))
    np.testing.assert_allclose(read_image(put(tmp_path, raw)).array, textured().T * 0.5 - 10)


@pytest.mark.parametrize("slope", [(0, 0), (0, 7), (float("nan"), float("nan"))])
def test_a_slope_of_zero_or_nan_means_unscaled(tmp_path, slope):
    raw = content(slope=("2f", *slope))
    np.testing.assert_array_equal(read_image(put(tmp_path, raw)).array, textured().T)


def test_storage_order_does_not_matter_where_the_affine_tells_it(tmp_path):
    """The same anatomy stored L-P-S and as (z, x, y) becomes the same array."""
    stored = textured()
    straight = read_image(put(tmp_path, content(stored, np.diag([1.0, 2, 3, 1])), "a.nii"))
    flipped = np.array([[-1.0, 0, 0, 6], [0, -2, 0, 10], [0, 0, 3, 0], [0, 0, 0, 1]])
    other = read_image(put(tmp_path, content(stored[::-1, ::-1], flipped), "b.nii"))
    rolled = np.array([[0.0, 1, 0, 0], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    third = read_image(put(tmp_path, content(stored.transpose(2, 0, 1), rolled), "c.nii"))
    assert (other.stored_axes, third.stored_axes) == ("LPS", "SRA")
    for turned in (other, third):
        np.testing.assert_array_equal(turned.array, straight.array)
        np.testing.assert_allclose(turned.affine, straight.affine)
        assert turned.spacing_mm == straight.spacing_mm


def test_labels_are_bytes_even_when_stored_as_floats(tmp_path):
    stored = (textured() % 5).astype(np.float32)
    label = read_label(put(tmp_path, content(stored)))
    assert label.array.dtype == np.uint8
    np.testing.assert_array_equal(label.array, stored.T)


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    assert read_image(put(tmp_path, content(textured()[..., None, None]))).array.shape == (5, 6, 7)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("axes", [3, 7])
def test_without_a_header_size_the_number_of_axes_tells_the_byte_order(tmp_path, order, axes):
    stored = textured()
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    raw = bytearray(nibabel.Nifti1Image(stored, np.eye(4), header).to_bytes())
    struct.pack_into(f"{order}i", raw, 0, 0)
    struct.pack_into(f"{order}8h", raw, DIM, axes, *stored.shape, 1, 1, 1, 1)
    np.testing.assert_array_equal(read_image(put(tmp_path, raw)).array, stored.T)


@pytest.mark.parametrize(
    "axes, code", [(0, "V11"), (8, "V11"), (256, "V11"), (1, "V26"), (2, "V26")]
)
def test_a_header_of_fewer_than_3_or_more_than_7_axes_is_refused(tmp_path, axes, code):
    raw = content(dim=("8h", axes, 7, 6, 5, 1, 1, 1, 1))
    assert code_of(read_image, put(tmp_path, raw)) == f"PFB-{code}"


@pytest.mark.parametrize("thin", range(3))
def test_a_volume_has_two_voxels_or_more_on_each_axis(tmp_path, thin):
    sides = [2, 2, 2]
    assert read_image(put(tmp_path, content(textured(sides)))).array.shape == (2, 2, 2)
    sides[thin] = 1
    assert code_of(read_image, put(tmp_path, content(textured(sides)))) == "PFB-V26"


def test_a_wrong_header_size_is_noted_not_fatal(tmp_path):
    raw = content()
    struct.pack_into("<i", raw, 0, 999)
    assert "999" in read_image(put(tmp_path, raw)).notes[0]


NAN, INF = float("nan"), float("inf")
HEADER_FAULTS: dict[str, tuple[str, dict[str, tuple]]] = {
    "dimension of zero": ("V11", {"dim": ("4h", 3, 7, 0, 5)}),
    "no dimensions": ("V11", {"dim": ("h", 0)}),
    "negative dimension": ("V10", {"dim": ("4h", 3, 7, -6, 5)}),
    "seven huge dimensions": ("V26", {"dim": ("8h", 7, *[32767] * 7)}),
    "ten thousand cubed": ("V07", {"dim": ("4h", 3, 10_000, 10_000, 10_000)}),
    "fewer voxels than stored": ("V12", {"dim": ("4h", 3, 7, 6, 4)}),
    "more voxels than stored": ("V03", {"dim": ("4h", 3, 7, 6, 6)}),
    "four dimensions": ("V26", {"dim": ("5h", 4, 7, 3, 5, 2)}),
    "two dimensions": ("V26", {"dim": ("4h", 2, 42, 5, 1)}),
    "unknown type": ("V13", {"datatype": ("2h", 9999, 16)}),
    "complex": ("V14", {"datatype": ("2h", 32, 64)}),
    "colour": ("V14", {"datatype": ("2h", 128, 24)}),
    "type and bits disagree": ("V14", {"datatype": ("2h", 16, 16)}),
    "voxels at the header": ("V17", {"offset": ("f", 0)}),
    "negative offset": ("V18", {"offset": ("f", -1)}),
    "offset NaN": ("V18", {"offset": ("f", NAN)}),
    "offset beyond the file": ("V18", {"offset": ("f", 1e9)}),
    "slope infinite": ("V19", {"slope": ("2f", INF, 0)}),
    "slope NaN with an intercept": ("V19", {"slope": ("2f", NAN, 5)}),
    "slope 1e30": ("V20", {"slope": ("2f", 1e30, 0)}),
    "no orientation": ("V30", {"qform": ("2h", 0, 0)}),
    "affine NaN": ("V30", {"srow_x": ("4f", NAN, 0, 0, 0)}),
    "affine singular": ("V30", {"srow_x": ("4f", 0, 2, 0, 0)}),
    "quaternion too long": ("V31", {"qform": ("2h", 1, 0), "quatern_b": ("3f", 1, 1, 1)}),
    "voxel size zero": ("V32", {"pixdim": ("4f", 1, 1, 0, 1)}),
    "voxel size negative": ("V32", {"pixdim": ("4f", 1, 1, -1, 1)}),
    "voxel size NaN": ("V32", {"pixdim": ("4f", 1, 1, NAN, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_a_header_that_cannot_be_believed_is_refused(tmp_path, fault):
    expected, patches = HEADER_FAULTS[fault]
    assert code_of(read_image, put(tmp_path, content(**patches))) == f"PFB-{expected}"


def test_forms_50_mm_apart_are_refused(tmp_path):
    raw = content(qform=("2h", 1, 1), quatern_b=("6f", 0, 0, 0, 50, 0, 0))
    assert code_of(read_image, put(tmp_path, raw)) == "PFB-V29"


@pytest.mark.parametrize("brightest", [199, 2400])
def test_a_little_endian_volume_under_a_big_endian_header_is_refused(tmp_path, brightest):
    """Small numbers become multiples of 256, larger ones noise."""
    x, y, z = np.indices((20, 20, 20)) - 9.5
    noise = np.random.default_rng(0).normal(0, 0.01, x.shape)
    bump = np.exp(-(x**2 + y**2 + z**2) / 100) + noise
    honest = (np.clip(bump, 0, 1) * brightest).astype(np.int16)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    raw = nibabel.Nifti1Image(honest, np.eye(4), header).to_bytes()
    np.testing.assert_array_equal(read_image(put(tmp_path, raw)).array, honest.T)
    swapped = raw[:352] + honest.astype("<i2").tobytes(order="F")
    assert code_of(read_image, put(tmp_path, swapped)) == "PFB-V15"


@pytest.mark.parametrize(
    "honest",
    [
        np.random.default_rng(0).integers(-2000, 2000, (9, 9, 9)).astype(np.int16),
        (np.indices((9, 9, 9)).sum(0) * 256).astype(np.int16),
        (np.indices((9, 9, 9)).sum(0) * 1000 - 3000).astype(np.int16),
    ],
    ids=["noise", "multiples of 256", "steep"],
)
def test_honest_integers_are_not_taken_for_swapped_bytes(tmp_path, honest):
    np.testing.assert_array_equal(read_image(put(tmp_path, content(honest))).array, honest.T)


@pytest.mark.parametrize("size", [0, 4, 1 << 30])
def test_an_extension_that_does_not_fit_is_refused(tmp_path, size):
    raw = content()
    extension = struct.pack("<4b2i", 1, 0, 0, 0, size, 6) + bytes(20)
    struct.pack_into("<f", raw, OFFSET, 352 - 4 + len(extension))
    assert code_of(read_image, put(tmp_path, raw[:348] + extension + raw[352:])) == "PFB-V33"


def test_an_extension_that_fits_is_skipped(tmp_path):
    raw = content()
    extension = struct.pack("<4b2i", 1, 0, 0, 0, 32, 6) + bytes(24)
    struct.pack_into("<f", raw, OFFSET, 348 + len(extension))
    image = read_image(put(tmp_path, raw[:348] + extension + raw[352:]))
    np.testing.assert_array_equal(image.array, textured().T)


@pytest.mark.parametrize(
    "stored, expected",
    [
        (np.full((4, 4, 4), 3.0, np.float32), "V22"),
        (np.full((4, 4, 4), NAN, np.float32), "V22"),
        (np.where(textured() == 100, INF, 1).astype(np.float32), "V22"),
        (textured().astype(np.float32) * 1e20, "V15"),
    ],
)
def test_intensities_that_mean_nothing_are_refused(tmp_path, stored, expected):
    assert code_of(read_image, put(tmp_path, content(stored))) == f"PFB-{expected}"


def test_the_voxels_that_are_not_numbers_are_counted(tmp_path):
    stored = textured().astype(np.float32)
    stored[0, 0, :3] = NAN
    with pytest.raises(DataError, match="3 of 210 voxels"):
        read_image(put(tmp_path, content(stored)))


@pytest.mark.parametrize(
    "stored, patches, expected",
    [
        (textured() % 3, {"slope": ("2f", 0.5, 0)}, "V21"),
        (textured() % 3, {"slope": ("2f", 1.0000001, 0)}, "V21"),
        ((textured() % 3).astype(np.float32) / 2, {}, "V23"),
        ((textured() % 3).astype(np.int16) - 1, {}, "V24"),
        ((textured() % 3).astype(np.int16) * 200, {}, "V24"),
        (np.full((4, 4, 4), NAN, np.float32), {}, "V22"),
    ],
)
def test_labels_that_are_not_small_whole_numbers_are_refused(tmp_path, stored, patches, expected):
    path = put(tmp_path, content(stored, **patches))
    assert code_of(read_label, path) == f"PFB-{expected}"


def test_labels_outside_of_a_byte_are_counted_and_no_others(tmp_path):
    stored = (textured() % 3).astype(np.int16)
    stored[0, 0, :2] = -5
    with pytest.raises(DataError, match=r"\(label: voxels\) -5: 2\."):
        read_label(put(tmp_path, content(stored)))


def test_a_foreign_label_is_named_with_its_count(tmp_path):
    stored = np.zeros((5, 4, 3), np.int16)
    stored[0, 0, :2] = 300
    with pytest.raises(DataError, match="300: 2"):
        read_label(put(tmp_path, content(stored)))


@pytest.mark.parametrize(
    "name, raw, expected",
    [
        ("a.nii", b"", "V01"),
        ("a.nii", bytes(100), "V04"),
        ("a.nii.gz", bytes(100), "V04"),
        ("a.nii", b"\x89PNG\r\n\x1a\n" + bytes(400), "V06"),
        ("a.nii", b"version https://git-lfs.github.com/spec/v1\n", "V06"),
        ("a.nii.gz", b"not a volume at all " * 40, "V06"),
        ("a.nii", gzip.compress(bytes(content())), "V06"),
    ],
)
def test_what_is_no_volume_is_named(tmp_path, name, raw, expected):
    assert code_of(read_image, put(tmp_path, raw, name)) == f"PFB-{expected}"


def test_an_uncompressed_volume_named_gz_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(bytes(content()))
    assert code_of(read_image, path) == "PFB-V06"


@pytest.mark.parametrize("length", [348, None], ids=["alone", "with voxels"])
def test_the_header_of_a_two_file_pair_is_refused(tmp_path, length):
    raw = content()
    raw[344:348] = b"ni1\0"
    assert code_of(read_image, put(tmp_path, raw[:length])) == "PFB-V06"


@pytest.mark.parametrize("name, expected", [("a.nii", "V12"), ("a.nii.gz", "V09")])
def test_bytes_after_the_volume_are_refused(tmp_path, name, expected):
    assert code_of(read_image, put(tmp_path, content() + b"x", name)) == f"PFB-{expected}"


def test_a_gzip_stream_cut_short_is_refused_at_every_length(tmp_path):
    packed = gzip.compress(bytes(content()))
    path = tmp_path / "a.nii.gz"
    for length in range(1, len(packed), 7):
        path.write_bytes(packed[:length])
        assert code_of(read_image, path) in ("PFB-V02", "PFB-V04", "PFB-V05", "PFB-V06")


def test_flipped_bits_in_a_compressed_file_never_change_voxels_unnoticed(tmp_path):
    rng = np.random.default_rng(7)
    stored = rng.integers(0, 2000, (30, 24, 16)).astype(np.int16)
    packed = gzip.compress(bytes(content(stored)), mtime=0)
    path = tmp_path / "a.nii.gz"
    noticed = 0
    for position in rng.integers(0, 8 * len(packed), 200):
        damaged = bytearray(packed)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_image(path).array, stored.T)
        except DataError:
            noticed += 1
    print(f"\n200 flipped bits, {noticed} noticed")
    assert noticed >= 199


def test_hostile_sizes_are_refused_fast_and_without_memory(tmp_path):
    """A header of 4 TB, a bomb of 2 GB and 500 MB behind an honest volume."""
    bomb = content(dim=("4h", 3, 1024, 1024, 1000))
    tail = gzip.compress(bytes(content()), 1) + gzip.compress(bytes(500 << 20), 1)
    files = {
        "claim.nii.gz": gzip.compress(bytes(content(dim=("4h", 3, 32767, 32767, 2000)))),
        "bomb.nii.gz": gzip.compress(bytes(bomb[:352])) + gzip.compress(bytes(8 << 20)) * 250,
        "tail.nii.gz": tail,
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    began = time.perf_counter()
    tracemalloc.start()
    codes = [code_of(read_image, tmp_path / name) for name in files]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes == ["PFB-V07", "PFB-V08", "PFB-V09"]
    assert peak < 50e6
    assert time.perf_counter() - began < 10


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "gone")
    expected = {"folder": "D07", "pipe": "D07", "loop": "D05", "dangling": "D06", "absent": "D12"}
    found = {name: code_of(read_image, tmp_path / f"{name}.nii") for name in expected}
    assert found == {name: f"PFB-{code}" for name, code in expected.items()}


def test_an_unreadable_disk_is_a_data_error_with_its_reason(tmp_path):
    path = put(tmp_path, content())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        while True:
            try:
                held.append(open(path, "rb"))  # noqa: SIM115
            except OSError:
                break
        with pytest.raises(DataError, match="too many open files"):
            read_image(path)
    finally:
        for file in held:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_no_text_of_a_header_is_repeated(tmp_path, fault):
    _, patches = HEADER_FAULTS[fault]
    raw = content(descrip=("9s", b"DOE^JOHN\0"), **patches)
    with pytest.raises(DataError) as caught:
        read_image(put(tmp_path, raw))
    assert "DOE" not in str(caught.value)
    assert str(tmp_path.parent) not in str(caught.value)


BROKEN = {
    "bitflip_label": "V05",
    "dim_larger_than_data_label": "V02",
    "empty_file": "V01",
    "nan_inf_image": "V22",
    "text_in_gzip": "V06",
    "truncated_image": "V02",
    "uncompressed_named_gz_label": "V06",
    "zero_pixdim_no_affine_label": "V32",
}


@real_data
@pytest.mark.parametrize("name", BROKEN)
def test_real_broken_files_are_refused(name):
    path = REAL / "broken" / "derived" / f"{name}.nii.gz"
    assert code_of(read_image, path) == f"PFB-{BROKEN[name]}"


@real_data
@pytest.mark.parametrize(
    "name",
    [
        "awkward/nibabel/anatomical.nii",
        "awkward/nibabel/reoriented_anat_moved.nii",
        "awkward/niivue/chris_PD.nii.gz",
        "awkward/niivue/fmri_pitch.nii.gz",
        "awkward/niivue/spmMotor.nii.gz",
        "totalsegmentator/ct/example_seg.nii.gz",
        "panoptica-spine/semantic/ref.nii.gz",
    ],
)
def test_real_awkward_files_are_read_as_nibabel_reads_them(name):
    image = read_image(REAL / name)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image.load(REAL / name))
    np.testing.assert_allclose(image.array, expected.get_fdata().T, rtol=1e-5)
    np.testing.assert_allclose(image.affine, expected.affine)


APART = {"broken", "pcasl.nii.gz", "functional.nii", "row_major.dconn.nii",  # not 3-D
         "resampled_anat_moved.nii"}  # 153 voxels are NaN  # fmt: skip


@real_data
@pytest.mark.long
def test_no_real_volume_that_is_good_is_refused():
    good = [path for path in sorted(REAL.rglob("*.nii*")) if not APART & {*path.parts}]
    faults = {}
    for path in good:
        try:
            read_image(path)
        except DataError as error:
            faults[path.name] = str(error)
    print(f"\n{len(good)} good volumes, {len(faults)} faults")
    assert len(good) > 20 and faults == {}


@real_data
def test_a_label_stored_the_other_way_round_is_the_same_label():
    flipped = read_label(REAL / "broken" / "derived" / "same_space_flipped_storage_label.nii.gz")
    straight = read_label(REAL / "ibsi-sts" / "STS_025" / "MR_T1_mask.nii.gz")
    np.testing.assert_array_equal(flipped.array, straight.array)
    np.testing.assert_allclose(flipped.affine, straight.affine, atol=1e-3)
