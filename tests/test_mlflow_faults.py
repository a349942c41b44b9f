"""Every way in which MLflow fails, by the numbers of the catalogue: the run is none the worse.

A server that fails is MLflow's own application in a thread, with something before it that cuts
in: real requests, real answers, real sqlite.
"""

import contextlib
import os
import sqlite3
import threading
import time
import wsgiref.simple_server
from pathlib import Path

import pytest
from helper_in_process import pfbench
from helper_made_run import failed, history, made_trial, spec
from helper_mirrored_run import by_seed, content, empty_store, mirrored, three_trials

from harness.errors import StateError, TrackingError, UsageError
from harness.runs.files import read_json, write_json
from harness.runs.nested import merged
from harness.tracking import faults as mlflow_faults
from harness.tracking import mirror as tracking
from harness.tracking.desired import allowed, final_metrics, metric

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many kinds
SECRET = "s3cr3t"
HTML = b"<!doctype html><html><body>Please log in</body></html>"


@pytest.fixture
def run(tmp_path):
    empty_store(tmp_path / "mlflow.db")
    return three_trials(tmp_path)


def sync(folder, uri="", experiment="pfbench"):
    return tracking.mirror(folder.path, uri or tracking.default_uri(folder.path), experiment)


def fault_of(folder, uri="", experiment="pfbench"):
    """The error of a sync that must fail, with what every one of them has to say."""
    with pytest.raises(TrackingError) as caught:
        sync(folder, uri, experiment)
    assert caught.value.exit_code == 8
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


class Faulty:
    """A WSGI application before MLflow's; `answer` replaces what it says from request `at` on."""

    def __init__(self, app):
        self.app = app
        self.heal()

    def heal(self):
        self.answer, self.at, self.seen = None, 0, 0

    def fail(self, status, body=b"{}", kind="application/json", at=0):
        self.answer, self.at, self.seen = (status, body, kind), at, 0

    def __call__(self, environ, start_response):
        self.seen += 1
        if self.answer is None or self.seen <= self.at:
            return self.app(environ, start_response)
        status, body, kind = self.answer
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


