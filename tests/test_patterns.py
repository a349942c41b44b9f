"""Patterns, and data sets as they are unpacked: which file is whose image or label."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.cache import open_volume
from harness.data.case import Case
from harness.data.check import check
from harness.data.datasets import DATASETS
from harness.data.pattern import Pattern, Tree
from harness.data.presets import PRESETS
from harness.data.recognise import recognised
from harness.data.request import DataRequest, complete, contents_of, survey
from harness.data.volumes import prepare
from harness.errors import DataError, UsageError

SMALL = (8, 12, 12)
FINE = (1, 2, 2)  # of which small targets leave something
SHAPE = (12, 16, 16)
IMAGE = ("case", "modality")


def touch(root: Path, *names: str) -> Path:
    """Files that a search finds; it reads none of them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read")
    return root


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), path)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 99, SHAPE).astype(np.int16)


def block(low: int, high: int, value: int = 1) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[low:high, 4:8, 4:8] = value
    return label


def found(text: str, root: Path) -> dict[str, str]:
    """Case -> path, of the files that a pattern fits."""
    matches = Pattern.of(text, known=IMAGE).find(Tree(root))
    return {match.fields["case"]: match.path for match in matches}


def cases(root: Path, **asked) -> dict[str, Case]:
    full = complete(DataRequest(recognised(root), root, **asked))
    return {case.id: case for case in survey(full).require()}


# Patterns


def test_volumes_are_files_named_as_volumes_and_no_folders(tmp_path):
    touch(tmp_path, "notes.txt", "a.nii.gz", "b.nii.gz/inside.nii.gz")
    assert list(Tree(tmp_path).volumes(0)) == ["a.nii.gz"]
    assert list(Tree(tmp_path).volumes(1)) == ["a.nii.gz", "b.nii.gz/inside.nii.gz"]


def test_a_folder_of_a_case_is_one_however_deep_it_lies(tmp_path):
    touch(tmp_path, "scans/2020/p1/other.nii.gz", "scans/2020/empty/notes.txt")
    pattern = Pattern.of("scans/2020/{case}/{case}_t2", known=IMAGE)
    assert [match.fields["case"] for match in pattern.case_folders(Tree(tmp_path))] == ["p1"]


def test_a_field_is_the_same_wherever_it_stands(tmp_path):
    touch(tmp_path, "a/a-t1.nii.gz", "b/a-t1.nii.gz", "b/b-t1.nii")
    assert found("{case}/{case}-t1.nii.gz", tmp_path) == {"a": "a/a-t1.nii.gz"}


def test_a_pattern_without_an_ending_takes_any_that_is_read(tmp_path):
    touch(tmp_path, "a_t1.nii.gz", "b_t1.nii", "c_t1.txt")
    assert set(found("{case}_t1", tmp_path)) == {"a", "b"}


def test_digits_letters_and_anything_have_a_sign_each(tmp_path):
    touch(tmp_path, "batch 1/v-10.nii", "batch 2/v-2.nii", "v-x.nii", "sub-a1_T1w.nii")
    assert set(found("*/v-{case:#}.nii", tmp_path)) == {"10", "2"}
    assert set(found("{case:sub-@}_T1w.nii", tmp_path)) == {"sub-a1"}
    assert set(found("v-{case:?}.nii", tmp_path)) == {"x"}


def test_hidden_files_fit_no_pattern(tmp_path):
    touch(tmp_path, "a.nii", "._a.nii", ".cache/b.nii")
    assert set(found("{case}", tmp_path)) == {"a"}
    assert found("*/{case}", tmp_path) == {}


