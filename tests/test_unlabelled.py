"""Which files are taken for which case, and in which words others are refused."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.unlabelled import find, read
from harness.errors import DataError

FLAIR = ("flair",)


def touch(folder: Path, *names: str) -> Path:
    """Files that a search finds; it reads none of them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not read")
    return folder


def found(inputs, modalities=FLAIR) -> dict[str, list[str]]:
    """Case -> names of its files, where there is no fault."""
    cases, faults, _ = find(inputs, modalities)
    assert faults == ()
    return {case.id: [path.name for path in case.images.values()] for case in cases}


def only_fault(inputs, modalities=FLAIR) -> DataError:
    [fault] = find(inputs, modalities).faults
    return fault


@pytest.mark.parametrize(
    "name", ["P1.nii", "P1.nii.gz", "P1_flair.nii.gz", "P1_0000.nii.gz", "P1_flair_0000.nii"]
)
def test_a_file_is_a_case_called_as_the_file_without_endings(tmp_path, name):
    assert found([touch(tmp_path, name) / name]) == {"P1": [name]}


def test_a_folder_of_brats_patients_gives_the_modality_of_the_system_only(tmp_path):
    for patient in ("A1", "A2"):
        names = (f"{patient}/{patient}_{kind}.nii.gz" for kind in ("flair", "t1", "t1ce", "seg"))
        touch(tmp_path, *names, f"{patient}/notes.txt")
    assert found([tmp_path]) == {"A1": ["A1_flair.nii.gz"], "A2": ["A2_flair.nii.gz"]}
    assert found([tmp_path / "A2"]) == {"A2": ["A2_flair.nii.gz"]}


def test_a_flat_folder_is_a_case_for_each_volume_but_labels_and_hidden_files(tmp_path):
    touch(tmp_path, "a.nii", "b_0000.nii.gz", "c_seg.nii.gz", "seg.nii", ".d.nii", "list.csv")
    assert found([tmp_path], ("ct",)) == {"a": ["a.nii"], "b": ["b_0000.nii.gz"]}


def test_files_and_folders_may_be_mixed_and_one_named_twice_is_one(tmp_path):
    touch(tmp_path, "x/a.nii", "b.nii")
    once = found([tmp_path / "x", tmp_path / "b.nii"])
    assert once == {"a": ["a.nii"], "b": ["b.nii"]}
    assert found([tmp_path / "x", tmp_path / "b.nii", tmp_path / "x" / "a.nii"]) == once


def test_several_modalities_come_in_the_order_of_the_system(tmp_path):
    touch(tmp_path, "P_t1.nii", "P_flair.nii", "P_t2.nii.gz", "Q/Q_flair.nii", "Q/Q_t2.nii")
    expected = {"P": ["P_t2.nii.gz", "P_flair.nii"], "Q": ["Q_t2.nii", "Q_flair.nii"]}
    assert found([tmp_path], ("t2", "flair")) == expected
    named = [tmp_path / "P_flair.nii", tmp_path / "P_t2.nii.gz"]
    assert found(named, ("t2", "flair")) == {"P": expected["P"]}


def test_a_mask_of_the_brain_beside_named_modalities_is_left_out_and_said(tmp_path):
    touch(tmp_path, "P_flair.nii", "P_brain.nii")
    assert [case.id for case in find([tmp_path], FLAIR).cases] == ["P"]
    [note] = find([tmp_path], FLAIR).notes
    assert "P_brain.nii" in note


def test_a_missing_modality_is_named_with_those_found(tmp_path):
    touch(tmp_path, "P_t1.nii", "Q_t1.nii", "Q_t2.nii")
    cases, [fault], _ = find([tmp_path], ("t1", "t2"))
    assert [case.id for case in cases] == ["Q"]
    assert (fault.code, fault.where, fault.what) == ("PFB-D01", "P", "missing t2; found t1")


@pytest.mark.parametrize("given", [".", "P_t1.nii"])
def test_another_modality_is_not_taken_for_the_one_asked_for(tmp_path, given):
    touch(tmp_path, "P_t1.nii")
    assert only_fault([tmp_path / given]).what == "missing flair; found t1"


def test_t1_means_nothing_to_a_system_that_reads_ct(tmp_path):
    touch(tmp_path, "P_t1.nii", "P_t2.nii")
    assert set(found([tmp_path], ("ct",))) == {"P_t1", "P_t2"}


def test_a_file_whose_name_tells_no_modality_is_none_of_several(tmp_path):
    touch(tmp_path, "P.nii")
    fault = only_fault([tmp_path / "P.nii"], ("t1", "t2"))
    assert fault.what == "missing t1, t2; found P.nii"


@pytest.mark.parametrize(
    "names",
    [("P.nii", "P.nii.gz"), ("x/P.nii", "y/P.nii"), ("P.nii", "p.nii"), ("P.nii", "P_flair.nii")],
)
def test_two_files_of_one_case_are_both_named(tmp_path, names):
    touch(tmp_path, *names)
    fault = only_fault([tmp_path / name for name in names])
    assert fault.code == "PFB-D03"
    assert all(Path(name).name in fault.what for name in names)


