"""Masks that another tool made, scored beside a run or by themselves."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from helper_in_process import pfbench

from harness.data import phantom
from harness.experiments import score as scoring
from harness.report.of_run import document
from harness.results.tables import build
from harness.runs.run_folder import RunFolder
from harness.tracking.desired import children_of

sitk = pytest.importorskip("SimpleITK")
CASES = 30  # of which 6 are tested: the fewest with intervals and tests
RUN = ["run", "--suite", "table5", "--model", "resunet3d_up", "--epochs", 1, "--measure-repeats", 1,
       "--set", f"phantom.cases={CASES}", "--executor", "inline"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one system."""
    out = tmp_path_factory.mktemp("score") / "run"
    pfbench(*RUN, "--out", out, "--no-mlflow")
    return out


@pytest.fixture(scope="module")
def references(trained):
    """The references of the test cases as label maps, on the voxels of their scans."""
    folder = trained.parent / "references"
    folder.mkdir()
    run = RunFolder(trained)
    for case in run.split().test:
        volume = run.volume(case)
        number = int(case.rpartition("_")[2]) - 1
        made = phantom.scan(0, number, (32, 64, 64), ("flair",), volume.spacing_mm)
        save(made.label, made.affine, folder / f"{case}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def eroded(references):
    """The same after an erosion by SimpleITK, which writes the files itself."""
    folder = references.parent / "eroded"
    folder.mkdir()
    for path in references.iterdir():
        tumour = sitk.ReadImage(str(path)) > 0
        sitk.WriteImage(sitk.BinaryErode(tumour, [1, 1, 0]), str(folder / path.name))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def masks(eroded, tmp_path):
    return shutil.copytree(eroded, tmp_path / "masks")


def save(array, affine, path):
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), path)


def score(*arguments, expect=0):
    return pfbench("score", *arguments, "--no-mlflow", expect=expect)


def add(run, **sets):
    """The mean line of each set, scored without a report; folders by name."""
    more = {key: sets.pop(key) for key in ("values",) if key in sets}
    predictions = {name: [given] if isinstance(given, Path) else given
                   for name, given in sets.items()}  # fmt: skip
    scoring.score(scoring.ScoreRequest(run=run, predictions=predictions, command="pfbench", **more))
    frame = build(RunFolder(run)).frame.query("row == 'mean'").set_index("key")
    return [frame.loc[name] for name in sets]


def mean(out, key):
    table = pd.read_csv(out / "table.csv").query("row == 'mean'").set_index("key")
    return table.loc[key]


# ── beside a run ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def scored(trained, references, eroded):
    """The run with two further rows."""
    out = shutil.copytree(trained, trained.parent / "scored")
    facts = out.parent / "facts.yaml"
    facts.write_text(
        "eroded: {title: Eroded, time_s: 1.5, parameters: 31000000, device: a GPU, note: By hand.}"
    )
    done = score(out, "--predictions", f"truth={references}", "--predictions", f"eroded={eroded}",
                 "--facts", facts)  # fmt: skip
    return out, done


def test_masks_become_rows_beside_the_trained_ones(scored):
    out, _ = scored
    table = pd.read_csv(out / "table.csv").query("row == 'mean'")
    assert table["key"].tolist() == ["resunet3d_up", "truth", "eroded"]
    assert table["n_cases"].tolist() == [6, 6, 6]


def test_the_references_themselves_score_a_dice_of_1(scored):
    assert mean(scored[0], "truth")["dice_mean"] == 1


def test_an_erosion_of_the_border_is_scored_as_counted_by_numpy(scored, eroded):
    out, _ = scored
    run = RunFolder(out)
    expected = []
    for case in run.split().test:
        truth = np.asarray(run.volume(case).label) > 0
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(eroded / f"{case}.nii.gz"))) > 0
        # A NIfTI of the phantom has its axes towards R, A and S; SimpleITK gives (z, y, x).
        expected.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert mean(out, "eroded")["dice_mean"] == pytest.approx(np.mean(expected), abs=1e-9)


