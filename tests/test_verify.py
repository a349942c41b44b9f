"""Verification: a run as it was written has no fault, and whatever is changed is named."""

import csv
import hashlib
import json
import random
import shutil
from fnmatch import fnmatch

import pytest
import torch
from helper_changes import another, faults, leaves
from helper_in_process import pfbench
from helper_made_run import MadeRun
from safetensors.torch import load_file, save_file

from harness.checks.verify.folder import verify
from harness.checks.verify.predictions import FEW
from harness.errors import ClusterError, StateError
from harness.runs.files import read_json, write_json
from harness.runs.records import seal_of
from harness.runs.run_folder import RunFolder

RUN = ["--suite", "all", "--row", "selective", "--row", "res/none", "--row", "res/tfm",
       "--epochs", 3, "--set", "phantom.cases=6", "--executor", "inline", "--measure-repeats", 1,
       "--no-mlflow"]  # fmt: skip
"""One network in two tables, trained and measured, and the same fine-tuned; two cases test."""
GRID = (32, 64, 64)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors gain nothing from more, and wait where other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    pfbench("run", *RUN, "--out", out)
    return RunFolder(out)


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the run to be damaged, with the same access."""
    return RunFolder(shutil.copytree(whole.path, tmp_path / "run"))


def trained(folder):
    return folder.trial(folder.run().trials[0])


def tuned(folder):
    return folder.trial(folder.run().trials[1])


def edit_json(path, change):
    content = read_json(path)
    change(content)
    write_json(path, content)


def edit_cell(path, line, column, value):
    """Change one cell of a CSV file; lines are counted from 1, the header."""
    rows = [*csv.reader(path.read_text().splitlines())]
    rows[line - 1][rows[0].index(column)] = value
    path.write_text("".join(",".join(row) + "\n" for row in rows))


def flip_bit(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def faulty(run, whole):
    """File, and file:line, of every fault; the two trials under names of their own."""
    names = {trained(whole).path.name: "TRAINED", tuned(whole).path.name: "TUNED"}
    found = set()
    for fault in verify(run.path).faults:
        file = fault.file
        for trial, name in names.items():
            file = file.replace(f"trials/{trial}", name)
        found |= {file, f"{file}:{fault.line}"}
    return found


def test_a_run_as_it_was_written_has_no_fault(whole):
    report = verify(whole.path)
    assert (report.faults, report.exit_code, report.trials) == ((), 0, 2)
    assert not any("compared" in note or "others may" in note for note in report.notes)


def test_records_without_masks_and_weights_are_checked_as_far_as_they_go(whole, tmp_path):
    records = RunFolder(tmp_path / "records")
    pfbench("export", "records", whole.path, records.path)
    report = verify(records.path, deep=True)
    assert not report.faults
    assert (report.exit_code, report.unchecked) == (
        4,
        ("masks and weights: none is here, as in what `pfbench export records` writes",),
    )
    edit_cell(trained(records).cases_file, 2, "dice", "0.99")
    assert verify(records.path).faults


def test_the_command_changes_nothing(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}
    verify(whole.path)
    assert {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")} == before


def lose_an_epoch(run):
    path = trained(run).path / "history.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))


def swap_epochs(run):
    path = trained(run).path / "history.csv"
    first, second, third, fourth = path.read_text().splitlines(keepends=True)
    path.write_text(first + second + fourth + third)


def edit_a_loss(run):
    edit_cell(trained(run).path / "history.csv", 4, "loss", "0.25")


def raise_the_learning_rate(run):
    edit_cell(trained(run).path / "history.csv", 3, "lr", "0.05")


def make_a_loss_nan(run):
    edit_cell(trained(run).path / "history.csv", 2, "loss", "nan")


def flip_a_bit_of_the_weights(run):
    flip_bit(trained(run).path / "weights.safetensors", -100)


def flip_a_bit_of_a_checkpoint(run):
    flip_bit(trained(run).checkpoints / "epoch-000003.pt", 5000)


def edit_a_dice(run):
    edit_cell(tuned(run).path / "cases.csv", 3, "dice", "0.9")


def edit_a_distance_below_nought(run):
    edit_cell(tuned(run).path / "cases.csv", 2, "hd95_mm", "-1.0")


def claim_a_miss(run):
    edit_cell(trained(run).path / "cases.csv", 2, "failed", "True")


def lose_a_case(run):
    path = tuned(run).path / "cases.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def edit_a_mean(run):
    path = tuned(run).path / "result.json"
    edit_json(path, lambda result: result["metrics"].update(dice_mean=0.99))


def add_metrics_to_a_failure(run):
    (tuned(run).path / "result.json").unlink()
    tuned(run).write_failure("train", "nan_loss", "loss=nan")
    edit_json(tuned(run).path / "result.json", lambda result: result.update(metrics={"dice": 1.0}))


def fail_without_a_reason(run):
    record = {"schema": 1, "status": "failed", "reason": "", "detail": "", "attempts": 1}
    write_json(tuned(run).path / "result.json", record)


def flip_a_bit_of_a_mask(run):
    [path, _] = sorted((tuned(run).path / "masks").iterdir())
    flip_bit(path, path.stat().st_size // 2)


def lose_a_mask(run):
    sorted((tuned(run).path / "masks").iterdir())[0].unlink()


def edit_the_specification(run):
    edit_json(tuned(run).path / "spec.json", lambda spec: spec.update(seed=7))


def edit_the_protocol(run):
    def change(content):
        content["protocol"]["protocol"]["epochs"] = 80
        content["settings"]["protocol"]["epochs"] = 80

    edit_json(run.path / "run.json", change)


def train_on_a_test_case(run):
    def move(split):
        split["train"].append(split["test"].pop())

    edit_json(run.path / "split.json", move)


def train_and_test_on_a_case(run):
    edit_json(run.path / "split.json", lambda split: split["train"].append(split["test"][0]))


def swap_two_volumes(run):
    def swap(data):
        first, second, *_ = data["keys"]
        data["keys"][first], data["keys"][second] = data["keys"][second], data["keys"][first]

    edit_json(run.path / "data.json", swap)


def edit_a_cell_of_the_table(run):
    edit_cell(run.path / "table.csv", 3, "hd95_mean", "1.0")


def edit_the_printed_table(run):
    path = run.path / "table.md"
    path.write_text(path.read_text().replace(" ± ", " ± 9", 1))


def edit_the_median_time(run):
    edit_json(trained(run).path / "measurement.json", lambda m: m.update(inference_s_p50=0.001))


def lose_the_base(run):
    shutil.rmtree(trained(run).path)


def forget_the_base(run):
    def change(content):
        content["trials"].pop(0)

    edit_json(run.path / "run.json", change)


def train_once_more(run):
    write_attempts(trained(run), "train,1,\ntrain,2,\n", end=1)


def skip_an_attempt(run):
    write_attempts(trained(run), "train,1,\ntrain,3,\n", end=2)


def write_attempts(trial, lines, end):
    (trial.path / "attempts.csv").write_text("action,attempt,started\n" + lines)
    edit_json(trial.path / "result.json", lambda result: result.update(attempts=end))


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lose_an_epoch, "TRAINED/history.csv:3"),
        (swap_epochs, "TRAINED/history.csv:3"),
        (edit_a_loss, "TRAINED/history.csv:4"),
        (raise_the_learning_rate, "TRAINED/history.csv:3"),
        (make_a_loss_nan, "TRAINED/history.csv:2"),
        (flip_a_bit_of_the_weights, "TRAINED/weights.safetensors"),
        (flip_a_bit_of_a_checkpoint, "TRAINED/checkpoints/epoch-000003.pt"),
        (edit_a_dice, "TUNED/cases.csv:3"),
        (edit_a_distance_below_nought, "TUNED/cases.csv:2"),
        (claim_a_miss, "TRAINED/cases.csv:2"),
        (lose_a_case, "TUNED/cases.csv"),
        (edit_a_mean, "TUNED/result.json"),
        (add_metrics_to_a_failure, "TUNED/result.json"),
        (fail_without_a_reason, "TUNED/result.json"),
        (flip_a_bit_of_a_mask, "TUNED/masks/phantom_003.npz"),
        (lose_a_mask, "TUNED/masks/phantom_003.npz"),
        (edit_the_specification, "TUNED/spec.json"),
        (edit_the_protocol, "run.json"),
        (train_on_a_test_case, "split.json"),
        (train_and_test_on_a_case, "split.json"),
        (swap_two_volumes, "data.json"),
        (edit_a_cell_of_the_table, "table.csv:3"),
        (edit_the_printed_table, "table.md:7"),
        (edit_the_median_time, "TRAINED/measurement.json"),
        (lose_the_base, "TRAINED/spec.json"),
        (forget_the_base, "TUNED/spec.json"),
        (train_once_more, "TRAINED/attempts.csv"),
        (skip_an_attempt, "TRAINED/attempts.csv:3"),
    ],
)
def test_what_was_changed_is_named_with_its_line(whole, run, damage, place):
    damage(run)
    assert place in faulty(run, whole)


def sign(trial, name):
    """What someone would do who wants the sums to be right."""
    total = hashlib.sha256((trial.path / name).read_bytes()).hexdigest()
    edit_json(trial.path / "result.json", lambda result: result["sha256"].update({name: total}))


def whats(run):
    return " | ".join(fault.what for fault in verify(run.path).faults)


def test_a_network_that_is_not_finite_is_found_although_its_sum_is_right(run):
    path = trained(run).path / "weights.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, path)
    sign(trained(run), path.name)
    assert f"{name}: is not finite" in whats(run)


def test_a_distance_forged_with_its_sums_is_found_when_masks_are_scored_again(run, whole):
    trial = trained(run)
    result = trial.result()
    rows = [*csv.DictReader(trial.cases_file.read_text().splitlines())]
    for line, row in enumerate(rows, 2):
        edit_cell(trial.cases_file, line, "hd95_mm", "1.0")
        assert row["hd95_mm"] != "1.0"
    metrics = result.metrics | {"hd95_mm_mean": 1.0, "hd95_mm_std": 0.0}
    sums = {"metrics": metrics, "sha256": trial.sums(), "gflops_per_volume": 0.001}
    result.model_copy(update=sums).write(trial.result_file)
    assert not any(fault.file.startswith("trials") for fault in verify(run.path).faults)
    said = " | ".join(map(str, verify(run.path, deep=True).faults))
    assert "cases.csv:2: hd95_mm is 1.0, but mask and label give" in said
    assert "gflops_per_volume: is 0.001, but" in said
    assert verify(whole.path, deep=True).faults == ()


def whats_deep(run):
    return [(fault.file, fault.what) for fault in verify(run.path, deep=True).faults]


@pytest.mark.parametrize("forged", ["mask", "weights"])
def test_a_mask_that_its_network_did_not_make_is_found_when_masks_are_predicted_again(run, forged):
    """Scores, sums and seals would be right: a mask is the label, or the network is another one."""
    trial = trained(run)
    if forged == "mask":
        trial.write_mask("phantom_003", run.volume("phantom_003").label > 0)
    else:
        zeros = {name: part * 0 for name, part in load_file(trial.weights_file).items()}
        save_file(zeros, trial.weights_file)
    result = trial.result()
    result.model_copy(update={"sha256": trial.sums()}).write(trial.result_file)
    path = f"trials/{trial.id}/masks/phantom_003.npz"
    assert any(
        file == path and what.startswith("its network predicts another mask: ")
        for file, what in whats_deep(run)
    )


def test_a_few_voxels_that_rounding_moves_are_no_fault_of_a_mask(run):
    mask = trained(run).mask("phantom_003", GRID).copy()
    mask[0, 0, :FEW] ^= True
    trained(run).write_mask("phantom_003", mask)
    assert not any("predicts another" in what for _, what in whats_deep(run))


def test_what_mends_a_fault_is_said_of_the_file_at_fault(run):
    edit_a_loss(run)
    [remedy] = [line for line in verify(run.path).lines if line.startswith("to mend")]
    assert "trials" in remedy and "report" not in remedy
    (run.path / "table.csv").write_text("")
    assert any("`pfbench report` makes them anew" in line for line in verify(run.path).lines)


def test_weights_of_another_network_are_found_although_their_sum_is_right(run):
    path = trained(run).path / "weights.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, path)
    sign(trained(run), path.name)
    assert f"{name}: missing, where the network has torch.float32" in whats(run)


def test_a_network_that_was_never_fine_tuned_is_found_although_its_sum_is_right(run):
    name = "weights.safetensors"
    shutil.copy(trained(run).path / name, tuned(run).path / name)
    sign(tuned(run), name)
    assert "is the network of its base, not fine-tuned" in whats(run)


def test_a_network_that_was_copied_over_that_of_another_seed_is_found(tmp_path):
    made = MadeRun(tmp_path / "run", cases=4, rows=["unet3d"], seeds=(0, 1, 2))
    name = "weights.safetensors"
    for seed, content in enumerate((b"one", b"one", b"two")):
        trial = made.trials["unet3d", seed]
        (trial.path / name).write_bytes(content)
        sign(trial, name)
    told = [fault for fault in verify(made.path).faults if "another seed" in fault.what]
    assert [fault.file for fault in told] == [f"trials/{made.trials['unet3d', 1].id}/{name}"]


def test_a_mask_that_scores_otherwise_is_found_although_its_sum_is_right(whole, run):
    mask = tuned(run).mask("phantom_004", GRID)
    tuned(run).write_mask("phantom_004", ~mask)
    sign(tuned(run), "masks/phantom_004.npz")
    assert "TUNED/cases.csv:3" in faulty(run, whole)


def test_without_the_prepared_volumes_the_masks_are_said_not_to_be_checked(run, tmp_path):
    moved = (run.path / "cache").rename(tmp_path / "elsewhere")
    for deep, code in ((False, 0), (True, 4)):
        report = verify(run.path, deep=deep)
        assert (report.faults, report.exit_code) == ((), code)
        assert report.lines[-2].startswith("not checked: masks against labels: ")
        assert "no fault found" not in report.lines[-1]
    assert verify(run.path, moved, deep=True).unchecked == ()


def volume_of(run, case):
    return run.path / "cache" / run.volume_keys().keys[case]


@pytest.mark.parametrize("lose", [lambda label: flip_bit(label, -1), lambda label: label.unlink()])
def test_a_label_that_cannot_be_read_leaves_its_masks_unchecked(run, lose):
    """Scores forged under right sums would show nowhere but in the masks."""
    lose(volume_of(run, "phantom_003") / "label.npy")
    report = verify(run.path, deep=True)
    assert (report.faults, report.exit_code) == ((), 4)
    assert [gap.partition(":")[0] for gap in report.unchecked] == ["masks of phantom_003"]
    done = pfbench("verify", run.path, "--deep", expect=4)
    assert "not checked: masks of phantom_003" in done.out and "no fault found" not in done.out


def test_a_mask_on_another_grid_is_a_fault_although_its_sum_is_right(run):
    case = "phantom_003"
    trained(run).write_mask(case, trained(run).mask(case, GRID)[:-1])
    sign(trained(run), f"masks/{case}.npz")
    assert "is bool on (31, 64, 64), not a mask on (32, 64, 64)" in whats(run)


def forged(run, change):
    """The faults of run.json once it was changed, sealed and its tables made again."""
    manifest = run.run()
    content = manifest.model_dump(by_alias=True, exclude_unset=True)
    change(content)
    type(manifest).model_validate(content).write(run.manifest_file)
    pfbench("report", run.path)
    found = verify(run.path, deep=True).faults
    assert {fault.file for fault in found} == {"run.json"}
    return " | ".join(fault.what for fault in found)


def swap(rows, *keys):
    first, second = rows
    for key in keys:
        first[key], second[key] = second[key], first[key]


def test_titles_that_were_swapped_are_found_although_all_sums_are_right(run):
    said = forged(run, lambda content: swap(content["suites"]["table3"], "title", "cells"))
    assert (
        "table3.res/none: title is 'Res, TPF w/ TFM only', where the catalogue has 'Res, w" in said
    )
    assert "table3.res/tfm: cells is ['Res', 'w/o TPF'], where" in said


def test_results_that_were_swapped_between_rows_are_found_by_their_options(run):
    said = forged(run, lambda content: swap(content["suites"]["table3"], "trials"))
    assert (
        f"res/none: trial {tuned(run).id} has options.tpf 'tfm', where the row has 'none'" in said
    )


def test_a_built_in_suite_has_no_columns_of_its_own(run):
    columns = {"title": "t", "headings": ["Model"], "shows": ["dice"], "notes": []}

    def change(content):
        content["suite_files"] = {"table3": columns}

    assert "suite_files.table3: is the name of a built-in suite" in forged(run, change)


FREE = (
    *("run.json command", "run.json run_id", "run.json suites.*.made_by.*", "data.json cache"),
    *("run.json settings.data.*", "run.json settings.phantom.*", "run.json settings.reduce.*"),
    *("result.json environment.*", "result.json seconds.*", "measurement.json *"),
)
"""The keys that nothing can be held against once their record is sealed again: docs/trust.md."""


@pytest.mark.parametrize("count", [6, pytest.param(None, marks=pytest.mark.long)])
def test_a_value_that_was_changed_and_sealed_is_found_where_anything_speaks_against_it(run, count):
    trial = trained(run)
    files = (run.manifest_file, run.split_file, run.volume_keys_file, trial.spec_file,
             trial.result_file, trial.measurement_file)  # fmt: skip
    ways = [(path, way) for path in files for way in leaves(read_json(path))]
    missed = set()
    for path, (*way, last) in random.Random(0).sample(ways, count) if count else ways:
        name = f"{path.name} {'.'.join(map(str, (*way, last)))}"
        if any(fnmatch(name, free) for free in FREE):
            continue
        whole = path.read_bytes()
        inner = content = json.loads(whole)
        for key in way:
            inner = inner[key]
        inner[last] = another(inner[last])
        if "seal" in content and last != "seal":
            content["seal"] = seal_of(content)
        path.write_text(json.dumps(content))
        if not faults(run.path):
            missed.add(name)
        path.write_bytes(whole)
    assert missed == set()


@pytest.mark.parametrize("key", ["nobodys", "nobodys/none"])
def test_rows_and_systems_that_nobody_knows_are_faults(run, key):
    content = run.run().model_dump(by_alias=True, exclude_unset=True)
    content["suites"]["table3"][0] |= {"key": key, "system": "nobodys"}
    type(run.run()).model_validate(content).write(run.manifest_file)
    assert f"suites.table3.{key}: " in whats(run)


def test_names_of_trials_are_those_of_their_rows(run):
    first, second = run.run().trials

    def change(content):
        names = content["names"]
        names[first], names[second] = names[second], names[first]

    assert (
        f"names.{second}: is 'selective cropping seed 0', where its row gives 'Res, TPF"
        in forged(run, change)
    )


def test_a_trial_that_no_row_shows_any_more_is_found(run):
    def change(content):
        content["suites"]["table3"].pop()

    assert f"trials: no row shows {tuned(run).id}" in forged(run, change)


def test_a_run_that_was_cut_off_has_notes_and_no_fault(run):
    """Killed between a checkpoint and its sum, in the first trial."""
    first, second = trained(run).path, tuned(run).path
    for path in (*first.glob("*.*"), *second.glob("*.*")):
        if path.name not in ("spec.json", "history.csv"):
            path.unlink()
    (first / "checkpoints" / "epoch-000003.sha256").unlink()
    lines = (first / "history.csv").read_text().splitlines(keepends=True)
    (first / "history.csv").write_text("".join(lines[:3]))
    run.write(run.run().model_copy(update={"status": "running"}))
    report = verify(run.path)
    assert report.faults == ()
    assert any("cut off while it wrote epoch-000003.pt" in note for note in report.notes)
    assert any(gap.startswith("tables: the run was cut off") for gap in report.unchecked)


def test_what_is_only_odd_is_noted(run):
    (run.path / "trials" / "0123456789abcdef").mkdir(mode=0o700)
    (run.path / "trials" / ".result.json.1.tmp").touch(mode=0o600)
    (run.path / "table.md").chmod(0o644)
    report = verify(run.path)
    assert report.faults == ()
    text = "\n".join(report.notes)
    for said in ("0123456789abcdef belongs to no row", "is left of a write", "others may read 1"):
        assert said in text


def test_damaged_json_is_a_fault_and_no_traceback(run):
    for name in ("spec.json", "result.json", "measurement.json", "weights.safetensors"):
        (trained(run).path / name).write_text("{")
    found = {fault.file.rpartition("/")[2] for fault in verify(run.path).faults}
    assert {"spec.json", "result.json", "measurement.json"} <= found


def test_a_trial_outside_of_the_folder_is_no_trial(run):
    edit_json(run.path / "run.json", lambda content: content["trials"].append("../../elsewhere"))
    assert "trials.2: String should match pattern" in whats(run)


def test_a_run_that_a_driver_works_on_is_not_judged(run):
    with run.lock(), pytest.raises(ClusterError, match="files still change"):
        verify(run.path)


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(StateError, match="is not a run folder"):
        verify(tmp_path)


def test_the_report_has_a_line_for_each_fault_and_exit_code_5(run):
    edit_a_mean(run)
    report = verify(run.path)
    trial = f"trials/{tuned(run).id}/result.json"
    assert any(line.startswith(f"{trial}: metrics.dice_mean: is 0.99") for line in report.lines)
    assert any(line.endswith("faults in 2 trials") for line in report.lines)
    assert (report.exit_code, report.record["faults"][-1]["file"]) == (5, trial)


STUDY = ["lr", "--model", "resunet3d_up", "--set", "phantom.cases=4", "--epochs", 2,
         "--trials", 2, "--scheduler", "none", "--no-mlflow", "--no-compare"]  # fmt: skip


@pytest.fixture(scope="module")
def whole_study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    pfbench("tune", *STUDY, "--out", out)
    return out


@pytest.fixture
def study(whole_study, tmp_path):
    return RunFolder(shutil.copytree(whole_study, tmp_path / "study"))


def test_a_study_as_it_was_written_has_no_fault(whole_study):
    report = verify(whole_study)
    assert (report.faults, report.trials) == ((), 2)


POINT = "points/resunet3d_up/0001"


def better_a_point(study):
    edit_json(study.path / POINT / "result.json", lambda result: result.update(value=0.9))


def move_a_point(study):
    edit_json(study.path / POINT / "point.json", lambda point: point["params"].update(lr=1.0))


def edit_the_study_table(study):
    edit_cell(study.path / "study.csv", 2, "value", "0.9")


def edit_the_settings_found(study):
    path = study.path / "best.yaml"
    path.write_text(path.read_text().replace("learning_rate: ", "learning_rate: 9"))


def open_a_test_case(study):
    def add(data):
        [case] = read_json(study.path / "split.json")["test"]
        data["keys"][case] = "0" * 32

    edit_json(study.path / "data.json", add)


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (better_a_point, f"{POINT}/result.json:0"),
        (move_a_point, f"{POINT}/point.json:0"),
        (edit_the_study_table, "study.csv:2"),
        (edit_the_settings_found, "best.yaml:0"),
        (open_a_test_case, "data.json:0"),
    ],
)
def test_what_was_changed_in_a_study_is_named(study, damage, place):
    damage(study)
    assert place in {f"{fault.file}:{fault.line}" for fault in verify(study.path).faults}


def test_a_study_that_scored_a_test_case_is_named(study):
    [trial] = read_json(study.path / POINT / "point.json")["trials"]
    (study.path / "trials" / trial / "cases.csv").write_text("case\n")
    assert f"trials/{trial}/cases.csv" in {fault.file for fault in verify(study.path).faults}
