"""From a folder to prepared volumes: what is found, what is refused, and in which words."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data import brats, liver, phantom
from harness.data.cache import open_volume
from harness.data.case import Contents, valid_case_id
from harness.data.check import check
from harness.data.datasets import DATASETS
from harness.data.request import DataRequest, complete, survey
from harness.data.scans import Rules, _foreign, is_rim
from harness.data.volumes import prepare
from harness.errors import DataError, UsageError

TOP = Path(__file__).parent.parent
DATA = Path(os.environ.get("PFBENCH_TEST_DATA", TOP.parent / "shared" / "data"))
SMALL = (8, 12, 12)
SHAPE = (12, 120, 132)
FIRST, SECOND = "BraTS20_Training_001", "BraTS20_Training_002"


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "brats"
    phantom.write(folder, 3, SHAPE)
    return folder


@pytest.fixture
def root(made, tmp_path):
    """Three small patients in the layout of BraTS, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def save(path: Path, array: np.ndarray, affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4) if affine is None else affine), path)


def request(root: Path, **changes) -> DataRequest:
    return DataRequest("brats", root, ("flair",), reduce=SMALL, **changes)


def only_fault(root: Path, modalities=("flair",)) -> DataError:
    [fault] = check(root, "brats", modalities).faults
    return fault


def test_a_good_folder_has_no_fault_and_is_recognised(root):
    assert check(root, None, ()).faults == []


def test_a_patient_is_found_with_its_files_in_the_order_asked_for(root):
    first, *_ = survey(complete(DataRequest("brats", root, ("t2", "flair")))).require()
    assert first.id == FIRST
    assert list(first.images) == ["t2", "flair"]
    assert first.images["t2"] == root / FIRST / f"{FIRST}_t2.nii.gz"
    assert first.label == root / FIRST / f"{FIRST}_seg.nii.gz"


def test_prepared_volumes_are_those_of_the_recipe(root, tmp_path):
    prepared = prepare(request(root), tmp_path / "cache")
    assert prepared.grid == (16, 16, 16)
    assert (prepared.modalities, prepared.target) == (("flair",), "wt")
    assert list(prepared.keys) == [FIRST, SECOND, "BraTS20_Training_003"]
    volume = open_volume(tmp_path / "cache", prepared.keys[SECOND])
    assert volume.case == SECOND
    assert volume.image.shape == (1, 16, 16, 16)
    assert set(np.unique(volume.label)) == {0, 1}


def test_modalities_become_channels_in_the_order_asked_for(root, tmp_path):
    one = prepare(DataRequest("brats", root, ("t1", "t2"), reduce=SMALL), tmp_path)
    other = prepare(DataRequest("brats", root, ("t2", "t1"), reduce=SMALL), tmp_path)
    images = [open_volume(tmp_path, made.keys[FIRST]).image for made in (one, other)]
    np.testing.assert_array_equal(images[0], images[1][::-1])
    assert one.fingerprint != other.fingerprint


def test_a_second_call_uses_what_is_there(root, tmp_path):
    first = prepare(request(root), tmp_path / "cache")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert prepare(request(root), tmp_path / "cache") == first
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_damaged_entry_is_made_again(root, tmp_path):
    cache = tmp_path / "cache"
    key = prepare(request(root), cache).keys[FIRST]
    before = np.array(open_volume(cache, key).image)
    (cache / key / "image.npy").write_bytes(b"damaged")
    prepare(request(root), cache)
    np.testing.assert_array_equal(open_volume(cache, key).image, before)


def test_the_fingerprint_follows_content_not_place(root, tmp_path):
    first = prepare(request(root), tmp_path / "cache")
    moved = root.rename(tmp_path / "elsewhere")
    assert prepare(request(moved), tmp_path / "cache").fingerprint == first.fingerprint
    shutil.copy(moved / FIRST / f"{FIRST}_t1.nii.gz", moved / FIRST / f"{FIRST}_flair.nii.gz")
    changed = prepare(request(moved), tmp_path / "cache")
    assert changed.fingerprint != first.fingerprint
    assert [case for case in first.keys if first.keys[case] != changed.keys[case]] == [FIRST]


