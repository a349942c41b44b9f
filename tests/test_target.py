"""What the way to the grid takes from a target is measured, told and never scored as perfect."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun, rewrite

from harness.data import cache
from harness.data.check import check
from harness.data.prepare import brats_positions, cut_off
from harness.data.reading import Reading
from harness.data.request import DataRequest
from harness.data.split import Split
from harness.data.target import Target, bounds, measured, shown, summary
from harness.data.volumes import prepare
from harness.errors import DataError
from harness.results import tables
from harness.results.claims.verdicts import judge
from harness.results.compare import compare
from harness.runs.run_folder import RunFolder

PAPER = Reading(grid="paper")
DROP = Reading(grid="paper", drop_vanished=True)
EIGHT = np.diag([8.0, 8, 8, 1])


def volume(number: int, boxes, shape=(24, 30, 30)) -> tuple[np.ndarray, np.ndarray]:
    """Image and label (D, H, W) with the target in these boxes."""
    image = np.random.default_rng(number).integers(0, 99, shape).astype(np.int16)
    label = np.zeros(shape, np.uint8)
    for box in boxes:
        label[box] = 1
    return image, label


def write(root: Path, cases: dict[str, list], affine=EIGHT, shape=(24, 30, 30)) -> Path:
    """A folder in the plain layout, one case for each list of boxes."""
    for number, (case, boxes) in enumerate(cases.items()):
        for folder, array in zip(("images", "labels"), volume(number, boxes, shape), strict=True):
            (root / folder).mkdir(parents=True, exist_ok=True)
            path = root / folder / f"{case}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array.T, affine), path)
    return root


LARGE = [np.s_[4:20, 5:25, 5:25]]
THREE = [np.s_[2:14, 2:14, 2:14], np.s_[16:17, 16:17, 16:17], np.s_[20:21, 20:21, 20:21]]
ONE_VOXEL = [np.s_[11:12, 15:16, 15:16]]
COARSE = (16, 24, 24)  # blocks of the paper's grid that a voxel of 8 mm does not fill by half


def test_what_gains_on_the_grid_or_is_not_there_has_lost_nothing():
    assert Target(1.0, 1, 1.2, 1).lost == Target(0.0, 0, 0.0, 0).lost == 0


def test_volume_and_parts_are_counted_in_the_file_and_on_the_grid():
    fine, coarse = np.zeros((8, 8, 8), bool), np.zeros((4, 4, 4), bool)
    fine[0:4, 0:4, 0:4] = fine[4, 4, 4] = fine[7, 7, 7] = True  # the second touches by a corner
    coarse[0:2, 0:2, 0:2] = True
    found = measured(fine, (1, 1, 2), coarse, (2, 2, 4), 0.25)
    assert found == Target(66 * 2 / 1000, 2, 8 * 16 / 1000, 1, 0.25)
    assert found.lost == pytest.approx(1 - 64 / 66)
    assert found.shown == "0.132 ml in 2 parts, 0.128 ml in 1 on the grid, 25 % cut off"


def test_the_box_around_a_mask_is_as_small_as_can_be():
    mask = np.zeros((5, 6, 7), bool)
    assert bounds(mask) is None
    mask[1, 2, 3] = mask[4, 2, 5] = True
    assert bounds(mask) == np.s_[1:5, 2:3, 3:6]


def test_a_crop_of_240_to_192_cuts_what_lies_in_24_voxels_of_an_end():
    """A lesion of 20 rows from row 14 on: 10 of them lie in the margin."""
    mask = np.zeros((155, 240, 240), bool)
    mask[60:80, 100:120, 14:34] = True
    assert cut_off(mask, brats_positions(mask.shape)) == pytest.approx(0.5)
    mask[:] = False
    mask[60:80, 100:120, 100:120] = True
    assert cut_off(mask, brats_positions(mask.shape)) == 0


def test_what_is_known_of_a_target_is_kept_beside_the_volume(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": THREE})
    made = prepare(DataRequest("folder", root, reading=PAPER), tmp_path / "cache")
    kept = cache.lookup(tmp_path / "cache", made.keys["b"])["targets"]["1"]
    assert kept["file_ml"] == pytest.approx((12**3 + 2) * 0.512)
    assert (kept["file_parts"], kept["cut"]) == (3, 0)
    assert kept["grid_parts"] == 3


def test_a_target_that_shrinks_by_a_quarter_is_noted_and_another_is_not(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": [np.s_[2:8, 2:8, 2:8]]})
    made = prepare(DataRequest("folder", root, reduce=COARSE, reading=PAPER), tmp_path / "cache")
    *_, note = made.notes
    assert note.startswith("on the grid 1 of 2 cases lost a quarter or more of the target (b: ")


@pytest.mark.parametrize("cut, shares", [(None, []), (0.0, []), (0.24, []), (0.25, ["a: 25 %"])])
def test_a_crop_is_noted_from_a_quarter_of_the_target_on(cut, shares):
    notes = summary({"a": Target(1, 1, 1, 1, cut)}, {})
    assert [note.split("(")[1].rstrip(")") for note in notes] == shares


def test_a_target_of_which_nothing_is_left_is_a_fault(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": ONE_VOXEL})
    with pytest.raises(DataError) as caught:
        prepare(DataRequest("folder", root, reduce=COARSE, reading=PAPER), tmp_path / "cache")
    assert (caught.value.code, caught.value.where) == ("PFB-V35", "b")
    assert "0.512 ml in 1 part" in caught.value.what
    assert "--drop-vanished" in caught.value.remedy


def test_the_fault_is_told_again_when_the_volume_is_in_the_cache(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": ONE_VOXEL})
    for _ in range(2):
        with pytest.raises(DataError, match="nothing is left"):
            prepare(DataRequest("folder", root, reduce=COARSE, reading=PAPER), tmp_path / "cache")


def test_a_case_without_target_in_its_file_has_not_lost_it(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": []})
    asked = DataRequest("folder", root, reduce=COARSE, reading=PAPER)
    assert sorted(prepare(asked, tmp_path / "cache").keys) == ["a", "b"]


def test_vanished_cases_are_left_out_and_counted_where_that_is_asked_for(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": ONE_VOXEL, "c": LARGE})
    made = prepare(DataRequest("folder", root, reduce=COARSE, reading=DROP), tmp_path / "cache")
    assert (list(made.keys), made.dropped) == (["a", "c"], ("b",))
    *_, note = made.notes
    assert "nothing of the target is left on the grid: 1 of 3 cases (b: 0.512 ml)" in note


def test_the_cases_that_stay_keep_their_part_of_the_split():
    made = Split(("a", "b", "c"), ("d",), ("e", "f"))
    assert made.without({"b", "f"}) == Split(("a", "c"), ("d",), ("e",))
    with pytest.raises(DataError, match="part 'validation'"):
        made.without({"d"})


def test_a_liver_that_lies_outside_of_the_crop_is_a_fault_that_says_so(tmp_path):
    root = write(tmp_path / "data", {"a": [np.s_[:, 0:3, 0:3]]}, np.diag([20.0, 20, 20, 1]))
    with pytest.raises(DataError) as caught:
        prepare(DataRequest("liver", root, reduce=(4, 3, 3)), tmp_path / "cache")
    assert caught.value.code == "PFB-V35" and "the crop cuts all of it off" in caught.value.what
    assert "--grid auto, which cuts nothing off" in caught.value.remedy


def test_check_tells_the_same_as_prepare_without_a_cache(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": ONE_VOXEL, "c": THREE})
    found = check(root, "folder", (), reading=PAPER, reduce=COARSE)
    with pytest.raises(DataError) as caught:
        prepare(DataRequest("folder", root, reduce=COARSE, reading=PAPER), tmp_path / "cache")
    assert [str(fault) for fault in found.faults] == [str(caught.value)]
    kept = check(root, "folder", (), reading=DROP, reduce=COARSE)
    made = prepare(DataRequest("folder", root, reduce=COARSE, reading=DROP), tmp_path / "cache")
    assert (kept.faults, kept.notes) == ([], list(made.notes[1:]))  # the first tells intensities
    assert kept.targets["1"]["c"].file_parts == 3


def test_twins_are_found_by_their_voxels_whatever_file_they_are_stored_in(tmp_path):
    """By `data check` and by `run` alike: other spacing and place, floats, stored in reverse."""
    root = write(tmp_path / "data", {"a": LARGE})
    image, label = volume(0, LARGE)
    flipped = np.array([[-8.0, 0, 0, 232], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]])
    twins = {
        "spacing": (image, np.diag([7.0, 7, 9, 1])),
        "float": (image.astype(np.float32), EIGHT),
        "flipped": (image[:, :, ::-1], flipped),
    }
    for name, (array, affine) in twins.items():
        for folder, voxels in zip(("images", "labels"), (array, label), strict=True):
            path = root / folder / f"{name}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(voxels.T, affine), path)
    [fault] = check(root, "folder", (), reading=PAPER).faults
    assert fault.code == "PFB-D08" and "a and flipped and float and spacing" in fault.what
    with pytest.raises(DataError) as caught:
        prepare(DataRequest("folder", root, reading=PAPER), tmp_path / "cache")
    assert str(caught.value) == str(fault)


def test_data_check_prints_what_is_left_of_targets_on_the_grid_of_a_profile(tmp_path):
    root = write(tmp_path / "data", {"a": LARGE, "b": THREE})
    done = pfbench(
        "data",
        "check",
        root,
        "--dataset",
        "folder",
        "--set",
        f"reduce={list(COARSE)}",
        "--set",
        "data.grid=paper",
    )
    *_, total, said = done.out.splitlines()
    assert total.startswith("target: 4.16e+03 ml in 4 parts, on the grid ")
    assert said == "no fault found"
    told = json.loads(pfbench("data", "check", root, "--dataset", "folder", "--json").out)
    assert told["targets"]["b"]["file_parts"] == 3 and told["targets"]["b"]["lost"] < 0.05


def written(tmp_path: Path, without: int) -> tables.Results:
    """The tables of a run of which so many of the 12 test cases have no target."""
    run = MadeRun(tmp_path / "run", rows=["pfseg", "vnet"])
    for trial in run.trials.values():
        rewrite(trial.result_file, trial.result(), n_without_target=without)
    return tables.build(run.folder)


def test_test_cases_without_target_are_counted_under_the_table_with_their_convention(tmp_path):
    notes = " ".join(written(tmp_path, 3).notes)
    assert "3 of 12 test cases without target: an empty prediction scores Dice 100" in notes
    assert "without target" not in " ".join(written(tmp_path / "none", 0).notes)


def test_a_mean_over_no_target_is_no_score(tmp_path):
    made = written(tmp_path, 12)
    assert made.frame["dice_mean"].isna().all() and made.frame["hd95_mean"].isna().all()
    assert "none of the 12 test cases has any target" in " ".join(made.notes)


def test_between_two_positions_what_is_near_to_either_is_seen():
    """Positions 4 voxels apart see 2 voxels to each side: slices 1 to 9 of 12."""
    mask = np.ones((12, 2, 2), bool)
    both = np.array([0.0, 1.0])
    assert cut_off(mask, (np.array([3.0, 7.0]), both, both)) == pytest.approx(1 - 9 / 12)


@pytest.mark.parametrize("cases, lines", [(20, 21), (21, 22)])
def test_twenty_cases_that_lost_are_listed_and_the_others_counted(cases, lines):
    lost = {f"c{n:02}": Target(2.0, 1, 1.0, 1) for n in range(cases)}
    told = shown({"wt": lost})
    assert len(told) == lines
    assert ("and 1 more" in told[20]) == (cases == 21)


def test_where_no_test_case_has_a_target_nothing_is_concluded(tmp_path):
    made = written(tmp_path, 12)
    assert made.frame[["dice_std", "hd95_median"]].isna().all().all()
    folder = RunFolder(tmp_path / "run")
    judged = [each for each in judge([folder]) if each.claim.source == "Table V"]
    assert {each.word for each in judged if each.why == "no test case has a target"} == {
        "undecided"
    }
    compared = compare([folder], [])
    assert compared.notes == ("no test case has a target: nothing can be compared",)
    assert not any(found.comparisons for found in compared.found)