def test_a_pattern_that_fits_in_two_ways_is_refused_with_both(tmp_path):
    touch(tmp_path, "p_1_t1.nii")
    with pytest.raises(UsageError, match="case p and p_1") as caught:
        found("{case}_{modality}.nii", tmp_path)
    assert caught.value.code == "PFB-C51"
    assert "{case:#}" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "t1.nii.gz", "/{case}.nii", "../{case}.nii", "{case}//a.nii", "{cas}.nii",
             "{case.nii", "case}.nii", "{}"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_one_that_is(text):
    with pytest.raises(UsageError) as caught:
        Pattern.of(text, "--image", IMAGE)
    assert caught.value.where == "--image"
    assert "{case}" in caught.value.remedy


def test_patterns_of_images_need_patterns_of_labels(tmp_path):
    with pytest.raises(UsageError, match="together"):
        complete(DataRequest("folder", tmp_path, images=("{case}.nii",)))


# Files by patterns that a person wrote


def test_modalities_and_labels_are_found_by_patterns(tmp_path):
    for name in ("a", "b"):
        touch(tmp_path, f"x/{name}/t1c.nii", f"x/{name}/t2w.nii", f"y/{name}.nii.gz")
    asked = DataRequest(
        "folder", tmp_path, images=("t1c=x/{case}/t1c.nii", "t2=x/{case}/t2w.nii"),
        labels=("y/{case}.nii.gz",),
    )  # fmt: skip
    full = complete(asked)
    assert full.modalities == ("t1c", "t2")
    first, second = survey(full).require()
    assert (first.id, second.id) == ("a", "b")
    assert first.images == {"t1c": tmp_path / "x/a/t1c.nii", "t2": tmp_path / "x/a/t2w.nii"}
    assert first.label == tmp_path / "y/a.nii.gz"
    assert list(survey(complete(DataRequest(**{**vars(asked), "modalities": ("t2",)}))).cases) != []


def test_any_number_is_a_target_where_labels_have_no_names(tmp_path):
    for number in range(3):
        save(tmp_path / f"img/{number}.nii", image(number))
        save(tmp_path / f"seg/{number}.nii", block(2, 8, 7))
    patterns = {"images": ("img/{case}",), "labels": ("seg/{case}",)}
    asked = DataRequest("folder", tmp_path, reduce=SMALL, target="7", **patterns)
    prepared = prepare(asked, tmp_path / "cache")
    assert list(prepared.keys) == ["0", "1", "2"]
    assert open_volume(tmp_path / "cache", prepared.keys["0"]).label.any()


def test_modalities_of_one_pattern_are_volumes_of_one_file(tmp_path):
    touch(tmp_path, "img/a.nii", "seg/a.nii")
    images = ("t2=img/{case}.nii", "adc=img/{case}.nii")
    asked = DataRequest("folder", tmp_path, ("adc",), images=images, labels=("seg/{case}.nii",))
    [case] = survey(complete(asked)).require()
    assert case.channels == {"adc": 1}


def test_a_modality_with_a_file_of_its_own_has_no_number_in_it(tmp_path):
    touch(tmp_path, "img/a_t2.nii", "img/a_adc.nii", "seg/a.nii")
    images, labels = ("img/{case}_{modality}.nii",), ("seg/{case}.nii",)
    asked = DataRequest("folder", tmp_path, ("adc",), images=images, labels=labels)
    [case] = survey(complete(asked)).require()
    assert case.channels == {}


def test_masks_that_do_not_fit_each_other_are_a_fault_of_their_case(tmp_path):
    save(tmp_path / "c0/ct.nii", image(0))
    save(tmp_path / "c0/seg/liver.nii", block(0, 4))
    save(tmp_path / "c0/seg/lung.nii", block(0, 4)[1:])
    asked = DataRequest(
        "folder", tmp_path, target="liver,lung", reduce=SMALL,
        images=("ct={case}/ct",), labels=("{case}/seg/{target}",),
    )  # fmt: skip
    with pytest.raises(DataError, match="shape") as caught:
        prepare(asked, tmp_path / "cache")
    assert caught.value.where == "seg/lung.nii of c0"