def test_progress_counts_every_case_once(root, tmp_path):
    told = []
    prepare(request(root), tmp_path / "c", progress=lambda *state: told.append(state))
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert {case for _, _, case in told} == {path.name for path in root.iterdir() if path.is_dir()}


def test_the_number_of_workers_does_not_matter(root, tmp_path):
    made = [prepare(request(root), tmp_path / str(n), workers=n) for n in (1, 4)]
    assert made[0] == made[1]


def test_phantom_folders_are_known_to_be_synthetic_and_others_are_not(root, tmp_path):
    assert prepare(request(root), tmp_path / "cache").synthetic
    (root / phantom.MARKER).unlink()
    assert not prepare(request(root), tmp_path / "cache").synthetic


def test_the_phantom_needs_no_folder_and_comes_on_the_reduced_grid(tmp_path):
    prepared = prepare(DataRequest("phantom", reduce=(4, 6, 6), cases=3), tmp_path)
    assert prepared.synthetic
    assert list(prepared.keys) == ["phantom_001", "phantom_002", "phantom_003"]
    volume = open_volume(tmp_path, prepared.keys["phantom_002"])
    assert volume.image.shape == (1, *prepared.grid) == (1, 32, 32, 32)
    assert (volume.image.min(), volume.image.max()) == (0, 1)
    assert volume.spacing_mm == pytest.approx((155 / 32, 6, 6))
    assert volume.label.any()


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"target": "et"}, {"modalities": ("t2",)}, {"reduce": (8, 6, 6)}]
)
def test_another_phantom_has_another_fingerprint(tmp_path, change):
    base = {"dataset": "phantom", "reduce": (8, 12, 12), "cases": 2}
    plain = prepare(DataRequest(**base), tmp_path)
    other = prepare(DataRequest(**(base | change)), tmp_path)
    assert plain.fingerprint != other.fingerprint
    assert not set(plain.keys.values()) & set(other.keys.values())


# What is refused: D1-D13, V24-V28


def test_d1_a_missing_modality_is_named_with_what_there_is(root):
    (root / FIRST / f"{FIRST}_t1ce.nii.gz").unlink()
    fault = only_fault(root, ("t1ce", "t2"))
    assert fault.code == "PFB-D01"
    assert str(fault).startswith(f"error[PFB-D01]: {FIRST}: missing t1ce; found flair, t1, t2")
    assert fault.remedy == "--modalities flair"
    assert only_fault(root, ()).code == "PFB-D01"


def test_d2_a_missing_label(root):
    (root / FIRST / f"{FIRST}_seg.nii.gz").unlink()
    assert (only_fault(root).code, only_fault(root).where) == ("PFB-D02", FIRST)


def test_d3_the_same_file_packed_and_unpacked(root):
    flair = root / FIRST / f"{FIRST}_flair.nii"
    nibabel.save(nibabel.Nifti1Image.load(f"{flair}.gz"), flair)
    fault = only_fault(root)
    assert fault.code == "PFB-D03"
    assert "_flair.nii and " in fault.what and "_flair.nii.gz" in fault.what


def test_d3_two_ids_that_differ_in_case_only(root):
    lower = root / FIRST.lower()
    (root / SECOND).rename(lower)
    for path in lower.iterdir():
        path.rename(lower / path.name.replace(SECOND, FIRST.lower()))
    fault = only_fault(root)
    assert fault.code == "PFB-D03"
    assert FIRST in fault.what and FIRST.lower() in fault.what


@pytest.mark.parametrize("name", ["-rf", "a b", "Patiеnt", "x" * 65, "a\x1bb", "a\nb"])
def test_d4_a_folder_that_cannot_be_an_id(root, name):
    (root / FIRST).rename(root / name)
    fault = only_fault(root)
    assert fault.code == "PFB-D04"
    assert str(fault).isprintable() and str(fault).isascii()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0", "a\n", ".a", "é", "x" * 65])
def test_d4_unsafe_names_are_no_ids(name):
    assert not valid_case_id(name)


@pytest.mark.parametrize("name", ["a", "BraTS20_Training_001", "1.2-x_", "x" * 64])
def test_d4_usual_names_are_ids(name):
    assert valid_case_id(name)


