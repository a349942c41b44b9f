"""The figures of result.json that the lines of cases.csv give, all targets together and each."""

from collections.abc import Sequence

from harness.runs.files import JsonObject
from harness.runs.records import TargetScored
from harness.systems import plugin_metrics
from harness.systems.evaluate import Line, of_cases, summary, without_target


def score_figures(rows: Sequence[Line], extra: Sequence[str] = ()) -> JsonObject:
    """Return means, deviations and counts as fields of `Scored`; `extra` names plug-ins' metrics.

    `targets` has those of each of several targets; of one it is empty.
    """
    every = dict.fromkeys(row["target"] for row in rows if "target" in row)
    each = {name: TargetScored(**_figures(_of(rows, name), extra)) for name in every}
    return {**_figures(rows, extra), "targets": each}


def _figures(rows: Sequence[Line], extra: Sequence[str]) -> JsonObject:
    return {
        "metrics": summary(rows),
        "extra_metrics": plugin_metrics.summary(of_cases(rows, extra), extra),
        "n_failed": sum(bool(row["failed"]) for row in rows),
        "n_without_target": without_target(rows),
    }


def _of(rows: Sequence[Line], target: str) -> list[Line]:
    """Return the lines of one target, as those of a trial that has no other."""
    own = [row for row in rows if row["target"] == target]
    return [{name: value for name, value in row.items() if name != "target"} for row in own]
