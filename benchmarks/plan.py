"""What `pfbench plan` foresees of Table V in the quick profile, beside what the run then measures.

"ours" is foreseen, "peer" measured; the last rows are the worst deviations, in percent.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.command import pfbench
from benchmarks.timing import Row
from harness.runs.records import Measured, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder

SUITE = ("--suite", "table5")
LIMIT = 20.0  # percent


class Pair(NamedTuple):
    """One figure of one system."""

    what: str
    unit: str
    foreseen: float
    measured: float

    @property
    def deviation(self) -> float:
        return 100 * abs(self.foreseen / self.measured - 1)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as out:
        planned = json.loads(pfbench("plan", *SUITE, "--json", "--out", out).stdout)
        began = time.perf_counter()
        pfbench("run", *SUITE, "--no-mlflow", "--out", out)
        wall_s = time.perf_counter() - began
        trials = _by_name(RunFolder(Path(out)))
        systems = {row["name"]: [*_pairs(row, trials[row["name"]])] for row in planned["trials"]}
        spent_s = sum(map(_spent_s, trials.values()))
    for name, pairs in systems.items():
        for what, unit, foreseen, measured in pairs:
            yield Row(f"{name}, {what}", "measured", foreseen, measured, unit=unit)
    foreseen_s = sum(row["trial_s"] for row in planned["trials"])
    hours = Pair("all trials", "s", foreseen_s, spent_s)
    wall = Pair("wall time", "s", planned["totals"]["wall_s"], wall_s)
    for what, unit, foreseen, measured in (hours, wall):
        yield Row(what, "measured", foreseen, measured, unit=unit)
    every = [pair for pairs in systems.values() for pair in pairs]
    for what in dict.fromkeys(pair.what for pair in every):
        worst = max(pair.deviation for pair in every if pair.what == what)
        yield Row(f"worst {what}", f"{LIMIT:.0f} %", worst, LIMIT, 1, "%")
    yield Row("all trials, time", f"{LIMIT:.0f} %", hours.deviation, LIMIT, 1, "%")


def _by_name(folder: RunFolder) -> dict[str, TrialFolder]:
    names = folder.run().names
    return {names[trial.id].removesuffix(" seed 0"): trial for trial in folder.trials()}


def _pairs(row: dict[str, Any], trial: TrialFolder) -> Iterator[Pair]:
    """Training and, where they are measured, time and memory of a volume."""
    result, measurement = trial.result(), trial.measurement()
    assert isinstance(result, Scored)
    adapts = trial.spec().base is not None
    spent = _training_s(trial)
    yield Pair("fine-tuning" if adapts else "training", "s", row["train_s"], spent)
    if not trial.spec().after:  # the record has the memory of the training it started from, too
        yield Pair("training memory", "MiB", row["train_peak_mib"], _peak(result))
    if isinstance(measurement, Measured):
        yield Pair("inference", "s", row["inference_s"], measurement.inference_s_p50)
        peak = measurement.inference_peak_mib
        yield Pair("inference memory", "MiB", row["inference_peak_mib"], peak)


def _peak(result: Scored) -> float:
    return result.memory["train_peak_mib"]


def _spent_s(trial: TrialFolder) -> float:
    """What the trial's process did itself."""
    result = trial.result()
    assert isinstance(result, Scored)
    return _training_s(trial) + result.seconds["test"]


def _training_s(trial: TrialFolder) -> float:
    """The training or fine-tuning in the trial's process, without what another one trained."""
    spec, result = trial.spec(), trial.result()
    assert isinstance(result, Scored)
    if spec.base:
        return result.seconds["adapt"]
    if spec.first_stage is None:
        return result.seconds["train"]
    first = TrialFolder(trial.path.with_name(spec.first_stage.id)).result()
    assert isinstance(first, Scored)
    return result.seconds["train"] - first.seconds["train"]