def replace_by_link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def test_d5_d6_d7_links_and_files_that_are_none(root, tmp_path):
    flair = root / FIRST / f"{FIRST}_flair.nii.gz"
    outside = tmp_path / "outside.nii.gz"
    shutil.copy(flair, outside)
    replace_by_link(flair, flair)
    assert (only_fault(root).code, only_fault(root).what) == ("PFB-D05", "symlink loop")
    replace_by_link(flair, Path("gone.nii.gz"))
    assert (only_fault(root).code, "gone.nii.gz" in only_fault(root).what) == ("PFB-D06", True)
    replace_by_link(flair, outside)
    assert (only_fault(root).code, str(outside) in only_fault(root).what) == ("PFB-D06", True)
    flair.unlink()
    os.mkfifo(flair)
    assert (only_fault(root).code, only_fault(root).what) == ("PFB-D07", "not a regular file")


def test_a_link_within_the_folder_is_fine(root):
    flair = root / FIRST / f"{FIRST}_flair.nii.gz"
    moved = flair.rename(root / "flair_of_1.nii.gz")
    flair.symlink_to(moved)
    assert check(root, "brats", ("flair",)).faults == []


def test_d8_the_same_patient_under_two_ids(root, tmp_path):
    for path in (root / FIRST).iterdir():
        shutil.copy(path, root / SECOND / path.name.replace(FIRST, SECOND))
    fault = only_fault(root)
    assert fault.code == "PFB-D08" and FIRST in fault.what and SECOND in fault.what
    with pytest.raises(DataError, match="the same image") as caught:
        prepare(request(root), tmp_path / "cache")
    assert caught.value.code == "PFB-D08"


@pytest.mark.parametrize("dataset", ["brats", "liver", None])
def test_d9_an_empty_folder(tmp_path, dataset):
    [fault] = check(tmp_path, dataset, ()).faults
    assert fault.code == "PFB-D09" and "0 cases" in fault.what


def test_d9_a_folder_that_is_not_there(tmp_path):
    assert [fault.code for fault in check(tmp_path / "gone", None, ()).faults] == ["PFB-D09"]
    with pytest.raises(DataError, match="no such folder"):
        prepare(request(tmp_path / "gone"), tmp_path / "cache")


def relabel(root: Path, case: str, old: int, new: int) -> None:
    path = root / case / f"{case}_seg.nii.gz"
    label = np.asarray(nibabel.Nifti1Image.load(path).dataobj).T
    save(path, np.where(label == old, new, label).astype(np.uint8))


def test_d11_masks_of_two_editions(root, tmp_path):
    relabel(root, SECOND, 4, 3)
    fault = only_fault(root)
    assert (fault.code, fault.where) == ("PFB-D11", SECOND)
    with pytest.raises(DataError) as caught:
        prepare(request(root), tmp_path / "cache")
    assert caught.value.code == "PFB-D11"


def test_d11_label_3_leaves_the_whole_tumour_clear_and_its_parts_not(root, tmp_path):
    for case in [path.name for path in root.iterdir() if path.is_dir()]:
        relabel(root, case, 4, 3)
    whole = prepare(request(root), tmp_path / "cache")
    assert open_volume(tmp_path / "cache", whole.keys[FIRST]).label.any()
    with pytest.raises(DataError, match=r"labels \{0, 1, 2, 3\} vs declared \{0, 1, 2, 4\}"):
        prepare(request(root, target="tc"), tmp_path / "cache")


def test_d13_modalities_of_different_shape(root):
    save(root / FIRST / f"{FIRST}_t2.nii.gz", np.arange(27, dtype=np.float32).reshape(3, 3, 3))
    fault = only_fault(root, ("flair", "t2"))
    assert fault.code == "PFB-D13"
    assert "(3, 3, 3)" in fault.what and str(SHAPE) in fault.what


def test_v24_a_label_that_brats_does_not_have(root):
    relabel(root, FIRST, 2, 9)
    fault = only_fault(root)
    assert fault.code == "PFB-V24" and "9: " in fault.what


