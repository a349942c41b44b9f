"""Two scans of one patient are one observation, in every output that says how sure it is."""

from dataclasses import replace

import pytest
from helper_made_run import MadeRun

from harness.results.claims.evidence import gather
from harness.results.compare import compare, records
from harness.results.rows import rows
from harness.results.standings import stand
from harness.results.tables import build
from harness.runs.measures import DICE

SCANS = (60, 80, 70, 72, 64, 66, 90, 94, 71, 75, 83, 85)  # per cent, two of each patient
PATIENTS = [70, 71, 65, 92, 73, 84]


@pytest.fixture
def run(tmp_path):
    """Twelve test cases of six patients, each scanned twice."""
    made = MadeRun(
        tmp_path, "table5", rows=["unet3d", "vnet"], cases=12, alike=[s / 100 for s in SCANS]
    )
    whose = {case: f"patient{place // 2}" for place, case in enumerate(made.cases)}
    made.folder.write_split(replace(made.folder.split(), patients=whose))
    return made.folder


def test_a_standing_has_one_score_for_each_patient(run):
    found = stand(rows(run, "table5"), DICE).scores["vnet"]
    assert found.values.tolist() == PATIENTS


def test_a_comparison_counts_patients(run):
    dice = records(compare([run], []))["pairs"][0]
    assert (dice["metric"], dice["n_patients"]) == ("dice", 6)


def test_a_claim_counts_patients(run):
    rated = gather([run]).table("table5").group(["vnet"], DICE)
    assert rated.scores.values.tolist() == PATIENTS


def test_the_spread_of_the_table_is_that_of_patients(run):
    line = build(run).frame.query("key == 'vnet' and row == 'mean'").iloc[0]
    assert line["dice_std"] == pytest.approx(0.10107753)  # of the six, divided by five


def test_a_note_says_which_figures_are_over_patients(run):
    [note] = [note for note in build(run).notes if "of 6 patients" in note]
    assert note.startswith("12 test cases of 6 patients: means are over the cases;")


def test_no_note_where_each_case_is_a_patient(tmp_path):
    made = MadeRun(tmp_path, "table5", rows=["vnet"], alike=[s / 100 for s in SCANS])
    assert not [note for note in build(made.folder).notes if "patients: means" in note]