def test_a_label_is_no_image_even_where_the_image_pattern_fits_it(tmp_path):
    touch(tmp_path, "a/a_t1.nii", "a/a_truth.nii")
    asked = DataRequest(
        "folder", tmp_path, images=("{case}/{case}_{modality}",), labels=("{case}/{case}_truth",)
    )
    assert complete(asked).modalities == ("t1",)


def test_masks_of_organs_are_joined_whatever_number_they_hold(tmp_path):
    for number in range(2):
        save(tmp_path / f"c{number}/ct.nii", image(number))
        save(tmp_path / f"c{number}/seg/liver.nii", block(0, 4))
        save(tmp_path / f"c{number}/seg/left lung.nii", block(6, 12, 255))
    asked = DataRequest(
        "folder", tmp_path, target="liver,left-lung", reduce=SMALL,
        images=("ct={case}/ct",), labels=("{case}/seg/{target}",),
    )  # fmt: skip
    assert set(contents_of(asked).targets) == {"liver", "left-lung"}
    prepared = prepare(asked, tmp_path / "cache")
    label = open_volume(tmp_path / "cache", prepared.keys["c0"]).label
    both = np.flatnonzero(label.any(axis=(1, 2)))
    alone = prepare(DataRequest(**{**vars(asked), "target": "left lung"}), tmp_path / "cache")
    assert alone.target == "left-lung"
    lung = open_volume(tmp_path / "cache", alone.keys["c0"]).label
    assert both.min() < np.flatnonzero(lung.any(axis=(1, 2))).min()


def test_a_mask_that_is_missing_is_named(tmp_path):
    touch(tmp_path, "c0/ct.nii", "c0/segmentations/liver.nii", "c1/ct.nii")
    full = complete(DataRequest("totalsegmentator", tmp_path, target="liver"))
    [fault] = survey(full).faults
    assert (fault.code, fault.where) == ("PFB-D02", "c1")
    assert "c1/segmentations/liver.nii.gz is missing" in fault.what


# Data sets as they are unpacked

UNPACKED = {
    "lits": ("Training Batch 1/volume-{n}.nii", "Training Batch 1/segmentation-{n}.nii"),
    "kits": ("case_0000{n}/imaging.nii.gz", "case_0000{n}/segmentation.nii.gz"),
    "totalsegmentator": ("s000{n}/ct.nii.gz", "s000{n}/segmentations/liver.nii.gz"),
    "amos": ("imagesTr/amos_000{n}.nii.gz", "labelsTr/amos_000{n}.nii.gz"),
    "acdc": ("training/patient00{n}/patient00{n}_frame01.nii.gz",
             "training/patient00{n}/patient00{n}_frame01_gt.nii.gz",
             "training/patient00{n}/patient00{n}_4d.nii.gz"),
    "hippocampus": ("imagesTr/hippocampus_00{n}.nii.gz", "labelsTr/hippocampus_00{n}.nii.gz",
                    "imagesTs/hippocampus_10{n}.nii.gz"),
    "braintumour": ("imagesTr/BRATS_00{n}.nii.gz", "labelsTr/BRATS_00{n}.nii.gz"),
    "prostate": ("imagesTr/prostate_0{n}_0000.nii.gz", "imagesTr/prostate_0{n}_0001.nii.gz",
                 "labelsTr/prostate_0{n}.nii.gz"),
    "bids": ("sub-s00{n}/ses-1/anat/sub-s00{n}_ses-1_space-MNI_T1w.nii.gz",
             "derivatives/lesions/sub-s00{n}/ses-1/anat/sub-s00{n}_ses-1_label-L_mask.nii.gz"),
    "brats": ("BraTS-GLI-0000{n}-000/BraTS-GLI-0000{n}-000-t2w.nii.gz",
              "BraTS-GLI-0000{n}-000/BraTS-GLI-0000{n}-000-seg.nii.gz"),
}  # fmt: skip


