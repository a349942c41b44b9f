"""The main job as its user runs it: real Ray, real sqlite, real processes, real kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import helper_in_process
import pandas as pd
import pytest
from test_probe import GREEDY

TOP = Path(__file__).parent.parent
TINY = ["--suite", "table5", "--set", "phantom.cases=4", "--measure-repeats", "1"]
PAIR = [*TINY, "--model", "hdresunet", "--model", "resunet3d_up", "--epochs", "3"]


def command(*arguments):
    return [sys.executable, "-c", "from harness.cli import main; main()", *map(str, arguments)]


def pfbench(*arguments, expect=0):
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def scores(out):
    """What must not depend on how the run went: everything but time, memory and place."""
    table = pd.read_csv(out / "table.csv")
    free = ["time_s_p50", "time_s_p90", "infer_peak_mib", "train_peak_mib", "threads"]
    return table.drop(columns=free)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    done = pfbench("run", *TINY, "--epochs", 1, "--out", out)
    return out, done


def test_every_system_of_table_5_has_a_row_with_numbers(finished):
    out, _ = finished
    table = pd.read_csv(out / "table.csv")
    assert table["row"].value_counts().to_dict() == {"trial": 9, "mean": 9}
    assert (table["status"] == "ok").all()
    needed = ["dice_mean", "hd95_mean", "jaccard_mean", "time_s_p50", "infer_peak_mib",
              "train_peak_mib", "parameters", "gflops_per_volume"]  # fmt: skip
    assert not table[needed].isna().any().any()
    assert table["paper_dice"].isna().all(), "the paper's figures stand beside its own data only"


def test_the_run_ends_with_a_report_that_holds_pictures(finished):
    out, done = finished
    assert f"report      {out / 'report.html'}" in done.stdout
    page = (out / "report.html").read_text()
    assert "Table V on phantom" in page
    assert "data:image/png;base64," in page


def test_the_first_lines_say_what_runs_and_the_last_where_the_results_are(finished):
    out, done = finished
    for word in ("suite", "dataset", "protocol", "trials      9, of these already done: 0"):
        assert word in done.stdout
    assert "synthetic data: not comparable with the paper" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == f"compare     pfbench ui {out}"


def test_ray_says_nothing(finished):
    _, done = finished
    assert "ray" not in done.stdout.lower().replace("array", "")
    assert done.stderr == ""


def test_mlflow_holds_one_parent_and_a_child_for_each_trial(finished):
    out, _ = finished
    code = (
        "from mlflow.tracking import MlflowClient; import sys, json\n"
        "client = MlflowClient(sys.argv[1])\n"
        "[experiment] = [e for e in client.search_experiments() if e.name == 'pfbench']\n"
        "runs = client.search_runs([experiment.experiment_id])\n"
        "print(json.dumps([[r.data.tags.get('mlflow.parentRunId'), r.info.status, "
        "r.data.metrics.get('Dice'), r.data.metrics.get('Time s')] "
        "for r in runs]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{out / 'mlflow.db'}"],
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    parents = [run for run in runs if run[0] is None]
    children = [run for run in runs if run[0] is not None]
    # Eight systems, and PFSeg as it was trained, from which the fine-tuned one starts.
    assert (len(parents), len(children), len({run[0] for run in children})) == (1, 9, 1)
    assert all(status == "FINISHED" for _, status, *_ in runs)
    assert all(dice is not None for _, _, dice, _ in children)
    assert sum(time is not None for *_, time in children) == 9


def test_the_same_command_again_trains_nothing_and_gives_the_same_table(finished):
    out, _ = finished
    before = scores(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/result.json")}
    done = helper_in_process.pfbench("run", *TINY, "--epochs", 1, "--out", out)
    assert "trials      9, of these already done: 9" in done.out
    assert stamps == {p: p.stat().st_mtime_ns for p in out.glob("trials/*/result.json")}
    pd.testing.assert_frame_equal(scores(out), before)


def test_another_protocol_in_the_same_folder_is_refused_and_named(finished):
    out, _ = finished
    done = helper_in_process.pfbench("run", *TINY, "--epochs", 2, "--out", out, expect=2)
    assert "protocol.epochs: 1 → 2" in done.err


def test_the_table_can_be_made_again_from_the_files(finished):
    out, _ = finished
    before = (out / "table.csv").read_bytes()
    (out / "table.csv").unlink()
    helper_in_process.pfbench("report", out)
    assert (out / "table.csv").read_bytes() == before


def test_the_run_folder_is_for_its_owner_only(finished):
    out, _ = finished
    assert out.stat().st_mode & 0o077 == 0
    open_to_others = [p for p in out.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_driver_killed_half_way_loses_nothing_and_repeats_nothing(tmp_path):
    undisturbed, killed = tmp_path / "whole", tmp_path / "killed"
    again = ["run", *PAIR, "--executor", "inline", "--no-mlflow", "--out"]
    helper_in_process.pfbench(*again, undisturbed)
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    driver = subprocess.Popen(
        command("run", *PAIR, "--out", killed, "--no-mlflow", "--max-concurrent", 1),
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list(killed.glob("trials/*/history.csv"))) < 2:  # the second trial has begun
        assert time.monotonic() < deadline, "no second trial within two minutes"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = list(killed.glob("trials/*/result.json"))
    stamps = {path: path.stat().st_mtime_ns for path in done}
    assert len(done) == 1
    helper_in_process.pfbench(*again, killed)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    pd.testing.assert_frame_equal(scores(killed), scores(undisturbed))


def test_a_failing_trial_is_a_row_with_a_reason_and_the_others_go_on(tmp_path):
    plugin = tmp_path / "greedy.py"
    plugin.write_text(GREEDY)
    models = ["--plugin", plugin, "--model", "greedy", "--model", "resunet3d_up", "--epochs", 1]
    inline = ["--executor", "inline", "--no-mlflow", "--out", tmp_path / "out", "--json"]
    done = helper_in_process.pfbench("run", *TINY, *models, *inline, expect=4)
    rows = {r["model"]: r for r in json.loads(done.out)["rows"] if r["row"] == "mean"}
    assert rows["greedy"]["status"] == "failed"
    assert rows["greedy"]["dice_mean"] is None
    assert rows["resunet3d_up"]["status"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--suite", "tabel5"], "Did you mean 'table5'", 2),
        (["--suite", "table5", "--model", "unet3"], "Did you mean 'unet3d'", 2),
        (["--suite", "table5", "--dataset", "brats"], "--data-root", 2),
        (["--suite", "table5", "--gpus-per-trial", "-1"], "--gpus-per-trial", 2),
        (["--suite", "table5", "--tracking-uri", "file:/x"], "not a supported MLflow store", 2),
        (["--suite", "table5", "--epochs", "0"], "--epochs", 2),
    ],
)
def test_wrong_options_are_explained_without_a_traceback(tmp_path, arguments, said, code):
    done = helper_in_process.pfbench("run", *arguments, "--out", tmp_path / "out", expect=code)
    assert said in done.err


def test_a_dry_run_lists_the_trials_and_trains_none(tmp_path):
    done = helper_in_process.pfbench("run", *TINY, "--dry-run", "--json", "--out", tmp_path)
    trials = json.loads(done.out)
    assert [trial["state"] for trial in trials] == ["new"] * 9
    assert not (tmp_path / "trials").exists()
