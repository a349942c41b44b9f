"""The display of a run in MLflow's pages: a saved view of its trials, and links to pages.

MLflow keeps saved views as tags of the experiment, JSON in JSON, and reads the one that a link
names: which rows, in which order, which columns, which charts. The format is that of MLflow 3.17,
which has no interface for it; a later version that reads it otherwise shows its own default.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from harness.runs.files import JsonObject
from harness.runs.measures import BY_NAME, DICE
from harness.tracking.desired import HEADLINES, SCORE, ParentRun

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tags of the experiment; without them MLflow's pages ask whether language models are meant."""
COSTS = tuple(BY_NAME[name].mlflow for name in ("time", "memory"))
OTHERS = tuple(
    BY_NAME[name].mlflow for name in ("one_empty", "train_s", "train_mib", "gflops", "parameters")
)
STATE = "pfbench.status"
"""The tag with the state of a child: complete, stopped or failed."""
SECTION = "which-system-at-what-cost"
LISTED = 100  # runs that a link to Compare names; more make it longer than servers take


class Stored(Protocol):
    """A run in the MLflow store."""

    run_id: str
    tags: dict[str, str]


def key(run_id: str) -> str:
    """The key of the saved view of a run: in links and, after a prefix, in experiment tags."""
    return f"pfbench-{run_id}"


def rows(run_id: str, table: str = "") -> str:
    """The MLflow filter for the trials of a run that stand in one of its tables, or in `table`."""
    shown = f"tags.`pfbench.tables` LIKE '%{table}%'" if table else "tags.`pfbench.tables` != ''"
    return f"tags.`pfbench.run_id` = '{run_id}' and {shown}"


def saved(parent: ParentRun) -> tuple[str, str]:
    """The tag that holds the view of a run: its name, and the view with the time 0."""
    view = json.dumps(_view(parent), separators=(",", ":"))
    name = f"{parent.title}, run {parent.id[:6]}"
    envelope = {"name": name, "createdAt": 0, "updatedAt": 0, "state": view}
    return f"mlflow.sharedViewState.{key(parent.id)}", json.dumps(envelope)


def _view(parent: ParentRun) -> JsonObject:
    study = parent.score == SCORE
    metrics = (SCORE,) if study else (*HEADLINES, *OTHERS)
    columns = [_column("params", "Model"), *(_column("metrics", name) for name in metrics)]
    if study:
        names = dict.fromkeys(name for names in parent.searched.values() for name in names)
        columns += [*(_column("params", name) for name in names), _column("tags", STATE)]
    else:
        columns += [_column("params", "Type"), _column("tags", "pfbench.seed")]
        columns += [_column("tags", "pfbench.fold")] * parent.crossed
    columns.append(_column("tags", "pfbench.reason"))
    return {
        "searchFilter": rows(parent.id),
        "orderByKey": _column("metrics", parent.score),
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # or the charts of every other metric come first
        "compareRunCharts": _charts_of_study(parent) if study else _charts(),
        "compareRunSections": [_section(study)],
    }


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _section(study: bool) -> JsonObject:
    name = "Which values, with what score" if study else "Which system, at what cost"
    flags = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": SECTION, "name": name, **flags}


def _charts_of_study(parent: ParentRun) -> list[JsonObject]:
    """Charts of a study: parallel coordinates for each table.

    A run without the parameters of the table has no line there.
    """
    charts: list[JsonObject] = []
    for table, names in parent.searched.items():
        shown = {"selectedParams": list(names), "selectedMetrics": [SCORE], "displayName": table}
        charts.append(_chart("PARALLEL", len(charts), showAllRuns=True, **shown))
    return [*charts, _chart("BAR", len(charts), metricKey=SCORE, displayName=SCORE)]


def _charts() -> list[JsonObject]:
    parallel = {"selectedParams": ["Model"], "selectedMetrics": list(HEADLINES)}
    charts = [_chart("PARALLEL", 0, showAllRuns=True, **parallel)]
    for cost in COSTS:
        axes = {"xaxis": _axis(cost), "yaxis": _axis(DICE.mlflow)}
        name = f"{DICE.mlflow} at {cost}"
        charts.append(_chart("SCATTER", len(charts), displayName=name, **axes))
    for name in HEADLINES:
        charts.append(_chart("BAR", len(charts), metricKey=name, displayName=name))
    return charts


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def _chart(kind: str, number: int, **what: Any) -> JsonObject:
    return {
        "uuid": f"{SECTION}-{number}",
        "type": kind,
        "metricSectionId": SECTION,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": LISTED,
        **what,
    }


def table_link(place: str, experiment: str, run_id: str) -> str:
    """The link to the runs of the view as a table, best first."""
    return f"{place}#/experiments/{experiment}/runs?viewStateShareKey={key(run_id)}"


def chart_link(place: str, experiment: str, run_id: str) -> str:
    """The link to the runs of the view as charts."""
    return f"{table_link(place, experiment, run_id)}&compareRunsMode=CHART"


def filter_link(place: str, experiment: str, run_id: str, table: str) -> str:
    """The link to the trials of one table."""
    return f"{place}#/experiments/{experiment}/runs?searchFilter={quote(rows(run_id, table))}"


def compare_link(place: str, experiment: str, runs: Sequence[str]) -> str:
    """The link to MLflow's Compare of these runs: parallel coordinates, scatter, box plots."""
    chosen = quote(json.dumps(list(runs[:LISTED])))
    return f"{place}#/compare-runs?runs={chosen}&experiments={quote(json.dumps([experiment]))}"


def in_table(children: Mapping[str, Stored], table: str) -> list[str]:
    """The runs of the store that stand in `table`."""
    return [
        child.run_id
        for child in children.values()
        if table in child.tags.get("pfbench.tables", "").split()
    ]