def unpacked(name: str, root: Path) -> Path:
    return touch(root, *(path.format(n=n) for path in UNPACKED[name] for n in (1, 2, 3)))


@pytest.mark.parametrize("name", UNPACKED)
def test_a_data_set_is_recognised_as_it_is_unpacked(name, tmp_path):
    root = unpacked(name, tmp_path)
    assert recognised(root) == name
    modalities = DATASETS[name].modalities
    target = "liver" if name in ("totalsegmentator", "amos") else ""
    found = cases(root, target=target)
    assert len(found) == 3
    for case in found.values():
        assert len(case.images) == max(1, len(modalities))
        assert all(path.is_file() for path in case.files)


def test_every_preset_names_its_first_target_or_asks_for_one():
    for preset in PRESETS.values():
        assert preset.choose or preset.targets
        assert preset.title and preset.expected


def test_volumes_of_a_fourth_axis_are_channels_in_the_order_of_the_task(tmp_path):
    case = cases(unpacked("braintumour", tmp_path), modalities=("t2w", "flair"))["BRATS_001"]
    assert case.channels == {"t2w": 3, "flair": 0}


def test_validation_cases_of_amos_are_used_too(tmp_path):
    touch(tmp_path, "imagesTr/amos_0001.nii", "labelsTr/amos_0001.nii")
    touch(tmp_path, "imagesVa/amos_0008.nii", "labelsVa/amos_0008.nii")
    assert set(cases(tmp_path, target="liver")) == {"amos_0001", "amos_0008"}


def test_grades_in_folders_of_their_own_are_read_together(tmp_path):
    for case in ("HGG/Brats18_A_1", "LGG/Brats18_B_1"):
        name = case.partition("/")[2]
        touch(tmp_path, f"{case}/{name}_t2.nii.gz", f"{case}/{name}_seg.nii.gz")
    assert recognised(tmp_path) == "brats"
    assert set(cases(tmp_path)) == {"Brats18_A_1", "Brats18_B_1"}


# BraTS by edition


def glioma(root: Path, case: str, sep: str, modality: str, labels=(1, 2, 3, 4)) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(labels):
        mask[:, 2 + 3 * place : 4 + 3 * place] = value
    save(root / case / f"{case}{sep}{modality}.nii.gz", image(len(list(root.rglob("*")))))
    save(root / case / f"{case}{sep}seg.nii.gz", mask)


NEW = [f"BraTS-GLI-0000{n}-100" for n in (5, 6, 7)]


@pytest.mark.parametrize("sep, modality", [("-", "t2f"), ("_", "flair")])
def test_since_2024_label_4_is_a_cavity_and_no_tumour(tmp_path, sep, modality):
    for case in NEW:
        glioma(tmp_path, case, sep, modality)
    found = check(tmp_path, None, ())
    assert found.faults == []
    assert any("label 3 is the enhancing rim, 4 a resection cavity" in n for n in found.notes)
    said_by_year = check(tmp_path, None, (), edition="2024").notes
    assert not any("resection cavity" in note for note in said_by_year)
    targets = contents_of(DataRequest("brats", tmp_path)).targets
    assert targets == {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,), "rc": (4,)}


def test_modalities_go_by_either_name(tmp_path):
    for case in NEW:
        touch(tmp_path, f"{case}/{case}-t2f.nii.gz", f"{case}/{case}-t2w.nii.gz")
        touch(tmp_path, f"{case}/{case}-seg.nii.gz")
    assert complete(DataRequest("brats", tmp_path)).modalities == ("t2w",)
    assert complete(DataRequest("brats", tmp_path, ("flair", "t2"))).modalities == ("t2f", "t2w")


