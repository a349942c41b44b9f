"""A run folder grows: what it holds of a suite stays in its table, later commands add to it."""

import pandas as pd
import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun, made_trial, row, spec

from harness.report.of_run import document
from harness.runs.manifest import joined, replaced
from harness.runs.records import MadeBy
from harness.runs.run_folder import RunFolder
from harness.runs.selection import SelectedRun
from harness.tracking.desired import children_of

FIRST = MadeBy(command="pfbench run --suite table5", version="0.1.0")
LATER = MadeBy(command="pfbench run --suite table5 --seeds 2", version="0.2.0")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def trained(folder, system, seed=0, **changes):
    return made_trial(folder, spec(system, seed, **changes))


def test_a_later_command_adds_its_row_in_the_place_that_the_suite_gives_it(folder):
    before = {"table5": [row([trained(folder, "pfseg")])]}
    now = {"table5": [row([trained(folder, "unet3d")])]}
    assert [each.key for each in joined(folder, before, now)["table5"]] == ["unet3d", "pfseg"]


def test_a_row_that_the_suite_does_not_list_comes_last(folder):
    before = {"table5": [row([trained(folder, "pfseg")])]}
    now = {"table5": [row([trained(folder, "unet3d")], key="mine", title="Mine")]}
    assert [each.key for each in joined(folder, before, now)["table5"]] == ["pfseg", "mine"]


def test_a_later_command_adds_seeds_and_takes_none_away(folder):
    three = [trained(folder, "pfseg", seed) for seed in range(3)]
    held = joined(folder, {"table5": [row(three[:2])]}, {"table5": [row([three[2]])]})
    assert held["table5"][0].trials == [trial.id for trial in three]
    again = joined(folder, held, {"table5": [row(three[:1])]})
    assert again["table5"][0].trials == [trial.id for trial in three]


def test_seeds_of_other_options_are_not_mixed_into_one_row(folder):
    old = [trained(folder, "pfseg", seed) for seed in (0, 1)]
    new = trained(folder, "pfseg", options={"crop": "central"})
    before, now = {"table5": [row(old)]}, {"table5": [row([new])]}
    assert joined(folder, before, now)["table5"][0].trials == [new.id]
    [said] = replaced(folder, before, now)
    assert "the row 'pfseg' takes the place of an earlier one" in said


def test_a_suite_that_a_later_command_does_not_name_stays(folder):
    before = {"table4": [row([trained(folder, "pfseg")])]}
    now = {"table5": [row([trained(folder, "unet3d")])]}
    assert list(joined(folder, before, now)) == ["table4", "table5"]


def test_a_row_tells_every_command_that_asked_for_it_once(folder):
    trial = trained(folder, "pfseg")
    before = {"table5": [row([trial], made_by=[FIRST])]}
    now = {"table5": [row([trial], made_by=[LATER])]}
    held = joined(folder, before, now)
    assert joined(folder, held, now)["table5"][0].made_by == [FIRST, LATER]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder to which a second command has added a row."""
    run = MadeRun(tmp_path_factory.mktemp("shared") / "run", rows=("unet3d", "pfseg"))
    [first, second] = run.manifest.suites["table5"]
    by = {"unet3d": FIRST, "pfseg": LATER}
    rows = [each.model_copy(update={"made_by": [by[each.key]]}) for each in (first, second)]
    return run.change(suites={"table5": [each.model_dump() for each in rows]})


def test_the_report_says_which_command_made_which_row(shared):
    sections = {section.id: section for section in document([shared.folder]).sections}
    table = sections["reproduce"].blocks[-1]
    assert [[cell.text for cell in line] for line in table.rows] == [
        ["UNet3D", FIRST.command, "0.1.0"],
        ["PFSeg", LATER.command, "0.2.0"],
    ]


def test_mlflow_says_which_command_and_version_made_a_trial(shared):
    children = [child() for _, child in children_of(shared.folder)]
    tags = {each.tags["pfbench.model"]: each.tags for each in children}
    assert tags["pfseg"]["pfbench.command"] == LATER.command
    assert tags["unet3d"]["pfbench.version"] == "0.1.0"


def test_a_report_of_chosen_rows_leaves_the_whole_one_as_it_is(shared):
    pfbench("report", shared.path, "--no-pictures")
    whole = {path: path.read_bytes() for path in shared.path.glob("*.*")}
    done = pfbench("report", shared.path, "--row", "pfseg", "--no-pictures")
    assert f"report      {shared.path / 'report-rows.html'}" in done.out
    assert "UNet3D" not in (shared.path / "report-rows.html").read_text()
    assert whole == {path: path.read_bytes() for path in whole}


def test_a_report_of_chosen_rows_says_that_there_are_others(shared):
    assert "1 of 2 rows of this run are shown" in SelectedRun(shared.path, ["PFSeg"]).run().notes[0]


def test_an_unknown_row_is_refused_with_the_nearest_name(shared):
    done = pfbench("report", shared.path, "--row", "pfsegg", expect=2)
    assert "pfseg" in done.said


@pytest.mark.long
def test_two_commands_on_one_folder_make_one_table_that_verifies(tmp_path):
    tiny = ["run", "--suite", "table5", "--set", "phantom.cases=4", "--epochs", 1, "--executor",
            "inline", "--measure-repeats", 1, "--out", tmp_path]  # fmt: skip
    pfbench(*tiny, "--model", "resunet3d_up")
    pfbench(*tiny, "--model", "hdresunet", "--seeds", 2)
    means = pd.read_csv(tmp_path / "table.csv").query("row == 'mean'")
    assert means[["key", "seed"]].astype(str).values.tolist() == [
        ["resunet3d_up", "0"],
        ["hdresunet", "0 1"],
    ]
    assert "no fault found" in pfbench("verify", tmp_path).out
