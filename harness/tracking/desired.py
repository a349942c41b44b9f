"""The runs that MLflow shows for a folder: one parent run, and a child for each trial or point.

Knows the folders, not MLflow; `harness.tracking.store` brings a store to this state. The names are
for people: MLflow sorts them, capitals first, and its Compare page begins with the first ones, so
that "Model", "Type" and "Dice" are what it shows unasked. No name has a "-": its box plot cuts
names there.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.runs.measures import CASES, DICE, MEASURES, measures_of
from harness.runs.nested import flat
from harness.runs.records import (
    AnyManifest,
    Measurement,
    Result,
    RunManifest,
    Scored,
    StudyManifest,
)
from harness.runs.redact import redact
from harness.runs.run_folder import RunFolder
from harness.runs.study_folder import Point, points
from harness.runs.trial_folder import TrialFolder

Status = Literal["running", "stopped", "ok", "failed"]
DERIVED = (
    "report.html",
    "table.csv",
    "table.md",
    "study.csv",
    "best.yaml",
    "figures/**/*.png",
    "figures/**/*.svg",
)
HEADLINES = tuple(measure.mlflow for measure in MEASURES if measure.headline)
"""Metrics by which runs are compared: quality first, then the cost of a prediction."""
EPOCH = "train/epoch"
"""The metric that says how far a child has come: its value is its step."""
SCORE = "Validation Dice"
"""The metric with the score of a complete point of a study."""
LAST = "Last Dice"
"""The metric with the score of a complete or stopped point, for MLflow's Compare page.

That page shows only metrics that all runs have."""


@dataclass(frozen=True)
class ShownDataset:
    """The volumes as an MLflow data set, by name and content; neither a patient nor a path."""

    name: str
    fingerprint: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class ChildRun:
    """One child run in MLflow: one trial of a run, or one point of a study."""

    id: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    rows: Callable[[], Iterable[dict[str, float]]]
    """A function for the rows of metrics, one for each epoch, with "epoch" among the values of a
    row."""
    finals: dict[str, float]
    status: Status
    outcome: dict[str, str] = field(default_factory=dict)
    """Tags that may change while the child goes on."""
    artifacts: tuple[Path, ...] = ()
    seconds: float = 0.0
    """Seconds that the child took, as far as it has come."""
    ended_s: float | None = None
    """The end of the child in seconds since the epoch of Unix; None while it has not ended."""


@dataclass(frozen=True)
class ParentRun:
    """The parent run in MLflow: the run or the study as a whole."""

    id: str
    name: str
    title: str
    """The title of the kind of run, for people: "table5 phantom quick"."""
    tags: dict[str, str]
    dataset: ShownDataset
    status: Literal["running", "finished", "interrupted"]
    description: str
    artifacts: tuple[Path, ...]
    tables: tuple[str, ...]
    """Names of suites or studies, each with children of its own."""
    score: str
    """The metric by which children are ordered."""
    searched: dict[str, tuple[str, ...]]
    """For a study, the parameters in which the points of each table differ, by table."""
    crossed: bool = False
    """Whether the children are folds of a cross-validation."""


def parent_of(folder: RunFolder) -> ParentRun:
    """The parent run for the run or study in `folder`."""
    run = folder.manifest()
    title = f"{' '.join(run.suites)} {run.dataset} {run.profile}"
    searched = run.references if isinstance(run, StudyManifest) else {}
    return ParentRun(
        run.run_id,
        title,
        title,
        {**_common(run), "pfbench.command": redact(run.command)},
        _dataset(folder, run),
        run.status,
        _description(folder, run),
        _own(sorted(path for kind in DERIVED for path in folder.path.glob(kind))),
        tuple(run.suites),
        SCORE if run.kind == "study" else DICE.mlflow,
        {name: tuple(map(allowed, params)) for name, params in searched.items()},
        isinstance(run, RunManifest) and bool(run.folds),
    )


def _description(folder: RunFolder, run: AnyManifest) -> str:
    """The description in Markdown: the tables as they are shown elsewhere, and the command."""
    shown = folder.path / ("study.md" if run.kind == "study" else "table.md")
    text = shown.read_text(encoding="utf-8") if shown.exists() else ""
    return f"{text}\nProtocol `{run.protocol_hash}`, made by\n\n    {redact(run.command)}\n"


def _dataset(folder: RunFolder, run: AnyManifest) -> ShownDataset:
    data = run.protocol["data"]
    splits = folder.splits()
    counts = {part: len(cases) for part, cases in folder.split().parts.items()}
    if isinstance(run, RunManifest) and run.folds:
        counts = {"folds": len(splits), "test": sum(len(one.test) for one in splits.values())}
    profile = {key: data[key] for key in ("modalities", "target", "grid", "synthetic")}
    return ShownDataset(f"{data['name']} {data['target']}", data["fingerprint"], profile | counts)


def _own(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths that are plain files: MLflow follows links, and would upload their targets."""
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def children_of(folder: RunFolder) -> Iterator[tuple[Any, Callable[[], ChildRun]]]:
    """The children of the folder that have begun, in the order of the table or of the study.

    Each is a pair: a footprint, which changes whenever the child does, and a function that reads
    the child.
    """
    run = folder.manifest()
    if isinstance(run, StudyManifest):
        for point in points(folder):
            trials = map(folder.trial, point.trials)
            prints = [_footprint(trial.history_file) for trial in trials]
            ended = _footprint(point.end_file)
            yield (point.id, run.status, ended, *prints), partial(_of_point, point, run)
        return
    tables = _tables(run)
    for trial in folder.trials():
        print_ = _footprint(trial.history_file, trial.result_file, trial.measurement_file)
        if any(print_) or trial.checkpoints.exists():
            shown = tables.get(trial.id, "")
            key = (trial.id, run.status, shown, print_)
            yield key, partial(_of_trial, trial, run, shown)