def test_the_year_can_be_said_and_then_decides(tmp_path):
    for case in ("a", "b", "c"):
        glioma(tmp_path, case, "_", "t2", (1, 2, 3))
    early, late = (contents_of(DataRequest("brats", tmp_path, edition=y)) for y in ("2013", "2023"))
    assert (early.targets["tc"], late.targets["tc"]) == ((1, 3, 4), (1, 3))
    prepare(
        DataRequest("brats", tmp_path, edition="2023", target="et", reduce=FINE), tmp_path / "c"
    )
    with pytest.raises(UsageError, match="edition"):
        complete(DataRequest("brats", tmp_path, edition="2022"))
    with pytest.raises(UsageError, match="no use"):
        complete(DataRequest("liver", tmp_path, edition="2023"))


def test_labels_3_and_4_of_an_unknown_year_are_refused_for_every_target(tmp_path):
    for case in ("a", "b", "c"):
        glioma(tmp_path, case, "_", "t2")
    faults = check(tmp_path, "brats", ()).faults
    assert {fault.code for fault in faults} == {"PFB-D11"}
    assert "--edition" in faults[0].remedy


def test_a_2023_mask_with_a_fourth_label_is_refused(tmp_path):
    for case in NEW:
        glioma(tmp_path, case, "-", "t2w")
    codes = {fault.code for fault in check(tmp_path, "brats", (), edition="2023").faults}
    assert codes == {"PFB-V24"}


@pytest.mark.parametrize(
    "names", [("BraTS20_Training_001", "BraTS-GLI-00001-000"), ("BraTS-PED-00001-000",)]
)
def test_ids_that_do_not_tell_one_edition_are_refused(tmp_path, names):
    for case in names:
        touch(tmp_path, f"{case}/{case}_t2.nii", f"{case}/{case}_seg.nii")
    with pytest.raises(DataError, match="labels") as caught:
        complete(DataRequest("brats", tmp_path))
    assert caught.value.code == "PFB-D11" and "--edition" in caught.value.remedy
    assert complete(DataRequest("brats", tmp_path, edition="2024-ped")).target == "wt"


# What is not known


def test_an_unknown_layout_is_answered_with_patterns_that_fit_it(tmp_path):
    for n in range(6):
        touch(tmp_path, f"p{n}/scan.nii.gz", f"p{n}/tumour_mask.nii.gz")
    with pytest.raises(DataError, match="not known") as caught:
        recognised(tmp_path)
    assert caught.value.code == "PFB-D14"
    remedy = "--image 'scan={case}/scan.nii.gz' --label '{case}/tumour_mask.nii.gz'"
    assert caught.value.remedy == f"{remedy}, which fits 6 cases"
    asked = DataRequest("folder", tmp_path, images=("scan={case}/scan.nii.gz",),
                    labels=("{case}/tumour_mask.nii.gz",))  # fmt: skip
    assert len(survey(complete(asked)).require()) == 6


def test_a_flat_folder_is_answered_with_patterns_too(tmp_path):
    for n in range(6):
        touch(tmp_path, f"pat{n:02d}-mr.nii", f"pat{n:02d}-seg.nii")
    with pytest.raises(DataError) as caught:
        recognised(tmp_path)
    assert "--image 'mr={case}-mr.nii' --label '{case}-seg.nii'" in caught.value.remedy


def test_what_is_said_of_many_cases_does_not_grow_with_their_square(tmp_path):
    def told(count: int) -> int:
        root = tmp_path / str(count)
        for n in range(count):
            touch(root, f"case{n:04d}/x{n:04d}.nii.gz", f"case{n:04d}/mask{n:04d}.nii.gz")
        return sum(len(str(fault)) for fault in check(root, None, ()).faults)

    assert told(40) <= 2.5 * told(20)


def test_a_mask_is_never_offered_as_a_modality(tmp_path):
    for case in ("BraTS20_Training_001", "BraTS20_Training_002"):
        touch(tmp_path, f"{case}/{case}_t2.nii", f"{case}/{case}_seg.nii")
    touch(tmp_path, "BraTS20_Training_001/BraTS20_Training_001_seg_2.nii")
    touch(tmp_path, "BraTS20_Training_001/BraTS20_Training_001_brain-mask.nii")
    assert contents_of(DataRequest("brats", tmp_path)).available == ("t2",)