def test_given_masks_are_compared_and_ranked_like_systems(scored):
    out, _ = scored
    pairs = json.loads(pfbench("compare", out, "truth", "eroded", "--json").out)["pairs"]
    dice = pairs[0]
    assert dice["verdict"] == "better"
    assert dice["n_patients"] == 6


def test_the_answer_names_given_masks_too(scored):
    out, _ = scored
    assert "truth has the best Dice, 100.0 %" in (out / "table.md").read_text()


def test_what_nobody_reported_stays_empty(scored):
    row = mean(scored[0], "truth")
    assert row[["time_s_p50", "infer_peak_mib", "parameters", "gflops_per_volume"]].isna().all()


def test_what_somebody_reported_stands_in_a_column_of_its_device(scored):
    out, _ = scored
    assert mean(out, "eroded")[["time_s_p50", "parameters"]].tolist() == [1.5, 31e6]
    assert "a GPU (reported, not measured)" in (out / "table.md").read_text()


def test_the_table_says_where_the_masks_come_from(scored):
    text = (scored[0] / "table.md").read_text()
    assert "Eroded seed 0: masks of another tool, 6 files for 6 cases, SHA-256 " in text
    assert "By hand." in text


def test_the_report_draws_given_masks_with_a_colour_of_their_own(scored):
    sections = {s.id: s for s in document([RunFolder(scored[0])], pictures=False).sections}
    assert "given masks" in [key.text for key in sections["cases"].blocks[0].legend]


def test_mlflow_has_a_child_without_settings_of_training(scored):
    children = {
        child.name: child for child in (make() for _, make in children_of(RunFolder(scored[0])))
    }
    child = children["truth seed 0"]
    assert child.params["Type"] == "given masks"
    assert not [name for name in child.params if name.startswith("protocol")]
    assert child.finals["Dice"] == 1


def test_a_run_with_given_masks_verifies(scored):
    assert "no fault found" in pfbench("verify", scored[0]).out


def test_a_changed_mask_is_found_by_verify(scored, tmp_path):
    out = shutil.copytree(scored[0], tmp_path / "run")
    run = RunFolder(out)
    [trial] = [t for t in run.trials() if t.spec().system == "given.eroded"]
    case = run.split().test[0]
    trial.write_mask(case, ~trial.mask(case, trial.mask_form(case).shape))
    assert f"masks/{case}.npz" in pfbench("verify", out, expect=5).said


def test_the_same_command_again_changes_nothing(scored, references, eroded):
    out, _ = scored
    before = {path: path.read_bytes() for path in out.glob("trials/*/*.*")}
    add(out, truth=references)
    assert before == {path: path.read_bytes() for path in out.glob("trials/*/*.*")}
    assert mean(out, "eroded")["dice_mean"] < 1


@pytest.mark.long
def test_the_run_goes_on_and_keeps_given_rows(run, references):
    add(run, truth=references)
    done = pfbench(*RUN, "--out", run, "--no-mlflow")
    assert "already done: 1" in done.out
    assert mean(run, "truth")["dice_mean"] == 1


def test_given_masks_have_no_network_to_predict_with(scored, tmp_path):
    done = pfbench("predict", scored[0], tmp_path, "--model", "truth", "--out", tmp_path / "x",
                   expect=5)  # fmt: skip
    assert "has no network here: its masks were made by another tool" in done.said


def test_a_name_given_twice_is_two_trainings_of_one_tool(run, references, eroded):
    [tool] = add(run, tool=[references, eroded])
    assert tool["seed"] == "0 1"


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


def said(run, masks, *more, expect=3):
    done = score(run, "--predictions", f"x={masks}", *more, expect=expect)
    assert "x" not in json.loads((run / "run.json").read_text())["suites"]["table5"][-1]["key"]
    return done.said


def first(masks):
    return min(masks.iterdir())


def test_a_missing_mask_is_named(run, masks):
    lost = first(masks)
    lost.unlink()
    assert f"masks/{lost.name.partition('.')[0]}: has no mask" in said(run, masks)


def test_a_mask_of_a_training_case_is_named_as_such(run, masks):
    case = RunFolder(run).split().train[0]
    shutil.copy(first(masks), masks / f"{case}.nii.gz")
    assert f"is of no test case: {case} trains in this run" in said(run, masks)


