"""MLflow stores, runs to mirror in them, and what they hold afterwards."""

import functools
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from helper_made_run import (
    failed,
    history,
    made_run,
    made_study,
    made_trial,
    row,
    scored,
    spec,
)

from harness.runs.run_folder import RunFolder
from harness.runs.study_folder import propose
from harness.tracking import mirror as tracking

DONE = scored(parameters=29_161_426)


def three_trials(path, *, run_id="r1"):
    """A run with one finished, one failed and one trial that still trains, which is in no table."""
    folder = RunFolder(path)
    trials = [
        made_trial(folder, spec(seed=0), history(3), DONE),
        made_trial(folder, spec(seed=1), history(2), failed("nan_loss", "loss is nan")),
        made_trial(folder, spec(seed=2), history(1)),
    ]
    shown = {"table5": [row(trials[:2])]}
    return made_run(path, shown, beside=trials[2:], run_id=run_id, status="running")


def three_points(path):
    """A study of two weights: a complete point, a stopped one, one that still trains."""
    folder = made_study(path, {"pfseg": {"w_sgl": 0.5, "w_srt": 0.5}}, status="running")
    for number, (epochs, state) in enumerate([(5, "complete"), (3, "stopped"), (1, "")]):
        trial = made_trial(folder, spec(seed=number), history(epochs))
        weights = {"w_sgl": 0.5, "w_srt": 0.1 + number}
        point = propose(folder, "pfseg", number, "pfseg", weights, [trial.id])
        if state:
            point.end(state, 0.1 * epochs)
    return folder


@functools.cache
def _template():
    """Making a store takes seconds; tests take copies of this one."""
    place = tempfile.TemporaryDirectory()
    os.environ |= tracking.QUIET
    from harness.tracking.faults import prepare_sqlite

    prepare_sqlite(Path(place.name) / "mlflow.db")
    return place


def empty_store(path):
    shutil.copy(Path(_template().name) / "mlflow.db", path)
    return path


def mirrored(folder, uri="", experiment="pfbench"):
    """What a look brought over, the client, and the runs by seed, the parent as "parent"."""
    from mlflow.tracking import MlflowClient

    uri = uri or tracking.default_uri(folder.path)
    summary = tracking.mirror(folder.path, uri, experiment)
    client = MlflowClient(uri)
    return summary, client, by_seed(client, folder, experiment)


def by_seed(client, folder, experiment="pfbench"):
    """Every active run of the folder; a trial that is there twice is an error."""
    found = client.get_experiment_by_name(experiment)
    query = f"tags.`pfbench.run_id` = '{folder.manifest().run_id}'"
    runs = client.search_runs([found.experiment_id], query)
    named = {run.data.tags.get("pfbench.seed", "parent"): run for run in runs}
    assert len(named) == len(runs), "a trial or the parent is there twice"
    return named


def content(database):
    """Every metric and parameter of a sqlite store, by the name of its active run; sorted."""
    query = """
        SELECT runs.name, 'metric', key, step, value FROM metrics JOIN runs USING (run_uuid)
        WHERE lifecycle_stage = 'active'
        UNION ALL SELECT runs.name, 'param', key, 0, value FROM params JOIN runs USING (run_uuid)
        WHERE lifecycle_stage = 'active'
    """
    connection = sqlite3.connect(database)
    try:
        return sorted(connection.execute(query).fetchall(), key=str)
    finally:
        connection.close()