def test_a_modality_that_no_case_has_is_one_fault(tmp_path):
    for case in ("BraTS20_Training_001", "BraTS20_Training_002"):
        touch(tmp_path, f"{case}/{case}_t2.nii", f"{case}/{case}_seg.nii")
    [fault] = survey(complete(DataRequest("brats", tmp_path, ("adc",)))).faults
    assert (fault.code, fault.remedy) == ("PFB-D01", "--modalities t2")


# Liver


def test_the_liver_is_the_organ_with_its_tumours(tmp_path):
    for number in range(3):
        save(tmp_path / f"images/{number}.nii", image(number))
        label = block(2, 10)
        label[4:6] *= 2
        save(tmp_path / f"labels/{number}.nii", label)
    contents = contents_of(DataRequest("liver", tmp_path))
    assert (contents.default, contents.targets) == ("liver", {"liver": (1, 2), "tumour": (2,)})
    whole = prepare(DataRequest("liver", tmp_path, reduce=FINE), tmp_path / "cache")
    part = prepare(DataRequest("liver", tmp_path, target="1", reduce=FINE), tmp_path / "cache")
    sums = [
        int(open_volume(tmp_path / "cache", made.keys["0"]).label.sum()) for made in (whole, part)
    ]
    assert sums[0] >= sums[1] and whole.fingerprint != part.fingerprint


@pytest.mark.parametrize(
    "name, targets",
    [("braintumour", {"wt": (1, 2, 3), "tc": (2, 3), "et": (3,)}), ("heart", {"atrium": (1,)}),
     ("hippocampus", {"hippocampus": (1, 2), "anterior": (1,), "posterior": (2,)}),
     ("prostate", {"prostate": (1, 2), "pz": (1,), "tz": (2,)}), ("lung", {"tumour": (1,)}),
     ("pancreas", {"pancreas": (1, 2), "tumour": (2,)}),
     ("hepaticvessel", {"vessel": (1,), "tumour": (2,)}), ("spleen", {"spleen": (1,)}),
     ("colon", {"tumour": (1,)}), ("bids", {"mask": (1,)}),
     ("kits", {"kidney": (1, 2, 3), "masses": (2, 3), "tumour": (2,), "cyst": (3,)}),
     ("lits", {"liver": (1, 2), "tumour": (2,)})],
)  # fmt: skip
def test_labels_mean_what_the_dataset_json_of_the_organisers_says(name, targets):
    assert PRESETS[name].targets == targets


def test_a_folder_whose_dataset_json_has_other_cases_or_labels_is_no_preset(tmp_path):
    """Names of one preset in the layout of nnU-Net: dataset.json and cases decide."""
    for number in (1, 2):
        for place in ("imagesTr", "labelsTr"):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"spleen_{number}.nii.gz").touch()
    told = tmp_path / "dataset.json"
    told.write_text('{"labels": {"background": 0, "spleen": 1}}')
    assert recognised(tmp_path) == "spleen"
    told.write_text('{"labels": {"background": 0, "spleen": 1, "hole": 2}}')
    assert recognised(tmp_path) == "folder"
    told.write_text('{"labels": {"background": 0, "liver": 1, "hole": 2}}')
    assert recognised(tmp_path) == "liver"
    told.write_text('{"labels": {"background": 0, "spleen": 1}}')
    for place in ("imagesTr", "labelsTr"):
        (tmp_path / place / "another_1.nii.gz").touch()
    assert recognised(tmp_path) == "folder"
    told.write_text("{")
    assert recognised(tmp_path) == "liver"  # whose reader tells what is wrong with it


def test_images_alone_make_no_preset_of_a_folder_with_a_dataset_json(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "spleen_1.nii.gz").touch()
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "spleen": 1}}')
    assert recognised(tmp_path) == "folder"
