"""Artifacts of a store in a run folder lie below it, wherever it was copied to, whoever made it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from helper_in_process import contents, pfbench
from helper_mirrored_run import by_seed, empty_store, mirrored, three_trials

from harness.errors import TrackingError, UsageError
from harness.runs.run_folder import RunFolder
from harness.tracking import mirror as tracking

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many kinds


@pytest.fixture(autouse=True)
def as_in_another_process():
    """MLflow remembers, by run, where artifacts go; the copy of a run is mirrored by another."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run, mirrored into its own store."""
    path = tmp_path_factory.mktemp("original") / "run"
    path.mkdir()
    empty_store(path / "mlflow.db")
    run = three_trials(path)
    run.write(run.run().model_copy(update={"status": "finished"}))
    (path / "table.md").write_text("ours")
    mirrored(run)
    return path


@pytest.fixture
def copied(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "copy"))


def change(folder, statement, *values):
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute(statement, values)


def read(folder, query):
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(query).fetchone()


def test_a_copy_that_goes_on_writes_into_itself_alone(original, copied):
    before = contents(original)
    (copied / "table.md").write_text("of the copy")
    summary, _, runs = mirrored(RunFolder(copied))
    assert contents(original) == before
    place = copied / "mlartifacts" / runs["parent"].info.run_id / "artifacts"
    assert (place / "table.md").read_text() == "of the copy"
    assert "the artifacts of 4 runs in MLflow lay elsewhere, as in a copied folder" in str(summary)
    assert "note:" not in str(mirrored(RunFolder(copied))[0])


def test_artifacts_that_are_gone_are_made_again(copied):
    shutil.rmtree(copied / "mlartifacts")
    _, client, runs = mirrored(RunFolder(copied))
    names = [each.path for each in client.list_artifacts(runs["parent"].info.run_id)]
    assert names == ["table.md"]


def test_artifacts_that_were_changed_are_put_right(copied):
    _, _, runs = mirrored(RunFolder(copied))
    place = copied / "mlartifacts" / runs["parent"].info.run_id / "artifacts" / "table.md"
    right = place.read_text()
    place.write_text(right.replace("a", "b"))
    mirrored(RunFolder(copied))
    assert place.read_text() == right


@pytest.mark.parametrize("uri", ["/tmp/victim", "file:///tmp/victim", "../victim", ""])
def test_a_store_that_names_another_place_is_not_followed(copied, tmp_path, uri):
    (tmp_path / "victim").mkdir()
    place = uri.replace("/tmp/victim", str(tmp_path / "victim"))
    change(copied, "UPDATE runs SET artifact_uri = ?", place)
    change(copied, "UPDATE experiments SET artifact_location = ?", place)
    (copied / "table.md").write_text("new")
    mirrored(RunFolder(copied))
    assert [*(tmp_path / "victim").iterdir()] == []


def test_a_run_whose_id_is_a_path_is_refused(copied):
    change(copied, "UPDATE runs SET run_uuid = '../../../x' WHERE rowid = 1")
    with pytest.raises(TrackingError, match="has a run whose id is none of MLflow's"):
        mirrored(RunFolder(copied))


REWRITES = "UPDATE runs SET artifact_uri = 'file:///victim' WHERE run_uuid = new.run_uuid"


@pytest.mark.parametrize("made", [
    f"CREATE TRIGGER t AFTER UPDATE ON runs BEGIN {REWRITES}; END",
    f"CREATE TRIGGER t AFTER INSERT ON tags BEGIN {REWRITES}; END",
    "CREATE VIEW v AS SELECT * FROM runs",
])  # fmt: skip
def test_a_store_that_would_rewrite_its_rows_by_itself_is_refused(copied, made):
    change(copied, made)
    with pytest.raises(TrackingError, match="has triggers or views, and MLflow makes none"):
        mirrored(RunFolder(copied))


def model(folder, name, place):
    (run,) = read(folder, "SELECT run_uuid FROM runs LIMIT 1")
    columns = (
        "model_id, experiment_id, name, artifact_location, creation_timestamp_ms, "
        "last_updated_timestamp_ms, status, lifecycle_stage, source_run_id"
    )
    values = (name, 1, "x", place, 1, 1, 1, "active", run)
    change(folder, f"INSERT INTO logged_models ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", *values)


def test_a_model_of_a_store_lies_below_it_too(copied):
    name = f"m-{'0' * 32}"
    model(copied, name, "file:///victim")
    mirrored(RunFolder(copied))
    (place,) = read(copied, "SELECT artifact_location FROM logged_models")
    assert place == (copied / "mlartifacts" / "models" / name / "artifacts").as_uri()


def test_a_model_whose_id_is_a_path_is_refused(copied):
    model(copied, "m-/../../../../x", "")
    with pytest.raises(TrackingError, match="has a model whose id is none of MLflow's"):
        mirrored(RunFolder(copied))


@pytest.mark.parametrize("name", ["a#b", "100%", "x ;ü&'", "a=b+c"])
def test_folders_may_be_called_as_people_call_them(original, tmp_path, name):
    path = Path(shutil.copytree(original, tmp_path / name))
    _, client, runs = mirrored(RunFolder(path))
    assert set(runs) == {"parent", "0", "1", "2"}
    assert client.list_artifacts(runs["parent"].info.run_id)[0].path == "table.md"
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "sign"), [("x ?;ü", "\\?"), ("50%3F", "%3F")])
def test_a_path_that_a_uri_takes_for_another_is_refused(tmp_path, name, sign):
    with pytest.raises(UsageError, match=f"with '{sign}' in its path"):
        tracking.default_uri(tmp_path / name)


def test_a_question_mark_is_refused_before_anything_is_made(tmp_path):
    run = ("run", "--suite", "table5", "--model", "resunet3d_up", "--out", tmp_path / "x ?;ü")
    assert "--no-mlflow" in pfbench(*run, expect=2).said
    assert [*tmp_path.iterdir()] == []
    pfbench(*run, "--no-mlflow", "--dry-run", "--set", "phantom.cases=3")


def test_two_mirrors_of_one_run_at_once_leave_each_row_once(original, tmp_path):
    one, two = (shutil.copytree(original, tmp_path / name) for name in ("one", "two"))
    uri = f"sqlite:///{empty_store(tmp_path / 'shared.db')}"
    early = tracking.Synchroniser(one, uri, "pfbench", restore=False)
    early.sync()
    late = tracking.Synchroniser(two, uri, "pfbench", restore=False)
    late._open()  # sees the runs; those of the other are gone and made anew meanwhile
    change_all = tracking.Synchroniser(one, uri, "pfbench", restore=False)
    client = change_all._open().client
    for run in by_seed(client, RunFolder(one)).values():
        client.delete_run(run.info.run_id)
    late.store = None
    blind = late._open()
    early.store = None
    early.sync()
    assert blind.parent is None
    late.sync()
    assert set(by_seed(client, RunFolder(two))) == {"parent", "0", "1", "2"}