def test_v24_five_strange_labels_are_counted_and_no_more():
    rules = Rules("brats", "wt", frozenset({0}))
    mask = np.arange(8).reshape(2, 2, 2)
    [fault] = _foreign(Path("a.nii.gz"), mask, np.bincount(mask.ravel()), rules)
    assert fault.what.endswith("1: 1, 2: 1, 3: 1, 4: 1, 5: 1")


def test_v25_an_empty_label_is_a_note(root, tmp_path):
    save(root / FIRST / f"{FIRST}_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    for _ in range(2):  # also when it comes from the cache
        [note] = prepare(request(root), tmp_path / "cache").notes
        assert FIRST in note and "empty" in note


def test_v27_v28_a_label_of_another_shape_or_place(root):
    path = root / FIRST / f"{FIRST}_seg.nii.gz"
    label = np.asarray(nibabel.Nifti1Image.load(path).dataobj).T
    save(path, label[1:])
    assert only_fault(root).code == "PFB-V27"
    moved = np.eye(4)
    moved[0, 3] = 5
    save(path, label, moved)
    assert only_fault(root).code == "PFB-V28"


def test_a_label_stored_the_other_way_round_is_no_fault(root):
    path = root / FIRST / f"{FIRST}_seg.nii.gz"
    label = np.asarray(nibabel.Nifti1Image.load(path).dataobj).T
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SHAPE[2] - 1
    save(path, label[..., ::-1], flipped)
    assert check(root, "brats", ("flair",)).faults == []


def test_all_faults_of_all_cases_are_told_at_once(root, tmp_path):
    (root / FIRST / f"{FIRST}_seg.nii.gz").unlink()
    (root / SECOND / f"{SECOND}_flair.nii.gz").write_bytes(b"")
    third = "BraTS20_Training_003"
    (root / third / f"{third}_seg.nii.gz").write_bytes(b"no gzip")
    save(root / third / f"{third}_flair.nii.gz", np.ones(SHAPE, np.float32))
    expected = ["PFB-D02", "PFB-V01", "PFB-V06", "PFB-V22"]
    assert sorted(fault.code for fault in check(root, "brats", ("flair",)).faults) == expected
    with pytest.raises(DataError) as caught:
        prepare(request(root), tmp_path / "cache")
    assert all(f"error[{code}]" in str(caught.value) for code in expected)
    assert len(str(caught.value).splitlines()) == 5


def test_folders_without_volumes_and_hidden_files_are_no_patients(root):
    (root / "documents").mkdir()
    (root / "documents" / "readme.pdf").write_text("")
    (root / "._.DS_Store").write_text("")
    (root / FIRST / f"._{FIRST}_flair.nii.gz").write_text("")
    (root / "survival_info.csv").write_text("")
    assert check(root, "brats", ("flair",)).faults == []


def test_the_misnamed_mask_of_patient_355_is_taken_and_noted(root, tmp_path):
    case = "BraTS20_Training_355"
    folder = (root / SECOND).rename(root / case)
    for path in folder.iterdir():
        path.rename(folder / path.name.replace(SECOND, case))
    mask = nibabel.Nifti1Image.load(folder / f"{case}_seg.nii.gz")
    nibabel.save(mask, folder / "W39_1998.09.19_Segm.nii")
    (folder / f"{case}_seg.nii.gz").unlink()
    [note] = prepare(request(root), tmp_path / "cache").notes
    assert case in note and "W39_1998.09.19_Segm.nii" in note


@pytest.mark.parametrize(
    "wrong",
    [
        DataRequest("brain"),
        DataRequest("brats"),
        DataRequest("phantom", target="liver"),
        DataRequest("phantom", modalities=("ct",)),
        DataRequest("phantom", modalities=("flair", "flair")),
        DataRequest("phantom", reduce=(3, 3, 3)),
        DataRequest("liver", TOP, ("ct", "mr")),
    ],
)
def test_names_that_do_not_exist_are_usage_errors(wrong, tmp_path):
    with pytest.raises(UsageError):
        prepare(wrong, tmp_path)


# Liver


def body(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 50, (12, 16, 16)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[3:9, 4:12, 4:12] = 1
    return image, label


def write_pairs(root: Path, images: str, labels: str, suffix: str = "") -> Path:
    for number in range(3):
        for folder, array, end in zip((images, labels), body(number), (suffix, ""), strict=True):
            save(root / folder / f"liver_{number}{end}.nii.gz", array, np.diag([12.0, 12, 12, 1]))
    return root


@pytest.mark.parametrize(
    "layout",
    [("images", "labels", ""), ("imagesTr", "labelsTr", ""), ("imagesTr", "labelsTr", "_0000")],
)
def test_liver_images_and_labels_are_paired_by_name(tmp_path, layout):
    root = write_pairs(tmp_path / "data", *layout)
    assert check(root, None, ()).faults == []
    prepared = prepare(DataRequest("liver", root, reduce=SMALL), tmp_path / "cache")
    assert list(prepared.keys) == ["liver_0", "liver_1", "liver_2"]
    volume = open_volume(tmp_path / "cache", prepared.keys["liver_1"])
    assert volume.spacing_mm == (12, 18, 18)


def decathlon(root: Path, entries: list[dict[str, str]]) -> Path:
    write_pairs(root, "scans", "masks")
    (root / "dataset.json").write_text(json.dumps({"training": entries}))
    return root


def entry(number: int) -> dict[str, str]:
    return {"image": f"./scans/liver_{number}.nii.gz", "label": f"./masks/liver_{number}.nii.gz"}


def test_liver_decathlon_lists_are_followed(tmp_path):
    root = decathlon(tmp_path, [entry(0), entry(2)])
    assert [case.id for case in liver.cases(root, ("ct",))] == ["liver_0", "liver_2"]


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/passwd", "a\0b.nii.gz"])
def test_liver_lists_cannot_lead_out_of_the_folder(tmp_path, path):
    root = decathlon(tmp_path / "data", [{"image": path, "label": entry(0)["label"]}])
    assert [fault.code for fault in check(root, "liver", ()).faults] == ["PFB-D06"]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"training": [1]}', '{"training": [{"image": "a"}]}']
)
def test_liver_lists_that_are_none_are_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    assert [fault.code for fault in check(tmp_path, "liver", ()).faults] == ["PFB-D09"]