def _footprint(*files: Path) -> tuple[tuple[int, int] | None, ...]:
    """The footprint of files: when each was last written, and its length."""
    found: list[tuple[int, int] | None] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def _tables(run: RunManifest) -> dict[str, str]:
    """The suites with a row of each trial, by trial; the base of a fine-tuned trial is in none."""
    shown: dict[str, list[str]] = {}
    for suite, rows in run.suites.items():
        for trial in dict.fromkeys(trial for row in rows for trial in row.trials):
            shown.setdefault(trial, []).append(suite)
    return {trial: " ".join(suites) for trial, suites in shown.items()}


def _common(run: AnyManifest) -> dict[str, str]:
    return {
        "pfbench.run_id": run.run_id,
        "pfbench.suite": " ".join(run.suites),
        "pfbench.dataset": run.dataset,
        "pfbench.profile": run.profile,
        "pfbench.protocol": run.protocol_hash,
    }


def _of_trial(trial: TrialFolder, run: RunManifest, tables: str) -> ChildRun:
    spec = trial.spec()
    result = trial.result()
    status: Status = "running" if run.status == "running" else "stopped"
    if result:
        status = result.status
    entry = run.system(spec.system)
    names = {"Model": entry.title, "Type": entry.kind, "View": entry.view}
    about = spec.model_dump(mode="json")
    if spec.given:  # nothing was trained
        names, about = {"Model": entry.title, "Type": entry.kind}, about | {"protocol": {}}
    if spec.tuned:
        names["Model"] += " †"
    return ChildRun(
        trial.id,
        run.names[trial.id],
        {
            **_common(run),
            "pfbench.model": spec.system,
            "pfbench.kind": entry.kind,
            "pfbench.seed": str(spec.seed),
            "pfbench.fold": str(spec.fold),
            **_made_by(trial, run),
            **({"pfbench.test": spec.test.name} if spec.test else {}),
        },
        {**names, **_params(about)},
        trial.history,
        final_metrics(result, trial.measurement()),
        status,
        {
            "pfbench.status": status,
            "pfbench.reason": result.reason if result else "",
            "pfbench.tables": tables,
            **_place(result),
        },
        _own((trial.cases_file, trial.history_file)),
        _seconds(trial, result),
        trial.result_file.stat().st_mtime if result else None,
    )


