"""dataset.json as nnU-Net, Decathlon and MONAI write it: followed, or refused."""

import json
from pathlib import Path

import pytest

from harness.data import dataset_json
from harness.data.case import Case
from harness.data.dataset_json import shown
from harness.data.names import words_of
from harness.data.request import DataRequest, complete, contents_of, survey
from harness.errors import DataError

V2 = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read")


def told(root: Path, content: dict) -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return root


def cases(root: Path, dataset: str = "folder", **asked) -> dict[str, Case]:
    return {c.id: c for c in survey(complete(DataRequest(dataset, root, **asked))).require()}


def refusal(root: Path, content: dict) -> DataError:
    with pytest.raises(DataError) as caught:
        dataset_json.read(told(root, content))
    return caught.value


@pytest.mark.parametrize("dataset", ["folder", "liver"])
def test_lists_of_nnunet_v1_name_no_channels_but_the_files_do(tmp_path, dataset):
    names = ("liver_0", "liver_1")
    entry = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    labels = {"0": "background", "1": "liver"}
    told(tmp_path, {"modality": {"0": "CT"}, "labels": labels, "training": entry})
    for name in names:
        touch(tmp_path, f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz")
    found = cases(tmp_path, dataset)
    assert list(found) == ["liver_0", "liver_1"]
    [image] = found["liver_1"].images.values()
    assert image == tmp_path / "imagesTr/liver_1_0000.nii.gz"


def test_a_channel_can_be_named_by_its_number(tmp_path):
    told(tmp_path, {**V2, "channel_names": {"0": "T1", "1": "T2"}})
    assert contents_of(DataRequest("folder", tmp_path)).modality("1") == "T2"


def test_the_key_dataset_decides_which_files_and_cases_count(tmp_path):
    for name in ("a", "b", "unlisted"):
        touch(tmp_path, f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz")
        touch(tmp_path, f"labelsTr2/{name}.nii.gz")
    listed = {
        n: {"images": [f"imagesTr/{n}_0000.nii.gz"], "label": f"labelsTr2/{n}.nii.gz"}
        for n in ("a", "b")
    }
    found = cases(told(tmp_path, {**V2, "dataset": listed}))
    assert set(found) == {"a", "b"}
    assert found["a"].label == tmp_path / "labelsTr2/a.nii.gz"


def monai(root: Path, folds: tuple[int | None, ...]) -> Path:
    training = []
    for n, fold in enumerate(folds):
        touch(root, *(f"c{n}/c{n}_{kind}.nii.gz" for kind in ("flair", "t1ce", "seg")))
        images = [f"c{n}/c{n}_flair.nii.gz", f"c{n}/c{n}_t1ce.nii.gz"]
        entry = {"image": images, "label": f"c{n}/c{n}_seg.nii.gz"}
        training.append(entry if fold is None else {"fold": fold, **entry})
    return told(root, {"modality": {"0": "flair", "1": "t1ce"}, "training": training})


def test_a_list_of_images_is_a_file_for_each_channel(tmp_path):
    root = monai(tmp_path, (0, 1, 1))
    found = cases(root)
    assert list(found) == ["c0", "c1", "c2"]
    assert found["c1"].images == {
        "flair": root / "c1/c1_flair.nii.gz", "t1ce": root / "c1/c1_t1ce.nii.gz",
    }  # fmt: skip
    assert survey(complete(DataRequest("folder", root))).folds == {"c0": 0, "c1": 1, "c2": 1}


def test_folds_of_some_cases_only_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 of 3 cases have no 'fold', such as c1"):
        dataset_json.read(monai(tmp_path, (0, None, 1)))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    training = []
    for n in range(2):
        touch(tmp_path, f"p{n}/ct.nii.gz", f"p{n}/seg.nii.gz")
        training.append({"image": f"p{n}/ct.nii.gz", "label": f"p{n}/seg.nii.gz"})
    assert list(cases(told(tmp_path, {"training": training}))) == ["p0", "p1"]


def test_validation_cases_with_labels_are_used_and_said(tmp_path):
    touch(tmp_path, "tr/a.nii.gz", "l/a.nii.gz", "va/b.nii.gz", "l/b.nii.gz", "va/c.nii.gz")
    content = {
        "training": [{"image": "tr/a.nii.gz", "label": "l/a.nii.gz"}],
        "validation": [{"image": "va/b.nii.gz", "label": "l/b.nii.gz"}, "va/c.nii.gz"],
        "test": ["ts/d.nii.gz"],
    }
    assert set(cases(told(tmp_path, content))) == {"a", "b"}
    used, left_out = dataset_json.read(tmp_path).notes
    assert "1 cases of 'validation' are used" in used and "left out" in left_out


def test_a_listed_label_that_is_not_there_is_a_case_without_label(tmp_path):
    touch(tmp_path, "imagesTr/amos_0001.nii.gz", "imagesTr/amos_0007.nii.gz")
    touch(tmp_path, "labelsTr/amos_0001.nii.gz")
    names = ("amos_0001", "amos_0007")
    entry = [{"image": f"imagesTr/{n}.nii.gz", "label": f"labelsTr/{n}.nii.gz"} for n in names]
    root = told(tmp_path, {**V2, "training": entry})
    [fault] = survey(complete(DataRequest("folder", root))).faults
    assert (fault.code, fault.where) == ("PFB-D02", "amos_0007")


def test_names_that_end_in_four_digits_are_cases_where_labels_are_called_so(tmp_path):
    for n in (1, 4, 7):
        touch(tmp_path, f"imagesTr/amos_000{n}.nii.gz")
    touch(tmp_path, "labelsTr/amos_0001.nii.gz", "labelsTr/amos_0004.nii.gz")
    [fault] = survey(complete(DataRequest("folder", tmp_path))).faults
    assert (fault.code, fault.where) == ("PFB-D02", "amos_0007")


def test_names_that_end_in_four_digits_are_channels_where_labels_are_called_otherwise(tmp_path):
    for case in ("a", "b", "c"):
        touch(tmp_path, f"imagesTr/{case}_0000.nii.gz", f"imagesTr/{case}_0001.nii.gz")
    touch(tmp_path, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    [fault] = survey(complete(DataRequest("folder", tmp_path))).faults
    assert (fault.code, fault.where) == ("PFB-D02", "c")


@pytest.mark.parametrize(
    "names, words",
    [
        (("background", "肝脏", "肿瘤"), ("background", "label-1", "label-2")),
        (("background", "ER+", "ER-"), ("background", "ER-1", "ER-2")),
        (("GTV (p)", "core"), ("GTV-p", "core")),
        (("a", "A"), ("a-0", "A-1")),
        (("2", "1"), ("label-0", "label-1")),
        (("x-1", "x+", "x"), ("x-1", "x-1x", "x-2")),
    ],
)
def test_names_that_collapse_keep_words_of_their_own(names, words):
    assert words_of(names)[0] == words


def test_a_number_is_always_a_target_and_a_name_as_it_is_written_too(tmp_path):
    labels = {"background": 0, "肝脏": 1, "prostate/uterus": 2, "all": [1, 2]}
    root = told(tmp_path, {**V2, "labels": labels})
    contents = contents_of(DataRequest("folder", root))
    assert contents.targets == {
        "label-1": (1,), "prostate-uterus": (2,), "all": (1, 2), "1": (1,), "2": (2,),
        "foreground": (1, 2),
    }  # fmt: skip
    for asked, target in {
        "肝脏": "label-1",
        "prostate/uterus": "prostate-uterus",
        "2": "2",
    }.items():
        assert complete(DataRequest("folder", root, target=asked)).target == target


@pytest.mark.parametrize(
    "content",
    [
        {"dataset": {"a": {"images": "a.nii.gz", "label": "b.nii.gz"}}},
        {"dataset": {"a": {"images": ["a.nii.gz"]}}},
        {"dataset": {"a": {"images": ["a.nii.gz"], "label": "b.nii.gz", "crop": [0, 1]}}},
        {"dataset": {}},
        {"dataset": []},
        {**V2, "dataset": {"a": {"images": ["a.nii.gz", "b.nii.gz"], "label": "c.nii.gz"}}},
        {"training": [{"image": "a.nii.gz", "label": ["b.nii.gz", "c.nii.gz"]}]},
        {"training": [{"image": {"t1": "a.nii.gz"}, "label": "b.nii.gz"}]},
        {"training": [{"image": [], "label": "b.nii.gz"}]},
        {"training": [{"image": "a.nii.gz", "label": "b.nii.gz", "fold": "first"}]},
        {"training": {"a": "b"}},
        {"labels": {"background": 0, "ignore": 1}},
        {"labels": {"tumour": 1.5}},
        {"labels": {"tumour": 300}},
        {"channel_names": {"1": "CT"}},
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_can(tmp_path, content):
    fault = refusal(tmp_path, content)
    assert (fault.code, fault.where) == ("PFB-D09", "dataset.json")
    assert fault.remedy


@pytest.mark.parametrize("path", ["../a.nii.gz", "/etc/passwd"])
def test_no_list_leads_out_of_the_folder(tmp_path, path):
    entry = {"images": [path], "label": "b.nii.gz"}
    assert refusal(tmp_path / "data", {"dataset": {"a": entry}}).code == "PFB-D06"


def test_a_value_in_a_message_is_short_and_printable():
    assert shown("x" * 60 + "y") == "x" * 60
    assert shown("\x1b[1mü") == "?[1m?"
