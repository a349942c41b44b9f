"""The lists of `pfbench list`; torch, Ray and MLflow are not loaded, numpy for data sets only.

`python -m harness.commands.listing` counts what the systems cost and writes costs.json, so that
`pfbench list models` need not; a test holds the file to what is counted.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import unknown
from harness.runs.measures import MEASURES, of_plugin
from harness.runs.suite import Row
from harness.runs.suites import SUITES, chosen
from harness.systems import catalogue
from harness.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from harness.systems.cost import Cost

Rows = list[dict[str, Any]]
COSTS = Path(__file__).parent / "costs.json"
PAPER_DATA = "brats"
"""The data set of the listed costs, the paper's first; Point-Unet takes the points of this one."""
BETTER = {"max": "higher", "min": "lower", "": ""}


def suites(profile: str) -> Rows:
    return [
        {"name": name, "title": suite.title, "rows": len(suite.rows)}
        for name, suite in SUITES.items()
    ]


def rows(profile: str) -> Rows:
    """The rows of every suite, each with the settings that it changes."""
    return [
        {
            "suite": name,
            "row": row.key,
            "title": row.title,
            "model": row.system,
            "changes": [f"{key}={value}" for key, value in _changes(row).items()],
        }
        for name in SUITES
        for row in chosen(name, profile)[name]
    ]


def _changes(row: Row) -> dict[str, Any]:
    """The changes of a row: options of its system, and values of the protocol."""
    return {**row.options, **{f"protocol.{key}": value for key, value in row.protocol.items()}}


def models(profile: str) -> Rows:
    """Name, kind and cost of each model, for one modality; costs of plug-ins are computed now."""
    from harness.runs.plugins import plugin_of
    from harness.runs.settings import PROFILES

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    costs = json.loads(COSTS.read_bytes())[catalogue.size_of(profile)]
    return [
        {
            "name": name,
            "title": system.title,
            "kind": system.kind,
            "plugin": plugin_of(name),
            "end_to_end": system.end_to_end,
            **(costs.get(name) or cost_of(name, profile)),
            "reference": system.reference,
        }
        for name, system in SYSTEMS.items()
    ]


def cost_of(name: str, profile: str) -> "Cost":
    """Parameters and GFLOPs of a system in a profile, for one modality; loads torch."""
    from harness.data.request import reduced_grid
    from harness.runs.settings import PROFILES
    from harness.systems.cost import cost

    grid = reduced_grid(PROFILES[profile].reduce)
    return cost(name, catalogue.options(name, profile, PAPER_DATA), 1, grid)


def costs() -> dict[str, dict[str, "Cost"]]:
    """The contents of costs.json: size of networks -> system of ours -> its cost."""
    return {size: {name: cost_of(name, size) for name in SYSTEMS} for size in catalogue.SIZES}


def metrics(profile: str) -> Rows:
    """The figures of a trial and their place in its files; metrics of plug-ins in use come last."""
    from harness.runs.plugins import active

    added = [(name, each) for plugin in active() for name, each in plugin.metrics.items()]
    known = [*MEASURES, *(of_plugin(name, each.title, each.better) for name, each in added)]
    return [
        {
            "name": measure.name,
            "heading": measure.label,
            "unit": measure.unit,
            "better": BETTER[measure.better],
            "where": measure.source,
            "shown": measure.shown,
            "meaning": measure.meaning,
        }
        for measure in known
    ]


def datasets(profile: str) -> Rows:
    from harness.data.datasets import DATASETS

    return [
        {"name": name, "title": dataset.title, "modalities": list(dataset.modalities)}
        for name, dataset in DATASETS.items()
    ]


LISTS: dict[str, Callable[[str], Rows]] = {
    "suites": suites,
    "rows": rows,
    "models": models,
    "metrics": metrics,
    "datasets": datasets,
}


def as_text(rows: Rows) -> str:
    """The rows as text: columns of equal width under their names."""
    table = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def cell(value: Any) -> str:
    """A value of a list as text."""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    COSTS.write_text(json.dumps(costs(), indent=1) + "\n", encoding="utf-8")
