"""What a folder holds, said before anyone believes a table of it."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data.case import PAPER_GRID
from harness.data.check import check
from harness.data.choose_view import fitted
from harness.data.describe import Description, describe
from harness.data.request import DataRequest
from harness.errors import UsageError
from harness.report import of_data

SHAPE = (20, 40, 40)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])  # 2 mm between slices


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.T, AFFINE), path)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two frames of three hearts: a block of 1 ml of label 3, and two of label 1."""
    folder = tmp_path_factory.mktemp("acdc")
    for n in range(6):
        case = f"patient{n // 2:03d}_frame{n % 2:02d}"
        label = np.zeros(SHAPE, np.uint8)
        label[5:10, 10:20, 10:20] = 3
        label[2:4, 30:32, 30:32] = label[12:14, 5:7, 5:7] = 1
        image = np.random.default_rng(n).normal(100, 10, SHAPE) + 50 * label
        save(folder / f"patient{n // 2:03d}" / f"{case}.nii.gz", image.astype(np.float32))
        save(folder / f"patient{n // 2:03d}" / f"{case}_gt.nii.gz", label)
    return folder


@pytest.fixture(scope="module")
def found(root) -> Description:
    return describe(DataRequest("acdc", root, reduce=(4, 3, 3)))


def test_cases_patients_shapes_and_spacings_are_those_of_the_files(found):
    assert (len(found.cases), found.patients) == (6, 3)
    first = found.cases[0]
    assert (first.id, first.patient) == ("patient000_frame00", "patient000")
    assert (first.shape, first.spacing_mm) == (SHAPE, (2.0, 1.0, 1.0))


def test_labels_are_measured_in_millilitres_and_counted_in_pieces(found):
    labels = found.cases[0].labels
    assert (labels[3].ml, labels[3].pieces) == (1.0, 1)
    assert (labels[1].ml, labels[1].pieces) == (pytest.approx(2 * 8 * 2 / 1000), 2)


def test_the_target_on_the_grid_stands_beside_that_of_the_file(found):
    target = found.cases[0].targets["lv"]
    assert (target.ml, target.pieces) == (1.0, 1)
    assert 0.5 < target.kept < 1.5
    assert found.grid == (32, 64, 64)


def test_the_grid_is_the_one_that_a_run_would_choose(found, root):
    described = describe(DataRequest("acdc", root))
    chosen = fitted(DataRequest("acdc", root))
    assert described.grid == chosen.view.grid != PAPER_GRID
    assert described.cases[0].grid_mm == pytest.approx(chosen.view.voxel_mm)
    assert chosen.choice in described.notes


def test_what_is_said_of_many_files_is_said_once(tmp_path):
    for n in range(5):
        save(tmp_path / f"images/{n}.nii.gz", np.random.default_rng(n).random(SHAPE))
        save(tmp_path / f"labels/{n}.nii.gz", np.zeros(SHAPE, np.uint8))
    asked = DataRequest("folder", tmp_path, target="1", reduce=(4, 3, 3))
    files = "labels/0.nii.gz, labels/1.nii.gz, labels/2.nii.gz and 2 more"
    assert f"the label is empty, in 5 files: {files}" in describe(asked).notes
    assert (
        f"the label is empty, in 5 files: {files}"
        in check(tmp_path, "folder", (), target="1").notes
    )


def test_each_of_several_targets_is_measured_and_the_one_that_is_nowhere_is_said(root):
    found = describe(DataRequest("acdc", root, target="all", reduce=(8, 12, 12)))
    assert found.targets == ("lv", "myo", "rv")
    seen = found.cases[0].targets
    assert {name: one.ml for name, one in seen.items()} == {
        "lv": 1.0,
        "myo": 0.0,
        "rv": pytest.approx(2 * 8 * 2 / 1000),
    }
    assert any(note.startswith("myo: 6 of 6 cases without any target") for note in found.notes)
    lines = [line for line in of_data.as_text(found).splitlines() if line.startswith("patient000")]
    assert [line.split()[2] for line in lines[:3]] == ["lv", "myo", "rv"]
    assert "contours of lv, myo, rv" in of_data.page(found)


def test_intensities_are_percentiles_in_order(found):
    low, first, middle, last, high = found.cases[0].intensities["cine"]
    assert low < first < middle < last < high
    assert 95 < middle < 105


def test_a_target_that_is_gone_on_the_grid_is_said(tmp_path):
    for n in range(3):
        label = np.zeros((128, 192, 192), np.uint8)
        label[60, 60, 60] = 1
        save(tmp_path / f"images/{n}.nii.gz", np.random.default_rng(n).random(label.shape))
        save(tmp_path / f"labels/{n}.nii.gz", label)
    found = describe(DataRequest("folder", tmp_path, reduce=(8, 12, 12)))
    assert any("3 of 3 cases whose target is gone on the grid: 0, 1, 2" in n for n in found.notes)


def test_a_case_with_faults_is_told_and_the_others_are_described(root, tmp_path):
    (tmp_path / "patient009").mkdir()
    for kind in ("", "_gt"):
        for case in ("patient009_frame00", "patient009_frame01"):
            source = root / "patient000" / f"patient000_frame00{kind}.nii.gz"
            content = source.read_bytes() if case.endswith("0") else b""
            (tmp_path / "patient009" / f"{case}{kind}.nii.gz").write_bytes(content)
    found = describe(DataRequest("acdc", tmp_path, reduce=(8, 12, 12)))
    assert [case.id for case in found.cases] == ["patient009_frame00"]
    assert {fault.code for fault in found.faults} == {"PFB-V01"}


def test_sites_and_patients_come_from_a_table(root, tmp_path):
    lines = [f"patient{n // 2:03d}_frame{n % 2:02d},p{n // 2},site{n // 4}" for n in range(6)]
    table = tmp_path / "patients.csv"
    table.write_text("\n".join(["case,patient,site", *lines]), encoding="utf-8")
    found = describe(DataRequest("acdc", root, reduce=(8, 12, 12)), str(table))
    assert found.sites == ("site0", "site1")
    assert found.cases[5].patient == "p2"


def test_json_has_every_figure_and_no_picture(found):
    content = json.loads(json.dumps(found.as_json()))
    assert content["patients"] == 3
    assert content["cases"][0]["labels"]["3"] == {"ml": 1.0, "pieces": 1}
    kept = content["cases"][0]["targets"][found.targets[0]]["kept"]
    assert kept == found.cases[0].targets[found.targets[0]].kept
    assert "slice" not in content["cases"][0]


def test_the_text_has_a_summary_and_a_line_for_each_case(found):
    text = of_data.as_text(found)
    assert "6 of 3 patients" in text
    assert "20 × 40 × 40 voxels" in text
    lines = [line for line in text.splitlines() if line.startswith("patient")]
    assert len(lines) == 6 and "20×40×40" in lines[0]


def test_the_page_shows_slices_with_the_target_and_opens_alone(found):
    page = of_data.page(found)
    assert page.count("data:image/png;base64,") == 1
    assert "Axial slices of patient000_frame00" in page
    assert "http" not in page.split("<body>")[1].replace("http-equiv", "")
    assert "patient002_frame01" in page


def test_the_phantom_is_no_folder():
    with pytest.raises(UsageError, match="made in memory"):
        describe(DataRequest("phantom"))