def _made_by(trial: TrialFolder, run: RunManifest) -> dict[str, str]:
    """The tags with the command that asked for the trial first, and its version of pfbench."""
    rows = (row for rows in run.suites.values() for row in rows if trial.id in row.trials)
    for each in (made for row in rows for made in row.made_by):
        return {"pfbench.command": redact(each.command), "pfbench.version": each.version}
    return {}


def _place(result: Result | None) -> dict[str, str]:
    """The tags with the node and the device that trained a trial, and the number of its GPU."""
    known = result.environment if isinstance(result, Scored) else {}
    names = [name for name in ("node", "device", "gpu") if known.get(name)]
    return {f"pfbench.{name}": str(known[name]) for name in names}


def _seconds(trial: TrialFolder, result: Result | None) -> float:
    """Seconds that a trial took: by its own record, or the sum of its epochs so far."""
    if isinstance(result, Scored):
        return sum(result.seconds.values())
    return sum(row.get("seconds", 0.0) for row in trial.history())


def _of_point(point: Point, run: StudyManifest) -> ChildRun:
    statuses: dict[str, Status] = {"complete": "ok", "stopped": "ok", "failed": "failed"}
    waiting: Status = "running" if run.status == "running" else "stopped"
    status = statuses.get(point.state, waiting)
    result = point.end_file
    seen = point.values()
    finals = {SCORE: point.value, LAST: seen[max(seen)] if status == "ok" and seen else None}
    return ChildRun(
        point.id,
        f"{point.study} {point.number}",
        {**_common(run), "pfbench.model": point.system, "pfbench.study": point.study},
        {"Model": run.system(point.system).title, **_params(point.params)},
        lambda: ({"epoch": epoch, "val_dice": dice} for epoch, dice in seen.items()),
        {name: _short(value) for name, value in finals.items() if value is not None},
        status,
        {
            "pfbench.status": point.state,
            "pfbench.reason": point.reason,
            "pfbench.tables": point.study,
        },
        ended_s=result.stat().st_mtime if result.exists() else None,
    )


def final_metrics(result: Result | None, measurement: Measurement | None) -> dict[str, float]:
    """The final metrics of a finished trial under their MLflow names; none of a failed trial."""
    if not isinstance(result, Scored):
        return {}
    values: dict[str, float | None] = {}
    for measure in measures_of(result):
        if measure.mlflow:
            values[measure.mlflow] = measure.of(result, measurement)
            if measure.where == CASES:
                values[f"test/{measure.key}.std"] = measure.of(result, measurement, "std")
    for measure in measures_of(result) if result.targets else ():
        if measure.where == CASES and measure.key:
            values[f"test/{measure.key}.mean"] = measure.of(result, measurement)
            for target in result.targets:
                of_target = measure.of(result.of_target(target), measurement)
                values[f"test/{measure.key}.{allowed(target)}"] = of_target
    return {name: _short(value) for name, value in values.items() if value is not None}


def _short(value: float) -> float:
    """The value with six digits, as a column of MLflow's table shows; counts stay as they are."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def metric(column: str) -> str:
    """The MLflow name of a column of a history: in letters that MLflow allows, without "-"."""
    if column == "epoch":
        return EPOCH
    return "val/dice" if column == "val_dice" else f"train/{allowed(column)}"


def allowed(name: str) -> str:
    """The name without characters that MLflow refuses or cuts: "dice (ET)" -> "dice_ET"."""
    return re.sub(r"[^\w. :/]+", "_", name, flags=re.ASCII).strip("_ ")


def _params(content: dict[str, Any]) -> dict[str, str]:
    """Nested settings as parameters for MLflow: the keys joined by dots."""
    return {allowed(key): str(value)[:6000] for key, value in flat(content).items()}
