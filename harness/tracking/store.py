"""Bring an MLflow store to the state of a run folder: read its runs, and add the missing parts.

What is there already is found by tags of ours, so a look that was cut short at any moment, or a
run deleted in the UI, is mended by the next one. Metrics of an epoch go in one transaction, with
the epoch itself among them: the last value of it tells how far a child has come.
"""

import json
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.tracking import MlflowClient

from harness.data.wording import counted
from harness.errors import TrackingError
from harness.runs.run_folder import RunFolder
from harness.tracking import desired as mirrored
from harness.tracking import views as mlflow_views
from harness.tracking.artifacts import FOLDER, bring_home, home_of
from harness.tracking.desired import ChildRun, ParentRun
from harness.tracking.faults import sqlite_path

BATCH = 900  # metrics; MLflow takes 1000 at a time
PARAMS = 100
STATUSES = {"running": "RUNNING", "stopped": "KILLED", "ok": "FINISHED", "failed": "FAILED"}
OF_PARENT = {"running": "RUNNING", "interrupted": "KILLED", "finished": "FINISHED"}


@dataclass(frozen=True)
class Summary:
    """The counts of one synchronisation: the children seen, and the runs and metrics added."""

    trials: int
    created: int
    metrics: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = f"{counted(self.trials, 'trial')} in MLflow"
        line = f"{known}: {self.created} new, {counted(self.metrics, 'value')} added"
        return "\n".join([line, *(f"note: {note}" for note in self.notes)])


@dataclass
class _Stored:
    """The state of a child or parent run in the store."""

    run_id: str
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    has_dataset: bool = False

    @classmethod
    def of(cls, run: Run) -> "_Stored":
        data = run.data
        there = bool(run.inputs and run.inputs.dataset_inputs)
        return cls(run.info.run_id, run.info.status, data.params, data.tags, data.metrics, there)


