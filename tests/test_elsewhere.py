"""Data of other origins: trained networks are scored there, and none trains or is chosen there."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helper_in_process import pfbench
from helper_made_run import history, made_run, made_trial, row, scored, spec

from harness.data import phantom
from harness.data.split import Split
from harness.data.volumes import Prepared
from harness.errors import UsageError
from harness.experiments.elsewhere import OtherRequest, asked
from harness.results.drops import difference, drops
from harness.results.intervals import Interval
from harness.results.rows import rows
from harness.results.tables import build, markdown
from harness.runs.plan import Elsewhere, plan
from harness.runs.records import OtherRecord
from harness.runs.run_folder import RunFolder
from harness.runs.settings import resolve
from harness.runs.spec import OtherSet
from harness.runs.suites import chosen, suite
from harness.systems.evaluate import summary

HERE = [f"home-{number}" for number in range(8)]
THERE = [f"away-{number}" for number in range(9)]
OTHER = OtherSet(name="b", fingerprint="beef", synthetic=True)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def test_names_folders_and_patterns_are_read_by_name(tmp_path):
    found = asked(
        ["b=DIR", "c=X=Y"], ["b:t2={case}_t2.nii.gz"], ["b:{case}_seg.nii.gz"], {"b": ("x",)}
    )
    assert [(one.name, str(one.root)) for one in found] == [("b", "DIR"), ("c", "X=Y")]
    assert found[0].images == ("t2={case}_t2.nii.gz",)
    assert found[1] == OtherRequest("c", found[1].root)


@pytest.mark.parametrize(
    ("tests", "images", "said"),
    [
        (["DIR"], [], "not of the form NAME="),
        (["a b=DIR"], [], "not of the form NAME="),
        (["b=X", "b=Y"], [], "two data sets of one name"),
        (["b=X"], ["c:t2={case}.nii.gz"], "'c' is no data set of --test"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_form(tests, images, said):
    with pytest.raises(UsageError, match=said):
        asked(tests, images, [], {})


# ── which trials ────────────────────────────────────────────────────────────────────────────────


def planned(*keys, tests=True):
    data = Prepared("phantom", "", ("flair",), "wt", (32, 64, 64), True, {}, "f")
    other = Elsewhere("b", True, "c", {"beef": dict.fromkeys(THERE, "k")}, {0: "beef"}, {})
    tables = chosen("table3", "quick", (), keys)
    split = Split(("a",), ("b",), ("c",))
    settings = resolve("quick", None, (), None)
    return plan(tables, settings, data, split, elsewhere=[other] if tests else [])


def test_testing_elsewhere_trains_nothing_and_leaves_the_ids_of_all_other_trials():
    alone, also = planned("res/none", "res/tfm", tests=False), planned("res/none", "res/tfm")
    assert also.to_train == alone.to_train
    assert list(also.trials)[: len(alone.trials)] == list(alone.trials)
    assert also.protocol_hash == alone.protocol_hash


def test_a_fine_tuned_row_stands_beside_its_untuned_network():
    made = [row for row in planned("res/tfm").rows if row.suite == "table3@b"]
    untuned, tuned = made
    assert (untuned.row.key, tuned.row.key) == ("res/tfm/untuned", "res/tfm")
    assert untuned.trials[0].base == tuned.trials[0].base
    assert not untuned.trials[0].tuned
    assert tuned.trials[0].test == OTHER


def test_the_untuned_network_has_one_row_where_the_suite_has_it_anyway():
    keys = [row.row.key for row in planned("res/none", "res/tfm").rows if "@" in row.suite]
    assert keys == ["res/none", "res/tfm"]


def test_costs_are_not_measured_again_on_other_data():
    assert suite("table5@b").shows == ("dice", "hd95", "jaccard")


# ── what the table says ─────────────────────────────────────────────────────────────────────────


def line(case, dice):
    return {"case": case, "dice": dice, "jaccard": dice / (2 - dice), "hd95_mm": 5.0,
            "hd95_max_mm": 5.0, "hd95_voxels": 5.0, "hd95_official": 5.0, "target_ml": 12.0,
            "failed": False}  # fmt: skip


def scored_on(folder, its_spec, cases, level):
    trial = made_trial(folder, its_spec, history(2))
    lines = [line(case, level + 0.01 * number) for number, case in enumerate(cases)]
    trial.write_cases(lines)
    base = its_spec.base.id if its_spec.base else None
    scored(its_spec.system, metrics=summary(lines), n_cases=len(cases), base=base).write(
        trial.result_file
    )
    return trial


def moved_run(path, seeds=(0,)):
    """Networks at home and on other data; on both, each is 3 points better than the one before."""
    folder = RunFolder(path)
    home = [scored_on(folder, spec("unet3d", s), HERE, 0.8 + 0.03 * s) for s in seeds]
    away = [scored_on(folder, spec("unet3d", s, test=OTHER), THERE, 0.6 + 0.03 * s) for s in seeds]
    tables = {"table5": [row(home)], "table5@b": [row(away)]}
    made_run(path, tables, cases=HERE)
    content = json.loads(folder.manifest_file.read_text())
    record = OtherRecord(cases=THERE, synthetic=True, content="c", notes=["b: 9 cases"])
    content["tests"] = {"b": record.model_dump()}
    folder.manifest_file.write_text(json.dumps(content))
    return folder


def test_each_origin_has_a_table_and_the_drop_beside_it(tmp_path):
    run = moved_run(tmp_path / "run")
    [dice, _, _] = drops(rows(run, "table5@b"))
    assert dice.internal.estimate == pytest.approx(83.5)
    assert dice.external.estimate == pytest.approx(64.0)
    assert dice.worse.estimate == pytest.approx(19.5)
    assert 0 < dice.worse.low < 19.5 < dice.worse.high
    text = markdown(build(run))
    assert "Table V: all systems under one protocol, tested on b" in text
    assert "| UNet3D | Dice (%) | 83.50 | 64.00 | +19.50 [" in text
    assert "b: 9 cases" in text


def test_the_interval_of_a_drop_is_as_wide_as_those_of_both_sides_together():
    first, second = Interval(80.0, 77.0, 83.0, 50, 1), Interval(70.0, 66.0, 74.0, 40, 1)
    found = difference(first, second)
    assert (found.estimate, found.low, found.high) == (10.0, 5.0, 15.0)
    assert found.n_patients == 40


def test_a_drop_is_about_the_networks_that_both_sides_have(tmp_path):
    run = moved_run(tmp_path / "run", seeds=(0, 1, 2))
    [dice, _, _] = drops(rows(run, "table5@b"))
    [alone, _, _] = drops(rows(moved_run(tmp_path / "one"), "table5@b"))
    assert dice.worse[:3] == pytest.approx(alone.worse[:3])


def test_too_few_patients_on_one_side_leave_a_drop_without_an_interval():
    few = Interval(70.0, None, None, 2, 1, "n too small")
    found = difference(Interval(80.0, 77.0, 83.0, 50, 1), few)
    assert (found.estimate, found.low, found.note) == (10.0, None, "n too small")


def test_json_has_the_drops(tmp_path):
    run = moved_run(tmp_path / "run")
    content = json.loads(pfbench("report", run.path, "--format", "csv", "--json").out)
    [dice, *_] = content["drops"]
    assert (dice["suite"], dice["metric"], round(dice["worse_by"], 2)) == ("table5@b", "dice", 19.5)


# ── from end to end ─────────────────────────────────────────────────────────────────────────────


def noisier(root):
    """The same kind of phantoms from another scanner: another contrast, and noise."""
    phantom.write(root, cases=3, shape=(39, 60, 60), seed=9)
    drawn = np.random.default_rng(0)
    for path in sorted(root.glob("*/*_flair.nii*")):
        scan = nib.load(path)
        image = np.asarray(scan.dataobj, dtype=float)
        image[image > 0] **= 0.8
        image += drawn.normal(0, 0.05 * image.max(), image.shape)
        nib.save(nib.Nifti1Image(image.clip(0).astype(np.float32), scan.affine), path)


@pytest.mark.long
def test_a_trained_network_is_tested_elsewhere_later_without_training_again(tmp_path):
    phantom.write(tmp_path / "a", cases=5, shape=(39, 60, 60))
    noisier(tmp_path / "b")
    command = ["run", "--suite", "table3", "--row", "res/tfm", "--dataset", "brats",
               "--data-root", tmp_path / "a", "--modalities", "flair", "--profile", "quick",
               "--epochs", 1, "--executor", "inline", "--no-mlflow",
               "--out", tmp_path / "run"]  # fmt: skip
    pfbench(*command)
    trained = sorted(tmp_path.glob("run/trials/*/history.csv"))
    before = [path.stat().st_mtime_ns for path in trained]
    pfbench(*command, "--test", f"scanner_b={tmp_path / 'b'}")
    assert [path.stat().st_mtime_ns for path in trained] == before
    assert sorted(tmp_path.glob("run/trials/*/history.csv")) == trained
    table = pd.read_csv(tmp_path / "run" / "table.csv")
    there = table[(table["suite"] == "table3@scanner_b") & (table["row"] == "mean")]
    assert there["key"].tolist() == ["res/tfm/untuned", "res/tfm"]
    assert there["n_cases"].tolist() == [3, 3]
    assert "no fault found in 4 trials" in pfbench("verify", tmp_path / "run").said
    other = pfbench(*command, "--test", f"scanner_b={tmp_path / 'a'}", expect=3)
    assert "the same image as case BraTS20_Training_001" in other.said
