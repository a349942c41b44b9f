"""MLflow is a mirror: everything once, nothing twice, and no harm when it is away."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from harness import tracking
from harness.errors import TrackingError, UsageError
from harness.ledger import RunFolder, write_bytes, write_json
from harness.mirrored import METRICS as NAMES
from harness.spec import Data, Protocol, TrialSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many kinds

TOP = Path(__file__).parent.parent
METRICS = {f"{name}_{part}": 0.5 for name in NAMES for part in ("mean", "std")}


def spec(seed):
    data = Data(name="phantom", modalities=("flair",), target="wt", grid=(32, 64, 64),
                fingerprint="f", synthetic=True)  # fmt: skip
    return TrialSpec(system="unet3d", options={}, protocol=Protocol(), data=data, split="s",
                     seed=seed, device="cpu", code="c")  # fmt: skip


def add_trial(folder, seed, *, epochs, status="ok"):
    trial = folder.trial(spec(seed).id)
    trial.write_spec(spec(seed))
    rows = [{"epoch": e, "loss": 1 / e, "val_dice": 0.1 * e} for e in range(1, epochs + 1)]
    write_bytes(trial.path / "history.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    if status == "failed":
        trial.write_failure("train", "nan_loss", "loss is nan")
    elif status == "ok":
        result = {"status": "ok", "reason": "", "metrics": METRICS, "memory": {}, "parameters": 7}
        write_json(trial.path / "result.json", result)
    return trial.id


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Making a store takes seconds; tests take copies of this one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    os.environ |= tracking.QUIET
    from mlflow.tracking import MlflowClient

    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def run(tmp_path, empty_store):
    """A run folder with one finished, one failed and one running trial, and its store."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    folder = RunFolder(tmp_path)
    ids = [
        add_trial(folder, 0, epochs=3),
        add_trial(folder, 1, epochs=2, status="failed"),
        add_trial(folder, 2, epochs=1, status="running"),
    ]
    folder.write({"run_id": "r1", "kind": "run", "suites": {"table5": []}, "dataset": "phantom",
                  "profile": "quick", "protocol_hash": "p", "command": "pfbench run",
                  "trials": ids, "names": {trial: "U-Net" for trial in ids},
                  "status": "running"})  # fmt: skip
    return folder


def mirrored(folder):
    from mlflow.tracking import MlflowClient

    uri = tracking.default_uri(folder.path)
    summary = tracking.mirror(folder.path, uri, "pfbench")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("pfbench").experiment_id
    runs = client.search_runs([experiment])
    return summary, client, {r.data.tags.get("pfbench.seed", "parent"): r for r in runs}


def test_one_parent_and_one_child_for_each_trial(run):
    _, _, runs = mirrored(run)
    parent = runs["parent"].info.run_id
    assert set(runs) == {"parent", "0", "1", "2"}
    children = [runs[seed].data.tags["mlflow.parentRunId"] for seed in "012"]
    assert children == [parent] * 3


def test_a_second_look_adds_nothing(run):
    mirrored(run)
    summary, _, runs = mirrored(run)
    assert (summary.created, summary.metrics, len(runs)) == (0, 0, 4)


def test_a_growing_history_adds_its_new_epochs_only(run):
    mirrored(run)
    add_trial(run, 2, epochs=3, status="running")
    _, client, runs = mirrored(run)
    history = client.get_metric_history(runs["2"].info.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2, 3]


def test_a_failed_trial_has_a_reason_and_no_scores(run):
    _, _, runs = mirrored(run)
    failed = runs["1"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["pfbench.reason"] == "nan_loss"
    assert not any(key.startswith("test/") for key in failed.data.metrics)


def test_a_finished_trial_has_its_scores_under_readable_names(run):
    _, _, runs = mirrored(run)
    metrics = runs["0"].data.metrics
    assert metrics["test/dice.mean"] == 0.5
    assert metrics["val/dice"] == pytest.approx(0.3)
    assert metrics["model/parameters"] == 7


def test_a_run_deleted_in_the_ui_is_made_again(run):
    _, client, runs = mirrored(run)
    client.delete_run(runs["0"].info.run_id)
    summary, _, again = mirrored(run)
    assert summary.created == 1
    assert again["0"].data.metrics["test/dice.mean"] == 0.5


def test_a_server_that_is_away_is_named_without_its_password_and_soon(run):
    began = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        tracking.mirror(run.path, "http://me:s3cr3t@127.0.0.1:9/", "pfbench")
    assert time.monotonic() - began < 30
    assert "s3cr3t" not in str(caught.value)
    assert "pfbench mlflow sync" in str(caught.value)


@pytest.mark.parametrize("uri", ["file:/tmp/x", "mlruns", "databricks://p"])
def test_other_kinds_of_store_are_refused(run, uri):
    with pytest.raises(UsageError, match="not a supported MLflow store"):
        tracking.mirror(run.path, uri, "pfbench")


def test_telemetry_is_off_before_mlflow_is_first_used(tmp_path):
    code = (
        "import os; from harness import tracking; os.environ |= tracking.QUIET\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "PYTHONPATH": str(TOP)},
        cwd=tmp_path,
    )
    assert done.stdout == "True\n"