def test_liver_cases_that_lack_an_image_or_a_label_or_are_there_twice(tmp_path):
    root = write_pairs(tmp_path, "images", "labels")
    (root / "images" / "liver_0.nii.gz").unlink()
    (root / "labels" / "liver_1.nii.gz").unlink()
    save(root / "images" / "liver_2.nii", body(2)[0])
    faults = check(root, "liver", ()).faults
    assert [fault.code for fault in faults] == ["PFB-D01", "PFB-D02", "PFB-D03"]


def test_liver_listed_twice_is_refused(tmp_path):
    root = decathlon(tmp_path, [entry(0), entry(1), entry(0)])
    faults = check(root, "liver", ()).faults
    assert [fault.code for fault in faults] == ["PFB-D03"] * 2  # the image, and the label


def test_liver_without_liver_cannot_be_prepared(tmp_path):
    root = write_pairs(tmp_path / "data", "images", "labels")
    save(
        root / "labels" / "liver_1.nii.gz",
        np.zeros((12, 16, 16), np.uint8),
        np.diag([12.0, 12, 12, 1]),
    )
    with pytest.raises(DataError, match="no liver") as caught:
        prepare(DataRequest("liver", root, reduce=SMALL), tmp_path / "cache")
    assert caught.value.where == "liver_1"


# The whole


def test_the_list_of_data_sets_loads_no_heavy_library():
    code = (
        "import sys, harness.data.datasets\n"
        "print({'torch', 'scipy', 'nibabel', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP
    )
    assert done.stdout == "set()\n"


def test_every_data_set_says_under_which_licence_it_comes():
    assert all(entry.licence and entry.title for entry in DATASETS.values())


