"""Cross-validation: each case tests once, in its patient's fold, and one table has them all."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from helper_in_process import pfbench
from helper_made_run import history, made_run, made_trial, row, scored, spec

from harness.data.divide import Roster
from harness.data.request import DataRequest
from harness.data.split import Split
from harness.data.volumes import Prepared
from harness.errors import StateError, UsageError
from harness.experiments.folds import FoldChoice, crossed, divisions, settings_of
from harness.experiments.session import divided as single
from harness.results.rows import rows
from harness.results.standings import stand
from harness.results.tables import build
from harness.runs.measures import DICE
from harness.runs.plan import plan
from harness.runs.records import FoldRecord, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.settings import resolve
from harness.runs.suites import chosen
from harness.systems.evaluate import summary

CASES = [f"p{number:02}_{scan}" for number in range(11) for scan in "ab"]
KNOWN = Roster(tuple(CASES), patient="{patient}_*")


def settings(*changes):
    return resolve("quick", None, changes, None)


def divided(choice="all", *changes, known=KNOWN):
    asked = FoldChoice.of(choice)
    return divisions(settings_of(settings(*changes), asked), asked, known)


# ── which folds ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("choice", "count"), [("all", 5), ("3", 3), ("11", 11), ("0,2", 5)])
def test_each_case_tests_in_one_fold_and_trains_or_validates_in_all_others(choice, count):
    made = [each.division.split for each in divided(choice)]
    assert len(made) == count
    assert sorted(case for split in made for case in split.test) == sorted(CASES)
    assert all(sorted(c for p in s.parts.values() for c in p) == sorted(CASES) for s in made)


def test_the_scans_of_a_patient_are_in_the_same_fold():
    for each in divided():
        assert each.division.split.shared_patients() == {}


def test_a_fold_is_the_split_that_its_number_has_without_cross_validation():
    for each in divided():
        alone = single(settings(f"split.fold={each.number}"), KNOWN)
        assert alone.split == each.division.split


def test_a_given_list_of_folds_is_followed(tmp_path):
    path = tmp_path / "folds.csv"
    lines = "".join(f"{case},{int(case[1:3]) % 3}\n" for case in CASES)
    path.write_text("case,fold\n" + lines)
    made = divided("all", f"split.file={path}")
    assert [each.division.split.test[0] for each in made] == ["p00_a", "p01_a", "p02_a"]


def test_a_site_tests_while_the_others_train(tmp_path):
    path = tmp_path / "sites.csv"
    sites = {case: ("oslo", "bern", "graz")[int(case[1:3]) % 3] for case in CASES}
    lines = "".join(f"{case},{case[:3]},{site}\n" for case, site in sites.items())
    path.write_text("case,patient,site\n" + lines)
    made = divided("all", f"split.group={path}", "split.kind=site")
    assert [each.said for each in made] == ["fold 0 (bern)", "fold 1 (graz)", "fold 2 (oslo)"]
    for each in made:
        assert {sites[case] for case in each.division.split.test} == {each.division.name}
        assert each.division.name not in {sites[case] for case in each.division.split.train}


@pytest.mark.parametrize(
    ("choice", "changes", "said"),
    [
        ("some", (), "names no folds"),
        ("1", (), "split.fold=1"),
        ("0,7", (), "there is no fold 7: there are folds 0 to 4"),
        ("all", ("split.fold=2",), "split.fold=2 is one fold"),
        ("all", ("split.kind=official",), "one fold"),
        ("all", ("split.kind=site",), "case,patient,site"),
        ("12", (), "split.folds=3"),
    ],
)
def test_folds_that_there_cannot_be_are_refused_with_the_remedy(choice, changes, said):
    with pytest.raises(Exception, match=said) as refused:
        divided(choice, *changes)
    assert said in str(refused.value)


def test_a_case_that_two_folds_test_is_refused(tmp_path):
    half = [{"train": CASES[:8], "val": CASES[8:]}, {"train": CASES[10:], "val": CASES[:10]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(half))
    with pytest.raises(UsageError, match="p04_a is tested by fold 0 and by fold 1"):
        divided("all", f"split.file={tmp_path / 'splits_final.json'}")


# ── which trials ────────────────────────────────────────────────────────────────────────────────


def planned(choice, seeds=1):
    keys = dict.fromkeys(CASES, "k")
    data = Prepared("phantom", "", ("flair",), "wt", (32, 64, 64), True, keys, "f")
    asked, tables = FoldChoice.of(choice), chosen("table3", "quick", (), ("res/none", "res/tfm"))
    chosen_settings = settings_of(settings(), asked)
    made = divisions(chosen_settings, asked, KNOWN)
    validation, first, _ = crossed(DataRequest("phantom"), asked, made, lambda train, what: data)
    split = validation.folds[0].split
    return plan(tables, chosen_settings, first, split, seeds=seeds, crossed=validation)


def test_a_trial_of_a_fold_is_the_trial_of_a_single_split():
    crossed_ids = {spec.fold: spec.id for spec in planned("all").rows[0].trials}
    for fold in (0, 3):
        alone = settings(f"split.fold={fold}")
        data = Prepared("phantom", "", ("flair",), "wt", (32, 64, 64), True, {}, "f")
        tables = chosen("table3", "quick", (), ("res/none",))
        [only] = plan(tables, alone, data, single(alone, KNOWN).split).rows[0].trials
        assert only.id == crossed_ids[fold]


def test_some_folds_have_the_protocol_of_all_so_that_machines_can_share_them():
    assert planned("0,2").protocol_hash == planned("all").protocol_hash
    assert planned("3").protocol_hash != planned("all").protocol_hash


def test_each_fold_of_each_seed_is_a_trial_and_fine_tuning_starts_from_its_own_fold():
    made = planned("all", seeds=2)
    trained, tuned = made.rows
    assert [(s.seed, s.fold) for s in trained.trials] == [(s, f) for s in (0, 1) for f in range(5)]
    assert [spec.base.id for spec in tuned.trials] == [spec.id for spec in trained.trials]
    assert made.names[trained.trials[7].id] == "Res, w/o TPF seed 1 fold 2"


def test_training_cases_of_a_fold_decide_its_intensities(tmp_path):
    root = tmp_path / "ct"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "t": 1},
             "numTraining": 7, "file_ending": ".nii.gz"}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(about))
    for number in range(7):
        drawn = np.random.default_rng(number).integers(-100, 300, (20, 20, 16)).astype(np.int16)
        label = np.zeros(drawn.shape, np.uint8)
        label[5:11, 5:11, 5:11] = 1
        drawn += label.astype(np.int16) * (200 + 20 * number)
        nib.save(nib.Nifti1Image(drawn, np.eye(4)), root / f"imagesTr/c{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / f"labelsTr/c{number}.nii.gz")
    command = ["run", "--suite", "table3", "--row", "res/none", "--profile", "quick",
               "--dataset", "folder", "--data-root", root, "--cache", tmp_path / "cache",
               "--out", tmp_path / "run", "--dry-run", "--json"]  # fmt: skip
    folds = [trial["trial"] for trial in json.loads(pfbench(*command, "--folds", 3).out)]
    alone = [
        json.loads(pfbench(*command, "--set", "split.folds=3", "--set", f"split.fold={fold}").out)
        for fold in range(3)
    ]
    assert folds == [trial["trial"] for [trial] in alone]


# ── one table ───────────────────────────────────────────────────────────────────────────────────

DICE_OF = {"unet3d": 0.6, "resunet3d_up": 0.7}
FOLDS = {0: CASES[:8], 1: CASES[8:16], 2: CASES[16:]}


def line(case, dice):
    return {"case": case, "dice": dice, "jaccard": dice / (2 - dice), "hd95_mm": 5.0,
            "hd95_max_mm": 5.0, "hd95_voxels": 5.0, "hd95_official": 5.0, "target_ml": 12.0,
            "failed": False}  # fmt: skip


def crossed_run(path, seeds=(0,), folds=FOLDS):
    """A run of two systems over three folds; fold f is f points above the first."""
    folder = RunFolder(path)
    tables = []
    for system, level in DICE_OF.items():
        trials = []
        for seed in seeds:
            for fold, cases in folds.items():
                trial = made_trial(folder, spec(system, seed, fold=fold), history(2))
                lines = [line(c, level + 0.01 * (fold + n % 3)) for n, c in enumerate(cases)]
                trial.write_cases(lines)
                scored(system, metrics=summary(lines), n_cases=len(cases)).write(trial.result_file)
                trials.append(trial)
        tables.append(row(trials, key=system))
    data = spec().data.model_dump(mode="json")
    made = made_run(path, {"table5": tables}, cases=CASES)
    content = json.loads(made.manifest_file.read_text())
    content["folds"] = {str(f): FoldRecord(data=data).model_dump() for f in folds}
    content["protocol"]["folds"] = 3
    made.manifest_file.write_text(json.dumps(content))
    patients = {case: case[:3] for case in CASES}
    made.write_folds(
        {f: Split(("x",), ("y",), tuple(cases), patients) for f, cases in folds.items()}
    )
    return made


def test_the_table_has_each_case_once_and_its_mean_is_over_all_cases(tmp_path):
    found = build(crossed_run(tmp_path / "run"))
    mean = found.frame[found.frame["row"] == "mean"].iloc[0]
    assert (mean["n_cases"], mean["seed"], mean["fold"]) == (len(CASES), "0", "0 1 2")
    by_hand = [0.6 + 0.01 * (f + n % 3) for f, cases in FOLDS.items() for n in range(len(cases))]
    assert mean["dice_mean"] == pytest.approx(sum(by_hand) / len(by_hand))
    assert pd.isna(mean["dice_seed_std"]), "folds are no repetitions"


def test_the_spread_over_the_folds_stands_under_the_table(tmp_path):
    found = build(crossed_run(tmp_path / "run"))
    [note] = [note for note in found.notes if note.startswith("UNet3D, Dice by fold")]
    assert "60.87 (fold 0), 61.87 (fold 1), 63.00 (fold 2); standard deviation 1.06" in note


def test_patients_are_the_unit_over_all_folds(tmp_path):
    run = crossed_run(tmp_path / "run", seeds=(0, 1))
    standing = stand(rows(run, "table5"), DICE)
    assert len(standing.scores["unet3d"].patients) == 11
    assert standing.scores["unet3d"].n_seeds == 2


def test_a_seed_without_one_of_its_folds_is_left_out_whole(tmp_path):
    run = crossed_run(tmp_path / "run", seeds=(0, 1))
    broken = next(t for t in rows(run)[0].trials if (t.spec().seed, t.spec().fold) == (1, 2))
    broken.result_file.unlink()
    broken.write_failure("train", "cuda_oom", "")
    standing = stand(rows(run, "table5"), DICE)
    assert standing.scores["unet3d"].n_seeds == 1
    assert "UNet3D, seed 1 fold 2, is left out: it failed (cuda_oom)" in standing.notes


def test_folds_of_two_machines_are_one_report(tmp_path):
    crossed_run(tmp_path / "whole")
    first = crossed_run(tmp_path / "a", folds={0: FOLDS[0]})
    second = crossed_run(tmp_path / "b", folds={f: FOLDS[f] for f in (1, 2)})
    together = build(first, second).frame
    whole = build(RunFolder(tmp_path / "whole")).frame
    columns = ["key", "row", "seed", "fold", "n_cases", "dice_mean", "dice_std", "dice_fold_std"]
    assert together[columns].to_csv() == whole[columns].to_csv()


def test_commands_read_a_cross_validation(tmp_path):
    run = crossed_run(tmp_path / "run")
    compared = json.loads(pfbench("compare", run.path, "--json").out)
    assert {pair["n_patients"] for pair in compared["pairs"]} == {11}
    assert "3 of 3 folds" in pfbench(
        "report", run.path, "--format", "md", "--no-pictures"
    ).said or ("each tested once" in (run.path / "report.md").read_text())
    assert "undecided" in pfbench("claims", run.path).said


def test_a_study_over_folds_is_refused_with_the_way_to_search_in_each():
    done = pfbench("tune", "lr", "--folds", "all", expect=2)
    assert "a study for each fold: --set split.fold=0" in done.said


def test_predict_names_the_folds_that_a_network_can_come_from(tmp_path):
    run = crossed_run(tmp_path / "run")
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    done = pfbench("predict", run.path, tmp_path / "scan.nii.gz", "--out", tmp_path / "masks",
                   "--model", "unet3d", "--fold", 7, expect=2)  # fmt: skip
    assert "no trial fits 'unet3d', seed 0, fold 7" in done.said


def test_the_split_of_a_fold_that_there_is_not_is_an_error_and_not_another(tmp_path):
    run = crossed_run(tmp_path / "run")
    assert run.split_of(spec(fold=2)).test == tuple(FOLDS[2])
    with pytest.raises(StateError, match=r"split\.json: has folds 0, 1, 2, and trial .* of fold 7"):
        run.split_of(spec(fold=7))
    run.write_split(Split(("a",), ("b",), ("c",)))
    assert run.split_of(spec(fold=7)).test == ("c",), "a single split is that of all its trials"


# ── from end to end ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_cross_validation_runs_continues_and_is_whole(tmp_path):
    command = ["run", "--suite", "table3", "--row", "res/none", "--row", "res/tfm", "--epochs", 1,
               "--set", "phantom.cases=6", "--executor", "inline",
               "--out", tmp_path / "run"]  # fmt: skip
    pfbench(*command, "--folds", "3")
    table = pd.read_csv(tmp_path / "run" / "table.csv")
    assert table[table["row"] == "mean"]["n_cases"].tolist() == [6, 6]
    again = json.loads(pfbench(*command, "--folds", "3", "--dry-run", "--json").out)
    assert [trial["state"] for trial in again] == ["ok"] * 6
    assert "no fault found in 6 trials" in pfbench("verify", tmp_path / "run").said
    assert isinstance(RunFolder(tmp_path / "run").trials()[0].result(), Scored)
