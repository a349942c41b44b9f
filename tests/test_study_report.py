"""What a study is worth is said in numbers: tuned minus default, on the same test cases."""

import re

from helper_made_run import NO_TRIAL, MadeRun, made_study
from matplotlib.figure import Figure

from harness.report.of_study import key_figures
from harness.report.panels import panel
from harness.results import tables
from harness.results.study import differences
from harness.runs.study_folder import propose


def compared(path, **changes):
    """A comparison in which tuned is about two points better on each case."""
    run = MadeRun(path, rows=("resunet3d", "pfseg"), **changes)
    rows = [
        row.model_copy(update={"key": f"pfseg/{name}", "title": f"PFSeg, {name}"})
        for row, name in zip(run.manifest.suites["table5"], ("default", "tuned"), strict=True)
    ]
    return run.change(suites={"tuned": rows})


def test_the_difference_is_paired_and_has_an_interval(tmp_path):
    [said] = differences(compared(tmp_path, cases=12, seeds=(0, 1)).folder)
    found = re.fullmatch(
        r"difference  pfseg: tuned − default = \+(\S+) percentage points of Dice "
        r"\[(\S+), (\S+)\], 12 test patients, 2 seeds",
        said,
    )
    estimate, low, high = map(float, found.groups())
    assert 1 < low < estimate < high < 4  # far less than the 6 % by which cases differ


def test_too_few_cases_for_an_interval_are_called_so(tmp_path):
    [said] = differences(compared(tmp_path, cases=5).folder)
    assert "[" not in said
    assert "5 test patients, 1 seed (n too small: 5 patients, an interval needs 6)" in said


def test_the_report_begins_with_the_best_score_beside_that_of_the_default(tmp_path):
    study = made_study(tmp_path, {"pfseg": {"w_srt": 0.5}})
    weights = {"complete": 0.5, "stopped": 0.1, "failed": 0.2}
    for number, (state, weight) in enumerate([*weights.items(), ("complete", 0.3)]):
        point = propose(study, "pfseg", number, "pfseg", {"w_srt": weight}, [NO_TRIAL])
        point.end(state, 0.6 + number / 100)
    assert key_figures(study) == (
        ("Best validation Dice (%), pfseg", "63.00",
         "point 3; default 60.00, 2 of 4 points complete"),
    )  # fmt: skip


def test_a_picture_of_two_columns_has_a_row_of_its_own_in_the_report():
    assert not panel("history", lambda: Figure((3.5, 2)), "points").wide
    assert panel("slices", lambda: Figure((7, 2)), "points").wide


def test_the_table_of_a_tuned_run_says_with_which_values(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d", "pfseg"))
    tuned = {
        "systems": {"pfseg": {"weights": {"srt": 0.052654159, "tel": 0.25}}},
        "exceptions": {"resunet3d": {"learning_rate": 0.0016639}},
    }
    run.change(settings=run.manifest.settings | tuned)
    notes = tables.build(run.folder).notes
    assert "pfseg with weights.srt 0.0526542, weights.tel 0.25, set by the user" in notes
    assert "resunet3d trained with its own learning_rate 0.0016639" in notes