class _Silent(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MLflow behind something faulty; `address` holds a password, as users' do."""
    place = tmp_path_factory.mktemp("server")
    database = empty_store(place / "mlflow.db")
    os.environ |= tracking.QUIET
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{database}")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (place / "artifacts").as_uri())
        from mlflow.server import app

        faulty = Faulty(app)
        with wsgiref.simple_server.make_server(
            "127.0.0.1", 0, faulty, handler_class=_Silent
        ) as httpd:
            threading.Thread(target=httpd.serve_forever, daemon=True).start()
            faulty.address = f"http://me:{SECRET}@127.0.0.1:{httpd.server_port}"
            faulty.database = database
            yield faulty
            httpd.shutdown()


@pytest.fixture
def remote(server, tmp_path):
    """A run of its own in that server's store."""
    server.heal()
    return three_trials(tmp_path, run_id=tmp_path.name)


def rows_of(server, folder):
    from mlflow.tracking import MlflowClient

    server.heal()
    runs = by_seed(MlflowClient(server.address), folder)
    assert set(runs) == {"parent", "0", "1", "2"}
    return runs


def test_m1_a_server_that_is_away_is_named_without_its_password_and_soon(run):
    began = time.monotonic()
    fault = fault_of(run, f"http://me:{SECRET}@127.0.0.1:9/")
    assert time.monotonic() - began < 30
    assert fault.code == "PFB-M01"
    assert f"pfbench mlflow sync {run.path} --tracking-uri 'http://***@127.0.0.1:9/'" in str(fault)


def test_m1_the_mirror_of_a_run_says_why_and_leaves_the_run_alone(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*.json")}
    mirror = tracking.start(run.path, "http://127.0.0.1:9/", "pfbench")
    why = mirror.finish(timeout_s=60)
    assert why.startswith("error[PFB-M01]: http://127.0.0.1:9/: MLflow cannot be written")
    assert before == {path: path.read_bytes() for path in run.path.rglob("*.json")}


@pytest.mark.parametrize("requests", [1, 3, 5, 6, 7, 8, 9, 11, 13, 17, 21])
def test_m2_a_server_that_dies_at_any_request_gets_every_row_once_afterwards(
    server, remote, requests
):
    server.fail("500 Internal Server Error", at=requests)
    fault_of(remote, server.address)
    server.heal()
    sync(remote, server.address)
    runs = rows_of(server, remote)
    assert runs["0"].data.metrics["Dice"] == 0.5
    assert runs["0"].data.params["Model"] == "UNet3D"
    assert [bool(each.inputs.dataset_inputs) for each in runs.values()] == [True] * 4
    assert sync(remote, server.address).metrics == 0


def test_m3_a_locked_store_is_told_and_gets_every_row_afterwards(run, monkeypatch):
    monkeypatch.setattr(mlflow_faults, "LOCKED_S", 0.2)
    holder = sqlite3.connect(run.path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert fault_of(run).code == "PFB-M03"
    holder.execute("ROLLBACK")
    holder.close()
    assert sync(run).created == 3


@pytest.mark.long
def test_m3_a_store_that_is_locked_for_30_s_is_waited_for(run):
    holder = sqlite3.connect(run.path / "mlflow.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")  # others may read: only MLflow's own writes have to wait
    threading.Timer(30, holder.execute, ["ROLLBACK"]).start()
    mirror = tracking.start(run.path, tracking.default_uri(run.path), "pfbench")
    time.sleep(45)
    assert mirror.finish(timeout_s=60) == ""
    assert "PFB-M03" in (run.path / "mlflow.log").read_text()
    assert sync(run).metrics == 0


def another_program(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE patients (name TEXT)")
        database.commit()


def an_earlier_mlflow(path):
    empty_store(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        database.execute("DROP TABLE trace_info")
        database.commit()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("minutes of a meeting\n" * 99), "is no sqlite database"),
        (lambda path: path.write_bytes(mlflow_faults.MAGIC + b"x" * 5000), "is damaged"),
        (another_program, "is the database of another program"),
        (an_earlier_mlflow, "would have to be migrated"),
    ],
    ids=["text", "damaged", "another program", "an earlier MLflow"],
)
def test_m4_a_file_that_is_none_of_this_mlflow_is_refused_and_not_changed(run, spoil, said):
    path = run.path / "mlflow.db"
    path.unlink()
    spoil(path)
    before = path.read_bytes()
    fault = fault_of(run)
    assert fault.code == "PFB-M04"
    assert said in str(fault) and str(path) in str(fault)
    assert path.read_bytes() == before


def test_m4_a_store_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "mlflow.db"
    mlflow_faults.prepare_sqlite(path)
    mlflow_faults.prepare_sqlite(path)
    assert [each.name for each in path.parent.iterdir()] == ["mlflow.db"]
    assert path.stat().st_mode & 0o077 == 0


def test_m5_a_parameter_that_was_changed_in_the_store_stays_and_is_told(run):
    sync(run)
    with contextlib.closing(sqlite3.connect(run.path / "mlflow.db")) as database:
        database.execute("UPDATE params SET value = '7' WHERE key = 'seed'")
        database.commit()
    made_trial(run, spec(seed=2), history(2))
    _, _, runs = mirrored(run)
    assert runs["2"].data.tags["pfbench.params_not_ours"] == "seed"
    assert runs["2"].data.metrics["val/dice"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dice (ET)", "dice _ET"), ("dice[ET]", "dice_ET"), ("95%", "95"), ("a-b", "a_b")],
)
def test_m6_names_that_mlflow_refuses_become_names_that_it_takes(name, expected):
    assert allowed(name) == expected


def test_m6_a_loss_with_such_a_name_arrives(run):
    rows = history(2, **{"dice (ET)": 0.25, "loss[a]": 0.5})
    made_trial(run, spec(seed=2), rows)
    _, _, runs = mirrored(run)
    assert runs["2"].data.metrics[metric("dice (ET)")] == 0.25
    assert runs["2"].data.metrics["train/loss_a"] == 0.5


def test_m7_neither_infinity_nor_nan_is_logged(run):
    rows = history(2)
    rows[0]["loss"], rows[1]["loss"] = float("inf"), float("nan")
    made_trial(run, spec(seed=2), rows)
    _, _, runs = mirrored(run)
    assert "train/loss" not in runs["2"].data.metrics
    assert runs["2"].data.metrics["train/epoch"] == 2
    assert all(abs(row[4]) < 1e9 for row in content(run.path / "mlflow.db") if row[1] == "metric")


@pytest.mark.parametrize("score", [float("inf"), float("nan")])
def test_m7_a_result_with_a_score_that_is_not_finite_is_damaged_and_not_logged(run, score):
    path = run.trial(spec(seed=0).id).result_file
    write_json(path, merged(read_json(path), {"metrics": {"hd95_mm_mean": score}}))
    with pytest.raises(StateError, match=r"result\.json: .*metrics\.hd95_mm_mean"):
        sync(run)


def test_m7_a_failed_trial_has_no_final_values():
    assert final_metrics(failed("nan_loss"), None) == {}


def test_m8_a_run_deleted_in_the_ui_is_made_again(run):
    _, client, runs = mirrored(run)
    client.delete_run(runs["0"].info.run_id)
    summary, _, again = mirrored(run)
    assert summary.created == 1
    assert again["0"].data.metrics["Dice"] == 0.5


def test_m8_a_parent_deleted_in_the_ui_gets_its_children_back(run):
    _, client, runs = mirrored(run)
    client.delete_run(runs["parent"].info.run_id)
    _, _, again = mirrored(run)
    parent = again["parent"].info.run_id
    assert [again[s].data.tags["mlflow.parentRunId"] for s in "012"] == [parent] * 3


def test_m8_a_run_deleted_while_a_trial_trains_costs_one_look_and_comes_back(run):
    uri = tracking.default_uri(run.path)
    synchroniser = tracking.Synchroniser(run.path, uri, "pfbench", restore=False)
    synchroniser.sync()
    _, client, runs = mirrored(run)
    synchroniser.sync()
    client.delete_run(runs["2"].info.run_id)
    made_trial(run, spec(seed=2), history(3))
    with pytest.raises(TrackingError, match="PFB-M08"):
        synchroniser.sync()
    synchroniser.sync()
    values = client.get_metric_history(by_seed(client, run)["2"].info.run_id, "train/loss")
    assert [value.step for value in values] == [1, 2, 3]


def test_m8_an_experiment_deleted_in_the_ui_is_restored_by_a_sync_alone(run):
    _, client, _ = mirrored(run)
    client.delete_experiment(client.get_experiment_by_name("pfbench").experiment_id)
    synchroniser = tracking.Synchroniser(
        run.path, tracking.default_uri(run.path), "pfbench", restore=False
    )
    with pytest.raises(TrackingError, match="was deleted in MLflow"):
        synchroniser.sync()
    summary, _, runs = mirrored(run)
    assert "was restored" in str(summary)
    assert set(runs) == {"parent", "0", "1", "2"}


def test_m8_rows_that_a_restored_experiment_has_twice_are_there_once(run):
    _, client, runs = mirrored(run)
    client.delete_run(runs["0"].info.run_id)
    mirrored(run)
    experiment = client.get_experiment_by_name("pfbench").experiment_id
    client.delete_experiment(experiment)
    client.restore_experiment(experiment)
    assert len(client.search_runs([experiment])) == 5
    assert set(mirrored(run)[2]) == {"parent", "0", "1", "2"}


@pytest.mark.parametrize(
    ("answer", "code", "remedy"),
    [
        (("500 Internal Server Error", b"oops", "text/plain"), "PFB-M01", "mlflow sync"),
        (("200 OK", HTML, "text/html"), "PFB-M09", "the address of an MLflow server"),
        (("404 Not Found", HTML, "text/html"), "PFB-M09", "without a page or proxy"),
        (("401 Unauthorized", b"", "text/plain"), "PFB-M09", "MLFLOW_TRACKING_USERNAME"),
        (("403 Forbidden", b"Permission denied", "text/plain"), "PFB-M09", "MLFLOW_TRACKING_TOKEN"),
        (("503 Service Unavailable", HTML, "text/html"), "PFB-M01", "mlflow sync"),
    ],
    ids=["500", "a page of HTML", "a page that is not there", "401", "403", "503"],
)
def test_m9_what_is_no_mlflow_or_lets_nobody_in_is_told_apart(server, remote, answer, code, remedy):
    server.fail(*answer)
    fault = fault_of(remote, server.address)
    assert fault.code == code, str(fault)
    assert remedy in fault.remedy and "pfbench mlflow sync" in fault.remedy
    server.heal()
    assert sync(remote, server.address).created == 3


def test_m10_a_password_is_not_in_the_command_that_is_shown(tmp_path):
    shown = tracking.sync_command(tmp_path, f"https://me:{SECRET}@host/", "mine")
    assert shown.endswith("--tracking-uri 'https://***@host/' --experiment mine")


def test_m10_a_password_is_neither_in_the_log_nor_in_the_process_list(run):
    mirror = tracking.start(run.path, f"http://me:{SECRET}@127.0.0.1:9/", "pfbench")
    words = Path(f"/proc/{mirror.process.pid}/cmdline").read_bytes()
    why = mirror.finish(timeout_s=60)
    log = (run.path / "mlflow.log").read_text()
    assert SECRET not in log + why and SECRET.encode() not in words


RUN = ["run", "--suite", "table2", "--model", "resunet3d_up", "--set", "phantom.cases=3",
       "--epochs", 1, "--executor", "inline"]  # fmt: skip


def test_m1_where_mlflow_is_required_a_server_that_is_away_ends_the_command(tmp_path):
    uri = f"http://me:{SECRET}@127.0.0.1:9/"
    done = pfbench(*RUN, "--tracking-uri", uri, "--mlflow-required", "--out", tmp_path, expect=8)
    assert "error[PFB-M01]: http://***@127.0.0.1:9/: " in done.err and "Try: " in done.err
    assert SECRET not in done.said


def test_m11_other_kinds_of_store_are_refused_before_anything_is_made(tmp_path):
    out = tmp_path / "out"
    done = pfbench(*RUN, "--tracking-uri", "databricks://me:s3cr3t@p", "--out", out, expect=2)
    assert "error[PFB-M11]: --tracking-uri: 'databricks://***@p' is not a supp" in done.err
    assert "Try: a URI that begins with sqlite:" in done.err
    assert SECRET not in done.said and not out.exists()


@pytest.mark.parametrize("uri", ["file:/tmp/x", "mlruns", "databricks://p"])
def test_m11_other_kinds_of_store_are_refused(run, uri):
    with pytest.raises(UsageError, match="not a supported MLflow store"):
        sync(run, uri)
