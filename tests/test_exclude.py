"""Cases that are left out: their faults go with them, and it is said."""

from pathlib import Path

import pytest
from helper_in_process import pfbench

from harness.data import phantom
from harness.data.check import check
from harness.data.exclude import by_set, cases_of
from harness.data.jobs import roster
from harness.data.request import DataRequest
from harness.data.volumes import prepare
from harness.errors import UsageError

SMALL = (1, 2, 2)
FIRST, SECOND, THIRD = (f"BraTS20_Training_{n:03d}" for n in (1, 2, 3))


@pytest.fixture
def root(tmp_path) -> Path:
    phantom.write(tmp_path / "data", 3, (12, 24, 24))
    return tmp_path / "data"


def test_a_case_with_faults_can_be_left_out_without_moving_files(root, tmp_path):
    (root / FIRST / f"{FIRST}_flair.nii.gz").write_bytes(b"")
    (root / SECOND / f"{SECOND}_seg.nii.gz").unlink()
    assert len(check(root, "brats", ("flair",)).faults) == 2
    found = check(root, "brats", ("flair",), exclude=(FIRST, SECOND))
    faults, [note] = found.faults, found.notes
    assert faults == []
    assert note == f"2 cases are left out by --exclude: {FIRST}, {SECOND}"
    asked = DataRequest("brats", root, ("flair",), reduce=SMALL, exclude=(FIRST, SECOND))
    prepared = prepare(asked, tmp_path / "cache")
    assert list(prepared.keys) == [THIRD]
    assert note in prepared.notes
    assert roster(asked).left_out == (FIRST, SECOND)


def test_an_id_that_cannot_be_one_can_be_left_out(root):
    (root / FIRST).rename(root / "a b")
    assert check(root, "brats", ("flair",), exclude=("a b",)).faults == []


def test_one_of_two_ids_that_differ_in_capitals_can_be_left_out(root):
    (root / SECOND).rename(root / FIRST.lower())
    for path in (root / FIRST.lower()).iterdir():
        path.rename(path.with_name(path.name.replace(SECOND, FIRST.lower())))
    assert len(check(root, "brats", ("flair",)).faults) == 1
    assert check(root, "brats", ("flair",), exclude=(FIRST.lower(),)).faults == []


def test_phantoms_can_be_left_out_too(tmp_path):
    asked = DataRequest("phantom", reduce=SMALL, cases=4, exclude=("phantom_002",))
    prepared = prepare(asked, tmp_path)
    assert list(prepared.keys) == ["phantom_001", "phantom_003", "phantom_004"]
    every = prepare(DataRequest("phantom", reduce=SMALL, cases=4), tmp_path)
    assert every.keys["phantom_003"] == prepared.keys["phantom_003"]


def test_a_case_that_there_is_not_is_refused_with_the_nearest(root):
    with pytest.raises(UsageError, match="no case BraTS20_Training_01 among 3") as caught:
        roster(DataRequest("brats", root, ("flair",), exclude=("BraTS20_Training_01",)))
    assert caught.value.remedy.startswith("--exclude BraTS20_Training_0")


def test_cases_of_another_origin_are_left_out_by_the_name_of_the_origin(root, tmp_path):
    phantom.write(tmp_path / "b", 3, (12, 24, 24), seed=7)
    command = ["run", "--suite", "table3", "--row", "res/none", "--dataset", "brats", "--dry-run",
               "--data-root", root, "--modalities", "flair", "--profile", "quick",
               "--test", f"b={tmp_path / 'b'}", "--out", tmp_path / "run"]  # fmt: skip
    said = pfbench(*command, "--exclude", f"b:{THIRD}").said
    assert "1 train, 1 validation, 1 test" in said
    assert "test b: 2 cases" in said
    assert f"b: 1 case is left out by --exclude: {THIRD}" in said
    other = pfbench(*command, "--exclude", "b:BraTS20_Training_01", expect=2).said
    assert "b: there is no case BraTS20_Training_01 among 3" in other
    assert "Try: --exclude b:BraTS20_Training_0" in other


def test_each_data_set_has_its_own_words_and_lines(tmp_path):
    listed = tmp_path / "bad.txt"
    listed.write_text("one\nb:two\n", encoding="utf-8")
    found = by_set([str(listed), "b:three", f"c:{listed}", "d:four"], ["b", "c"])
    assert found == {"": ("one", "d:four"), "b": ("two", "three"), "c": ("one", "b:two")}


def test_names_come_from_the_option_and_from_files(tmp_path):
    listed = tmp_path / "bad.txt"
    listed.write_text("b  # motion\n\n# all of these\nc\na\n", encoding="utf-8")
    assert cases_of(["a", str(listed)]) == ("a", "b", "c")
    with pytest.raises(UsageError, match="cannot be read"):
        cases_of([str(tmp_path / "gone.txt")])