@pytest.mark.parametrize(
    "name, code, said",
    [
        ("absent.nii", "PFB-D12", "no such file"),
        ("P_seg.nii", "PFB-D07", "label by its name"),
        ("P.dcm", "PFB-V06", "not called"),
        ("-P.nii", "PFB-D04", "case id"),
    ],
)
def test_a_file_that_cannot_be_an_input_is_named(tmp_path, name, code, said):
    if code != "PFB-D12":
        touch(tmp_path, name)
    fault = only_fault([tmp_path / name])
    assert fault.code == code
    assert name.removesuffix(".nii") in str(fault)
    assert said in str(fault)


def test_an_empty_folder_is_told_what_was_expected(tmp_path):
    touch(tmp_path, "P_seg.nii", "readme.md")
    fault = only_fault([tmp_path])
    assert fault.code == "PFB-D09"
    assert "<id>_flair.nii.gz" in fault.what


def test_a_link_out_of_the_folder_is_refused_and_one_that_was_named_is_not(tmp_path):
    outside = touch(tmp_path / "other", "P.nii") / "P.nii"
    link = tmp_path / "data" / "Q.nii"
    link.parent.mkdir()
    link.symlink_to(outside)
    touch(link.parent, "R.nii")
    cases, [fault], _ = find([link.parent], FLAIR)
    assert ([case.id for case in cases], fault.code) == (["R"], "PFB-D06")
    assert found([link]) == {"Q": ["Q.nii"]}


def written(path: Path, shape=(4, 5, 6), affine=None, low=0) -> Path:
    stored = np.arange(low, low + np.prod(shape), dtype=np.float32).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4) if affine is None else affine), path)
    return path


def test_modalities_become_channels(tmp_path):
    written(tmp_path / "P_t1.nii")
    written(tmp_path / "P_t2.nii", low=7)
    native = read(find([tmp_path], ("t2", "t1")).cases[0])
    assert native.image.shape == (2, 6, 5, 4)
    assert native.image.min(axis=(1, 2, 3)).tolist() == [7, 0]


@pytest.mark.parametrize(
    "other", [{"shape": (4, 5, 7)}, {"affine": np.diag([1.0, 1, 2, 1])}], ids=["shape", "place"]
)
def test_modalities_on_different_grids_are_refused(tmp_path, other):
    written(tmp_path / "P_t1.nii")
    written(tmp_path / "P_t2.nii", **other)
    with pytest.raises(DataError, match=r"P_t2\.nii") as caught:
        read(find([tmp_path], ("t1", "t2")).cases[0])
    assert caught.value.code == "PFB-D13"


def test_every_unreadable_file_of_a_case_is_listed(tmp_path):
    touch(tmp_path, "P_t1.nii", "P_t2.nii")
    with pytest.raises(DataError) as caught:
        read(find([tmp_path], ("t1", "t2")).cases[0])
    assert "P_t1.nii" in str(caught.value)
    assert "P_t2.nii" in str(caught.value)


# The layout of training


def listed(folder: Path, *channels: str) -> Path:
    content = {"channel_names": dict(enumerate(channels))}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("modalities", [("T2", "ADC"), ("ADC", "T2"), ("ADC",)])
def test_numbered_files_are_the_channels_that_dataset_json_names(tmp_path, modalities):
    root = listed(touch(tmp_path, "imagesTs/p_0000.nii.gz", "imagesTs/p_0001.nii.gz"), "T2", "ADC")
    names = {"T2": "p_0000.nii.gz", "ADC": "p_0001.nii.gz"}
    assert found([root / "imagesTs"], modalities) == {"p": [names[m] for m in modalities]}
    if len(modalities) > 1:
        given = [root / "imagesTs" / name for name in names.values()]
        assert found(given, modalities) == {"p": [names[m] for m in modalities]}


def test_numbered_files_without_dataset_json_are_the_modalities_in_their_order(tmp_path):
    touch(tmp_path, "p_0000.nii.gz", "p_0001.nii.gz")
    assert found([tmp_path], ("T2", "ADC")) == {"p": ["p_0000.nii.gz", "p_0001.nii.gz"]}
    touch(tmp_path, "p_0002.nii.gz")  # of three channels, who knows which are these
    assert only_fault([tmp_path], ("T2", "ADC")).code == "PFB-D09"


def test_a_numbered_channel_that_is_missing_is_named(tmp_path):
    root = listed(touch(tmp_path, "imagesTs/p_0000.nii.gz"), "T2", "ADC")
    fault = only_fault([root / "imagesTs"], ("T2", "ADC"))
    assert (fault.code, fault.what) == ("PFB-D01", "missing ADC; found T2")


def test_the_fourth_axis_holds_the_channels_that_dataset_json_names(tmp_path):
    root = listed(touch(tmp_path, "imagesTs/p.nii.gz"), "T2", "ADC")
    [case] = find([root / "imagesTs"], ("ADC",)).cases
    assert case.channels == {"ADC": 1}
    volumes = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), root / "imagesTs/p.nii.gz")
    np.testing.assert_array_equal(read(case).image[0], volumes[..., 1].T)


def test_a_single_channel_is_not_looked_for_on_a_fourth_axis(tmp_path):
    root = listed(touch(tmp_path, "imagesTs/p.nii.gz"), "T2")
    [case] = find([root / "imagesTs"], ("T2",)).cases
    assert case.channels == {}
