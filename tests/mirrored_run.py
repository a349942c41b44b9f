"""Run folders as a run leaves them, made in milliseconds, and MLflow stores to mirror them in."""

import functools
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pandas as pd
from harness.systems.case_score import MEANS

from harness.runs.files import write_bytes, write_json
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Data, TrialSpec
from harness.runs.study_folder import propose
from harness.systems.protocol import Protocol
from harness.tracking import mirror as tracking

METRICS = {f"{name}_{part}": 0.5 for name in MEANS for part in ("mean", "std")}
DATA = Data(name="phantom", modalities=("flair",), target="wt", grid=(32, 64, 64),
            fingerprint="f00d", synthetic=True)  # fmt: skip


def spec(seed):
    return TrialSpec(system="unet3d", options={}, protocol=Protocol(), data=DATA, split="s",
                     seed=seed, device="cpu", code="c")  # fmt: skip


def history(epochs, **columns):
    return [
        {"epoch": e, "loss": 1 / e, "val_dice": 0.1 * e, "seconds": 60.0, **columns}
        for e in range(1, epochs + 1)
    ]


def add_trial(folder, seed, *, rows, status="ok", metrics=METRICS):
    trial = folder.trial(spec(seed).id)
    trial.write_spec(spec(seed))
    write_bytes(trial.path / "history.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    if status == "failed":
        trial.write_failure("train", "nan_loss", "loss is nan")
    elif status == "ok":
        seconds = {"train": 100.0, "test": 20.0}
        result = {"status": "ok", "reason": "", "metrics": metrics, "memory": {},
                  "parameters": 29_161_426, "seconds": seconds}  # fmt: skip
        write_json(trial.path / "result.json", result)
    return trial.id


def describe(folder, trials, *, status="running", run_id="r1"):
    """Write run.json: the last trial is in no table, as the base of a fine-tuned one."""
    rows = [{"key": t, "title": t, "cells": [t], "system": "unet3d", "trials": [t]}
            for t in trials[:-1]]  # fmt: skip
    write_json(folder.path / "split.json", {"train": ["a"], "validation": ["b"], "test": ["c"]})
    folder.write({"run_id": run_id, "kind": "run", "suites": {"table5": rows},
                  "dataset": "phantom", "profile": "quick", "protocol_hash": "p",
                  "protocol": {"data": DATA.model_dump(mode="json")},
                  "command": "pfbench run", "trials": trials,
                  "names": {trial: f"U-Net {trial[:4]}" for trial in trials},
                  "status": status})  # fmt: skip


def make_run(path, *, run_id="r1"):
    """A run with one finished, one failed and one trial that still trains."""
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    trials = [
        add_trial(folder, 0, rows=history(3)),
        add_trial(folder, 1, rows=history(2), status="failed"),
        add_trial(folder, 2, rows=history(1), status="running"),
    ]
    describe(folder, trials, run_id=run_id)
    return folder


def make_study(path):
    """A study of two weights: a complete point, a stopped one, one that still trains."""
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    for number, (epochs, state) in enumerate([(5, "complete"), (3, "stopped"), (1, "")]):
        trial = add_trial(folder, number, rows=history(epochs), status="running")
        weights = {"w_sgl": 0.5, "w_srt": 0.1 + number}
        point = propose(folder, "pfseg", number, "pfseg", weights, [trial])
        if state:
            point.end(state, 0.1 * epochs)
    describe(folder, [], run_id="s1")
    folder.write({**folder.read(), "kind": "study", "suites": ["pfseg"],
                  "references": {"pfseg": {"w_sgl": 0.5, "w_srt": 0.5}}})  # fmt: skip
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
    query = f"tags.`pfbench.run_id` = '{folder.read()['run_id']}'"
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