class MlflowStore:
    """The runs of one run folder in one MLflow store.

    `restore`: bring an experiment back that was deleted in MLflow; otherwise that is an error.
    What was brought over is remembered, so that a further look costs what has changed. After an
    error the object is of no use: the store may be in any state, which a new one looks up.
    """

    def __init__(self, folder: RunFolder, uri: str, experiment: str, *, restore: bool) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.artifacts = home_of(uri, folder.path)
        database = sqlite_path(uri)
        if self.artifacts and database and (moved := bring_home(database)):
            self.notes.append(moved)
        self.client = MlflowClient(uri)
        self.experiment = self._experiment(uri, experiment, restore)
        self.run_id = folder.manifest().run_id
        self.parent = next(iter(self._known("suite").values()), None)
        self.children = self._known("trial")
        self.prints: dict[str, Any] = {}
        self.view: tuple[str, str] | None = None
        self.created = self.metrics = 0
        self.made = False
        """Whether the last call has made a run in the store."""

    def _experiment(self, uri: str, name: str, restore: bool) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return self._new_experiment(uri, name)
        if found.lifecycle_stage == "deleted":
            if not restore:
                what = f"the experiment '{name}' was deleted in MLflow"
                raise TrackingError(what, remedy="--experiment with another name", code="PFB-M08")
            self.client.restore_experiment(found.experiment_id)
            self.notes.append(f"the experiment '{name}' had been deleted; it was restored")
        return found.experiment_id

    def _new_experiment(self, uri: str, name: str) -> str:
        database = sqlite_path(uri)
        place = None if database is None else (database.parent / FOLDER).as_uri()
        return self.client.create_experiment(name, place, mlflow_views.EXPERIMENT_TAGS)

    def _known(self, kind: str) -> dict[str, _Stored]:
        """The stored runs by our id.

        Of two runs with the same id, which two mirrors at once may make, the first stays; the
        other is deleted.
        """
        query = f"tags.`pfbench.run_id` = '{self.run_id}' and tags.`pfbench.kind_of_run` = '{kind}'"
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                query,
                page_token=token,
                run_view_type=ViewType.ACTIVE_ONLY,
            )
            found += page
            token = page.token
            if not token:
                break
        known: dict[str, _Stored] = {}
        for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
            own = run.data.tags.get("pfbench.trial_id", "")
            if known.setdefault(own, stored := _Stored.of(run)) is not stored:
                self.client.delete_run(stored.run_id)
        return known

    def displaced(self) -> bool:
        """Whether another mirror, at work at the same time, made one of the runs made here, too.

        Of two the same one is deleted by both mirrors; the store has to be read again.
        """
        if not self.made:
            return False
        parent, children = self._known("suite").get(""), self._known("trial")
        mine = {name: each.run_id for name, each in self.children.items()}
        there = {name: each.run_id for name, each in children.items()}
        lost = parent is None or self.parent is None or parent.run_id != self.parent.run_id
        return lost or mine != there

    def sync(self) -> Summary:
        """Copy everything that is new or has changed since the last call."""
        before = self.created, self.metrics
        self.made = False
        parent = mirrored.parent_of(self.folder)
        stored = self.parent = self.parent or self._create(parent, "suite", parent.tags)
        number = 0
        for key, read in mirrored.children_of(self.folder):
            number += 1
            name = key[0]
            if self.prints.get(name) != key:
                self._child(read(), parent, stored.run_id)
                self.prints[name] = key
        self._finish(parent, stored)
        created, metrics = self.created - before[0], self.metrics - before[1]
        return Summary(number, created, metrics, tuple(self.notes))

    def _create(self, what: ChildRun | ParentRun, kind: str, tags: Mapping[str, str]) -> _Stored:
        began = None
        self.made = True
        if isinstance(what, ChildRun):
            self.created += 1
            began = int(((what.ended_s or time.time()) - what.seconds) * 1000)
        tags = {**tags, "pfbench.kind_of_run": kind, "mlflow.runName": what.name}
        run = self.client.create_run(self.experiment, began, tags)
        return _Stored(run.info.run_id, tags=dict(tags))

    def _child(self, child: ChildRun, parent: ParentRun, parent_id: str) -> None:
        tags = {
            **child.tags,
            "pfbench.trial_id": child.id,
            "mlflow.parentRunId": parent_id,
            **child.outcome,
        }
        stored = self.children.get(child.id)
        if stored is None:
            stored = self.children[child.id] = self._create(child, "trial", tags)
        self._params(child, stored)
        self._metrics(child, stored)
        self._set_tags(stored, tags)
        self._dataset(parent, stored)
        self._end(child, stored)

    def _params(self, child: ChildRun, stored: _Stored) -> None:
        """Log the missing parameters of the child.

        MLflow lets no parameter be changed, so a tag names the parameters that differ in the store.
        """
        missing = [Param(k, v) for k, v in child.params.items() if k not in stored.params]
        for first in range(0, len(missing), PARAMS):
            self.client.log_batch(stored.run_id, params=missing[first : first + PARAMS])
        there = stored.params
        other = sorted(k for k, v in child.params.items() if there.get(k, v).strip() != v.strip())
        if other or "pfbench.params_not_ours" in stored.tags:
            self._set_tags(stored, {"pfbench.params_not_ours": ", ".join(other)})
        stored.params = {**child.params, **there}

    def _metrics(self, child: ChildRun, stored: _Stored) -> None:
        """Log the epochs that the store lacks, then values that are missing or differ.

        Of epochs that the store has, the last is compared: its values are those that tables show.
        """
        stamp = int(time.time() * 1000)
        last = stored.metrics.get(mirrored.EPOCH, 0)
        rows = [
            [
                Metric(mirrored.metric(key), value, stamp, int(row["epoch"]))
                for key, value in row.items()
                if math.isfinite(value)
                and not (
                    row["epoch"] == last and _same(stored.metrics.get(mirrored.metric(key)), value)
                )
            ]
            for row in child.rows()
            if row["epoch"] >= last
        ]
        rows += [
            [Metric(key, float(value), stamp, 0)]
            for key, value in child.finals.items()
            if math.isfinite(value) and not _same(stored.metrics.get(key), value)
        ]
        for batch in _batches(rows, BATCH):
            self.client.log_batch(stored.run_id, metrics=batch)
            self.metrics += len(batch)
            stored.metrics |= {metric.key: metric.value for metric in batch}

    def _set_tags(self, stored: _Stored, tags: Mapping[str, str]) -> None:
        changed = {key: value for key, value in tags.items() if stored.tags.get(key, "") != value}
        if changed:
            entries = [RunTag(key, value[:8000]) for key, value in changed.items()]
            self.client.log_batch(stored.run_id, tags=entries)
            stored.tags = {**stored.tags, **changed}

    def _dataset(self, parent: ParentRun, stored: _Stored) -> None:
        if stored.has_dataset:
            return
        data = parent.dataset
        entry = Dataset(
            data.name,
            data.fingerprint,
            "pfbench",
            json.dumps({"fingerprint": data.fingerprint}),
            profile=json.dumps(data.profile),
        )
        context = [InputTag("mlflow.data.context", "training and test")]
        self.client.log_inputs(stored.run_id, [DatasetInput(entry, context)])
        stored.has_dataset = True

    def _end(self, child: ChildRun, stored: _Stored) -> None:
        """Upload the files, then set the status: a run that is no longer RUNNING has everything."""
        ended = int((child.ended_s or time.time()) * 1000)
        self._state(stored, child.artifacts, child.status in ("ok", "failed"))
        self._status(stored, STATUSES[child.status], ended)

    def _status(self, stored: _Stored, status: str, ended_ms: int) -> None:
        if stored.status == status:
            return
        if status == "RUNNING":
            self.client.update_run(stored.run_id, status)
        else:
            self.client.set_terminated(stored.run_id, status, ended_ms)
        stored.status = status

    def _finish(self, parent: ParentRun, stored: _Stored) -> None:
        """Update description, tables and pictures of the parent where the store has others."""
        self._dataset(parent, stored)
        self._set_tags(stored, parent.tags)
        self._view(parent)
        ended = parent.status != "running"
        if ended:
            self._set_tags(stored, {"mlflow.note.content": _cut(parent.description)})
        self._state(stored, parent.artifacts, ended)
        self._status(stored, OF_PARENT[parent.status], int(time.time() * 1000))

    def _state(self, stored: _Stored, artifacts: Iterable[Path], ended: bool) -> None:
        """Upload the files unless the store has exactly these files."""
        if not ended:
            return
        state = _checksum(artifacts)
        below = {path: self._below(path) for path in artifacts}
        if stored.tags.get("pfbench.state") == state and self._kept(stored.run_id, below):
            return
        for path, place in below.items():
            self.client.log_artifact(stored.run_id, str(path), place or None)
        self._set_tags(stored, {"pfbench.state": state})

    def _below(self, path: Path) -> str:
        """The folder of the file among the artifacts of its run."""
        place = path.parent.relative_to(self.folder.path).parts
        return "" if place[:1] == ("trials",) else "/".join(place)

    def _kept(self, run_id: str, below: Mapping[Path, str]) -> bool:
        """Whether the artifacts are there as they are; a store elsewhere is believed."""
        if self.artifacts is None:
            return True
        place = self.artifacts / run_id / "artifacts"
        pairs = [(path, place / folder / path.name) for path, folder in below.items()]
        return all(copy.is_file() and cmp(path, copy, shallow=False) for path, copy in pairs)

    def _view(self, parent: ParentRun) -> None:
        """Save the view that `pfbench ui` opens; MLflow lists it among the saved views."""
        key, value = view = mlflow_views.saved(parent)
        if self.view == view:
            return
        if self.client.get_experiment(self.experiment).tags.get(key) != value:
            self.client.set_experiment_tag(self.experiment, key, value)
        self.view = view


def _same(stored: float | None, value: float) -> bool:
    return stored is not None and math.isclose(stored, value, rel_tol=1e-12)


def _batches(groups: Iterable[list[Metric]], size: int) -> Iterator[list[Metric]]:
    """Batches of groups, up to `size` metrics; a group, such as an epoch, is never split."""
    batch: list[Metric] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = batch + group
    if batch:
        yield batch


def _checksum(paths: Iterable[Path]) -> str:
    """A checksum of files, which changes whenever one of the files does."""
    total = 0
    for path in paths:
        total = zlib.crc32(path.name.encode() + path.read_bytes(), total)
    return f"{total:08x}"


def _cut(text: str, size: int = 8000) -> str:
    """The text, shortened to the length that a tag holds, cut at the end of a line."""
    return text if len(text) <= size else text[: size - 4].rpartition("\n")[0] + "\n…\n"
