"""`pfbench data check` and `describe`, and the options that say which files are whose."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helper_in_process import pfbench

from harness.data import phantom

PATTERNS = ("--image", "t2=scans/{case}.nii.gz", "--label", "masks/{case}.nii.gz")


@pytest.fixture
def own(tmp_path) -> Path:
    """Four scans in a layout that nobody else has."""
    for n in range(4):
        label = np.zeros((12, 16, 16), np.uint8)
        label[4:8, 4:8, 4:8] = 1
        scan = np.random.default_rng(n).normal(size=label.shape).astype(np.float32)
        for folder, array in (("scans", scan), ("masks", label)):
            (tmp_path / "own" / folder).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "own" / folder / f"s{n}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), path)
    return tmp_path / "own"


def test_check_says_which_data_set_it_is(tmp_path):
    phantom.write(tmp_path / "data", 3, (12, 24, 24))
    done = pfbench("data", "check", tmp_path / "data")
    assert done.out.startswith("brats (BraTS 2012-2025") and "3 cases with flair" in done.out
    told = json.loads(pfbench("data", "check", tmp_path / "data", "--json").out)
    assert told["layout"].startswith("brats ") and told["faults"] == []


def test_check_and_run_take_patterns(own, tmp_path):
    assert "4 cases with t2" in pfbench("data", "check", own, *PATTERNS).out
    run = ("run", "--suite", "table5", "--dataset", "folder", "--data-root", own, *PATTERNS)
    options = ("--model", "resunet3d_up", "--profile", "quick", "--dry-run", "--out")
    assert "1 trial" in pfbench(*run, *options, tmp_path / "out").out


def test_a_case_is_left_out_by_option_or_file(own, tmp_path):
    listed = tmp_path / "bad.txt"
    listed.write_text("s1\n", encoding="utf-8")
    out = pfbench("data", "check", own, *PATTERNS, "--exclude", "s0", "--exclude", listed).out
    assert "2 cases with t2" in out
    assert "note: 2 cases are left out by --exclude: s0, s1" in out
    assert "PFB-C54" in pfbench("data", "check", own, *PATTERNS, "--exclude", "s9", expect=2).err


def test_a_wrong_pattern_is_an_error_with_its_option(own):
    said = pfbench("data", "check", own, "--image", "{cas}", "--label", "{case}", expect=2).err
    assert "error[PFB-C51]: --image: '{cas}' has 'cas', which is no field" in said


def test_the_year_of_brats_can_be_said(tmp_path):
    phantom.write(tmp_path / "data", 3, (12, 24, 24))
    out = pfbench("data", "check", tmp_path / "data", "--edition", "2024").out
    assert "targets wt, tc, et, rc" in out
    assert "PFB-C02" in pfbench("data", "check", tmp_path, "--dataset", "liver", "--edition",
                                "2024", expect=2).err  # fmt: skip


def test_describe_writes_a_page_and_says_the_rest(own, tmp_path):
    page = tmp_path / "data.html"
    done = pfbench("data", "describe", own, *PATTERNS, "--profile", "quick", "--html", page)
    assert "4 of 4 patients" in done.out and "12 × 16 × 16 voxels" in done.out
    assert "data:image/png" in page.read_text(encoding="utf-8")
    told = json.loads(
        pfbench("data", "describe", own, *PATTERNS, "--profile", "quick", "--json").out
    )
    assert [case["id"] for case in told["cases"]] == ["s0", "s1", "s2", "s3"]
    assert told["cases"][0]["labels"]["1"] == {"ml": 0.064, "pieces": 1}


def test_describe_ends_with_3_where_a_case_has_faults(own):
    (own / "masks" / "s2.nii.gz").write_bytes(b"")
    done = pfbench("data", "describe", own, *PATTERNS, "--profile", "quick", expect=3)
    assert "PFB-V01" in done.out and "3 of 3 patients" in done.out


def test_an_unknown_layout_is_answered_with_patterns(own):
    done = pfbench("data", "check", own, expect=3)
    assert "PFB-D14" in done.out


@pytest.mark.parametrize(
    ("image", "label", "said"),
    [
        ("t2=scan/{case}.nii.gz", "masks/{case}.nii.gz", "--image: 'scan/{case}.nii.gz'"),
        ("t2=scans/{case}.nii.gz", "mask/{case}.nii.gz", "--label: 'mask/{case}.nii.gz'"),
    ],
)
def test_a_pattern_that_fits_nothing_is_named_with_a_file_that_is_there(own, image, label, said):
    told = pfbench("data", "check", own, "--image", image, "--label", label, expect=2).said
    assert f"{said} fits no file below own" in told
    assert "Try: a pattern for files such as masks/s0.nii.gz" in told