def test_a_mask_of_another_shape_is_named(run, masks):
    image = nibabel.load(first(masks))
    small = nibabel.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine)
    nibabel.save(small, first(masks))
    assert "shape (32, 64, 63) (D, H, W)" in said(run, masks)


def test_a_mask_elsewhere_is_named_with_its_distance(run, masks):
    image = nibabel.load(first(masks))
    affine = image.affine.copy()
    affine[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), first(masks))
    assert "a corner is 5 mm away" in said(run, masks)


def test_a_mask_in_other_units_lies_elsewhere(run, masks):
    image = nibabel.load(first(masks))
    image.header.set_xyzt_units("micron")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), first(masks))
    assert "lies elsewhere than the scan of" in said(run, masks)


def test_labels_that_no_reference_has_are_refused_with_the_option(run, masks):
    image = nibabel.load(first(masks))
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 3, image.affine), first(masks))
    text = said(run, masks)
    assert "masks hold label 3, which no reference of the test cases holds" in text
    assert "--values" in text


def test_labels_may_be_said_to_be_the_target(run, masks):
    for path in masks.iterdir():
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 7, image.affine), path)
    [found] = add(run, x=masks, values={"": (7,)})
    assert found["dice_mean"] > 0.5


def test_a_name_of_a_trained_row_is_refused(run, masks):
    done = score(run, "--predictions", f"resunet3d_up={masks}", expect=2)
    assert "is a row of table5 that was trained here" in done.said


def test_facts_with_an_unknown_key_name_the_line(run, masks, tmp_path):
    facts = tmp_path / "facts.yaml"
    facts.write_text("x:\n  second: 3\n")
    text = said(run, masks, "--facts", facts, expect=2)
    assert "facts.yaml:1" in text
    assert "second" in text


def test_a_mask_for_each_target_may_lie_in_a_folder_of_the_case(run, masks):
    for path in [*masks.iterdir()]:
        folder = masks / path.name.partition(".")[0]
        folder.mkdir()
        path.rename(folder / "wt.nii.gz")
    [found] = add(run, x=masks)
    assert found["dice_mean"] > 0.5


# ── without a run ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def alone(references, eroded):
    """Two sets of masks against references; nothing was trained."""
    out = references.parent / "alone"
    done = score("--truth", references, "--predictions", f"a={references}", "--predictions",
                 f"b={eroded}", "--out", out)  # fmt: skip
    return out, done


def test_two_sets_without_a_run_get_table_tests_and_report(alone):
    out, done = alone
    assert mean(out, "a")["dice_mean"] == 1
    assert "a has the best Dice, 100.0 %" in done.out
    assert "The tests show it to be better than every other system." in done.out
    page = (out / "report.html").read_text()
    assert "Nothing was trained for this report" in page


def test_two_sets_without_a_run_are_compared_by_name(alone):
    out, _ = alone
    pairs = json.loads(pfbench("compare", out, "a", "b", "--json").out)["pairs"]
    assert [pair["metric"] for pair in pairs] == ["dice", "hd95_mm", "jaccard"]


def test_a_folder_of_given_masks_alone_verifies(alone):
    assert pfbench("verify", alone[0]).out.splitlines() == [
        "not checked: masks against references: only `pfbench score` has these",
        "no fault in 2 trials in what could be checked; the rest is neither right nor wrong",
    ]


def test_a_table_without_training_speaks_neither_of_profiles_nor_of_the_paper(alone):
    text = (alone[0] / "table.md").read_text()
    assert "profile" not in text
    assert "paper" not in text


def test_other_references_are_not_mixed_into_the_same_folder(alone, eroded):
    out, _ = alone
    done = score("--truth", eroded, "--predictions", f"a={eroded}", "--out", out, expect=2)
    assert "holds other scores" in done.said


def test_a_run_and_references_together_are_refused(alone, references):
    done = score(alone[0], "--truth", references, "--predictions", f"a={references}", expect=2)
    assert "not both" in done.said