@pytest.mark.skipif(not (DATA / "brats_sample").is_dir(), reason="no real patients here")
def test_real_patients_are_prepared_without_a_fault(tmp_path):
    root = DATA / "brats_sample"
    prepared = prepare(DataRequest("brats", root, ("flair",), reduce=(2, 3, 3)), tmp_path)
    assert len(prepared.keys) == 4 and not prepared.synthetic
    for key in prepared.keys.values():
        volume = open_volume(tmp_path, key)
        assert volume.image.shape == (1, 64, 64, 64)
        inside = volume.image[0][volume.label > 0].mean()
        assert inside > volume.image[0][volume.label == 0].mean()
        assert 0.001 < volume.label.mean() < 0.1


@pytest.mark.skipif(not (DATA / "brats_sample").is_dir(), reason="no real patients here")
def test_real_patients_have_no_fault():
    faults, notes, targets, found = check(DATA / "brats_sample", None, ())
    assert (faults, notes) == ([], [])
    assert all(one.lost < 0.02 and one.cut == 0 for one in targets["wt"].values())
    assert found.startswith("brats ") and "4 cases with flair, t1ce" in found


@pytest.mark.skipif(not (DATA / "real").is_dir(), reason="no real volumes here")
@pytest.mark.parametrize(
    "label, expected",
    [
        ("broken/derived/same_space_flipped_storage_label", []),
        ("ibsi-sts/STS_025/MR_T1_mask", []),
        ("broken/derived/one_slice_short_label", ["PFB-V27"]),
        ("broken/derived/shifted_affine_label", ["PFB-V28"]),
    ],
)
def test_a_real_image_and_masks_that_fit_or_do_not(tmp_path, label, expected):
    for folder, source in {
        "images": "ibsi-sts/STS_025/MR_T1_image",
        "labels": label,
    }.items():
        (tmp_path / folder).mkdir()
        shutil.copy(DATA / "real" / f"{source}.nii.gz", tmp_path / folder / "a.nii.gz")
    assert [fault.code for fault in check(tmp_path, "liver", ()).faults] == expected


def test_labels_mean_what_the_organisers_say_in_each_edition_of_brats():
    """Rim (enhancing) 4 until 2021 and 3 since; of children 1 is enhancing, 3 cyst, 4 oedema."""
    assert {name: edition.targets for name, edition in brats.EDITIONS.items()} == {
        "2016": {"wt": (1, 2, 3, 4), "tc": (1, 3, 4), "et": (4,)},
        "2021": {"wt": (1, 2, 4), "tc": (1, 4), "et": (4,)},
        "2023": {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)},
        "2025": {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,), "rc": (4,)},
        "ped": {"wt": (1, 2, 3, 4), "tc": (1, 2, 3), "et": (1,)},
    }
    most = {name: max(edition.labels) for name, edition in brats.EDITIONS.items()}
    assert most == {"2016": 4, "2021": 4, "2023": 3, "2025": 4, "ped": 4}


@pytest.mark.parametrize(
    "case, unsure, cavity",
    [("BraTS20_001", True, False), ("BraTS-GLI-00001-000", False, False), ("p1", True, True)],
)
def test_names_leave_open_whether_label_3_is_a_rim_and_4_a_cavity(case, unsure, cavity):
    found = brats.edition([case], "")
    assert (found.unsure, found.cavity) == (unsure, cavity)


@pytest.mark.parametrize(
    "asked, expected", [("7", (7,)), ("255", (255,)), ("256", None), ("0", None), ("0007", None),
                        ("xy", None), ("liver", (1, 2))],
)  # fmt: skip
def test_a_number_is_a_target_where_labels_have_no_names(asked, expected):
    assert Contents((), {"liver": (1, 2)}).labels_of(asked) == expected
    assert Contents((), {}, labels=frozenset({7})).labels_of("8") is None


@pytest.mark.parametrize(
    "planes, rim",
    [([0, 4, 1, 4, 4], False), ([0, 0, 1, 4, 4], True), ([0, 1, 1, 1, 4], False),
     ([4, 4, 1, 0, 0], True), ([0, 0, 4, 4, 4], False)],
)  # fmt: skip
def test_a_rim_is_a_thin_label_between_a_lower_and_a_higher_one(planes, rim):
    label = np.zeros((5, 6, 6), np.uint8) + np.array(planes, np.uint8)[:, None, None]
    assert is_rim(label, max(1, min(planes[2], 4))) == rim
