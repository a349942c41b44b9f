"""What MLflow is to show of a folder: one parent run, and a child for each trial or point.

Knows the folders, not MLflow; `harness.tracking` brings a store to this state.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.ledger import RunFolder, TrialFolder
from harness.nested import flat
from harness.redact import redact
from harness.study import Point, points
from harness.systems import system

DERIVED = (
    "table.csv",
    "table.md",
    "study.csv",
    "best.yaml",
    "figures/**/*.png",
    "figures/**/*.svg",
)
METRICS = ("dice", "jaccard", "hd95_mm", "hd95_max_mm", "hd95_voxels")
MEASURED = {
    "inference_s_p50": "perf/inference_s.p50",
    "inference_s_p90": "perf/inference_s.p90",
    "inference_peak_mib": "mem/inference_peak_mib",
    "crop_s": "perf/crop_s",
    "crop_variance": "crop/variance",
}
SIZES = {
    "parameters": "model/parameters",
    "parameters_inference": "model/parameters_inference",
    "gflops_per_volume": "model/gflops_per_volume",
}


@dataclass(frozen=True)
class Child:
    """One trial of a run, or one point of a study."""

    id: str
    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    history: Path
    """CSV with a column "epoch"; its values appear under the names of `metric`."""
    marker: str
    """The metric that is logged last of an epoch: an epoch counts as there when this one is."""
    finals: dict[str, float]
    status: Literal["running", "ok", "failed"]
    outcome: dict[str, str] = field(default_factory=dict)
    """Tags that may change while the child goes on."""
    artifacts: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Parent:
    """The run or the study as a whole."""

    id: str
    name: str
    tags: dict[str, str]
    finished: bool
    description: str
    artifacts: tuple[Path, ...]


def parent_of(folder: RunFolder) -> Parent:
    """The parent of whatever `folder` holds."""
    run = folder.read()
    shown = folder.path / ("study.md" if run["kind"] == "study" else "table.md")
    return Parent(
        run["run_id"],
        f"{' '.join(run['suites'])} {run['dataset']} {run['profile']}",
        {**_common(run), "pfbench.command": redact(run["command"])},
        run["status"] != "running",
        shown.read_text() if shown.exists() else "",
        _own(sorted(path for kind in DERIVED for path in folder.path.glob(kind))),
    )


def _own(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Those that are files: MLflow follows links, and would upload what they point to."""
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def children_of(folder: RunFolder) -> Iterator[Child]:
    """Its children, in the order of the table or of the study."""
    run = folder.read()
    if run["kind"] == "study":
        yield from (_of_point(point, run) for point in points(folder))
    else:
        yield from (_of_trial(trial, run) for trial in folder.trials())


def _common(run: dict[str, Any]) -> dict[str, str]:
    return {
        "pfbench.run_id": run["run_id"],
        "pfbench.suite": " ".join(run["suites"]),
        "pfbench.dataset": run["dataset"],
        "pfbench.profile": run["profile"],
        "pfbench.protocol": run["protocol_hash"],
    }


def _of_trial(trial: TrialFolder, run: dict[str, Any]) -> Child:
    spec = trial.spec()
    result = trial.result()
    finals = final_metrics(result, trial.measurement() or {}) if result else {}
    status: Literal["running", "ok", "failed"] = "running"
    if result:
        status = "ok" if result["status"] == "ok" else "failed"
    return Child(
        trial.id,
        run["names"][trial.id],
        {
            **_common(run),
            "pfbench.model": spec.system,
            "pfbench.kind": system(spec.system).kind,
            "pfbench.seed": str(spec.seed),
            "pfbench.fold": str(spec.fold),
        },
        _params(spec.model_dump(mode="json")),
        trial.path / "history.csv",
        "train/loss",
        finals,
        status,
        {"pfbench.status": status, "pfbench.reason": result["reason"] if result else ""},
        _own(trial.path / name for name in ("cases.csv", "history.csv")),
    )


def _of_point(point: Point, run: dict[str, Any]) -> Child:
    finals = {} if point.value is None else {"val/dice.final": point.value}
    statuses: dict[str, Literal["ok", "failed"]] = {
        "complete": "ok",
        "stopped": "ok",
        "failed": "failed",
    }
    return Child(
        point.id,
        f"{point.study} {point.number}",
        {**_common(run), "pfbench.model": point.system, "pfbench.study": point.study},
        _params(point.params),
        point.path / "history.csv",
        "val/dice",
        finals if point.state == "complete" else {},
        statuses.get(point.state, "running"),
        {"pfbench.status": point.state, "pfbench.reason": point.reason},
    )


def final_metrics(result: dict[str, Any], measurement: dict[str, Any]) -> dict[str, float]:
    """The names under which MLflow shows a finished trial; none of a failed one."""
    if result["status"] != "ok":
        return {}
    values: dict[str, float] = {}
    for name in METRICS:
        for part in ("mean", "std"):
            values[f"test/{name}.{part}"] = result["metrics"][f"{name}_{part}"]
    for name, value in result.get("extra_metrics", {}).items():
        metric_name, _, part = name.rpartition("_")
        values[f"test/{metric_name}.{part}"] = value
    values |= {new: result[old] for old, new in SIZES.items() if old in result}
    values |= {f"mem/{name}": mib for name, mib in result["memory"].items()}
    values |= {new: measurement[old] for old, new in MEASURED.items() if old in measurement}
    return values


def metric(column: str) -> str:
    """The name in MLflow of a column of a history."""
    return "val/dice" if column == "val_dice" else f"train/{column}"


def _params(content: dict[str, Any]) -> dict[str, Any]:
    """Nested settings as MLflow takes them: keys joined by dots, of its letters only."""
    return {re.sub(r"[^\w\-. :/]", "_", key): value for key, value in flat(content).items()}
