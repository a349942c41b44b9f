"""Checks that one trial was trained as its files say, and that its files are whole.

    spec.json       names the folder by its hash
    history.csv     epochs 1, 2, …; finite losses; a learning rate that falls by the divisor only
    checkpoints/    are what their sums say, and tell the same history
    attempts.csv    one line for each start, and none after the end

What came out of it is checked by `harness.checks.verify.outcome`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from harness.checks.verify.inspection import Inspection, same
from harness.errors import StateError
from harness.runs import plugins as registry
from harness.runs.records import MEASUREMENT, RESULT, Failed, Measured, Reported, Scored
from harness.runs.spec import Data, TrialSpec
from harness.runs.trial_folder import MEASUREMENT_FILE, RESULT_FILE, TIME, Action, TrialFolder
from harness.systems import catalogue as systems
from harness.systems.methods import Method
from harness.trials import checkpoint

NEEDED = {"epoch", "loss", "lr", "seconds"}


@dataclass(frozen=True)
class Trial:
    """The records of one trial; None for a record that is missing or damaged."""

    folder: TrialFolder
    spec: TrialSpec | None
    result: Scored | Failed | None
    measurement: Measured | Reported | Failed | None

    @property
    def scored(self) -> Scored | None:
        return self.result if isinstance(self.result, Scored) else None

    @cached_property
    def method(self) -> Method | None:
        """The method on device "meta"; None when this version cannot build the method."""
        if self.spec is None or self.lacks_network or self.spec.given:
            return None
        try:
            with torch.device("meta"):
                return systems.build(
                    self.spec.system,
                    self.spec.options,
                    len(self.spec.data.modalities),
                    self.spec.data.grid,
                    len(self.spec.data.names),
                )
        except (ValueError, TypeError):
            return None

    @property
    def lacks_plugin(self) -> bool:
        """Whether the trial's numbers depend on a plug-in that is not in use."""
        return self.spec is not None and not registry.in_use(self.spec.plugins)

    @property
    def lacks_network(self) -> bool:
        """Whether the trial's network depends on a plug-in that is not in use."""
        if self.spec is None:
            return False
        of = (self.spec.system, self.spec.data.name)
        return not registry.in_use(registry.needed_to_predict(self.spec.plugins, *of))


def read(folder: TrialFolder, found: Inspection) -> Trial:
    """The records of the trial, with a fault for each that is damaged."""
    result, measurement = folder.result_file, folder.measurement_file
    return Trial(
        folder,
        _spec(folder, found),
        found.record(result, RESULT) if result.exists() else None,
        found.record(measurement, MEASUREMENT) if measurement.exists() else None,
    )


def _spec(folder: TrialFolder, found: Inspection) -> TrialSpec | None:
    path = folder.spec_file
    if found.json(path) is None:
        return None
    try:
        return folder.spec()
    except StateError as error:
        found.fault(path, error.what)
    except ValidationError as error:
        found.fault(path, f"describes no trial: {error.errors()[0]['msg']}")
    return None


def check_training(trial: Trial, protocol: Mapping[str, Any], found: Inspection) -> None:
    """Check all files that training left, of a trial of this protocol, finished or not."""
    if trial.spec is None:
        return
    spec = trial.spec
    of_run = {"cases": spec.split, "code": spec.code}
    wrong = [key for key, value in of_run.items() if value != protocol.get(key)]
    wrong += [] if _same_data(spec.data, protocol.get("data")) else ["data"]
    for key in wrong:
        name = "split" if key == "cases" else key
        found.fault(trial.folder.spec_file, f"{name}: is not protocol.{key} of run.json")
    if spec.given:
        _attempts(trial, found)
        return
    if trial.lacks_plugin:
        needed = " ".join(f"--plugin RUN_DIR/plugins/{each}.py" for each in trial.spec.plugins)
        what = "network and metrics" if trial.lacks_network else "metrics"
        found.unchecked(f"trial {trial.folder.id}: {what} of a plug-in ({needed})")
    if trial.method is None and not trial.lacks_network:
        found.fault(trial.folder.spec_file, "describes a network that this version cannot build")
    if trial.folder.history_file.exists():
        _history(trial, trial.spec, found)
    elif trial.scored and not trial.spec.base:
        found.fault(trial.folder.history_file, "is missing")
    _checkpoints(trial, found)
    _attempts(trial, found)


def _same_data(data: Data, of_run: object) -> bool:
    """Whether the protocol of the run names the same volumes, be it with fewer fields."""
    try:
        return Data.model_validate(of_run) == data
    except ValidationError:
        return False


def _history(trial: Trial, spec: TrialSpec, found: Inspection) -> None:
    path = trial.folder.history_file
    lines = found.table(path)
    if not lines:
        return
    if missing := NEEDED - lines[0].cells.keys():
        found.fault(path, f"has no column {', '.join(sorted(missing))}", 1)
        return
    blank = {name for name in lines[0].cells if name.startswith(("val_", "loss_"))}
    rows = [found.numbers(path, line, blank=blank) for line in lines]
    epoch = 0.0
    for line, row in zip(lines, rows, strict=True):
        if row.get("epoch") != epoch + 1:
            found.fault(path, f"epoch {line.cells['epoch']} after {epoch:g}", line.number)
        if not 0 <= row.get("val_dice", 0) <= 1:
            found.fault(path, f"val_dice is {row['val_dice']:g}", line.number)
        epoch = row.get("epoch", epoch + 1)
    if trial.method:
        _rates(path, [row.get("lr", 0.0) for row in rows], spec, trial.method, found)
    if trial.scored and trial.scored.epochs != len(lines):
        found.fault(path, f"{len(lines)} epochs, but {trial.scored.epochs} in result.json")


def _rates(
    path: Path, rates: list[float], spec: TrialSpec, method: Method, found: Inspection
) -> None:
    """Check that each learning rate is the previous, the previous divided, or a stage's first."""
    protocol = spec.protocol
    first, *later = (protocol.learning_rate * s.learning_rate_factor for s in method.stages)
    possible = [first]
    for number, rate in enumerate(rates, 2):
        if not any(same(rate, value) for value in possible):
            expected = " or ".join(f"{value:g}" for value in possible)
            found.fault(path, f"lr is {rate:g}, where {expected} was possible", number)
        possible = [rate, rate / protocol.plateau_divisor, *later]


def _checkpoints(trial: Trial, found: Inspection) -> None:
    folder = trial.folder.checkpoints
    files = sorted({path.with_suffix(".pt") for path in folder.glob("epoch-*.*")})
    whole = []
    for path in files:
        seal = path.with_suffix(".sha256")
        if trial.result is None and path == files[-1] and not seal.exists():
            found.note(f"trial {trial.folder.id} was cut off while it wrote {path.name}")
            continue
        said, given = found.bytes_of(seal), found.sum_of(path)
        if given and said == given.encode():
            whole.append(path)
        elif given and said is not None:
            found.fault(path, "is not what was written (SHA-256)")
    if not whole:
        return
    try:
        state = checkpoint.load(folder) or {}
        history = state["progress"]["history"]
    except (StateError, KeyError, TypeError) as error:
        found.fault(whole[-1], f"is no checkpoint of a trial ({type(error).__name__})")
    else:
        _same_history(trial, history, found)


def _same_history(trial: Trial, rows: list[dict[str, float]], found: Inspection) -> None:
    """Check history.csv against the newest checkpoint; the last epoch may be missing if cut off."""
    path = trial.folder.history_file
    lines = (found.table(path) if path.exists() else None) or []
    if len(lines) != len(rows) and (trial.result or len(lines) != len(rows) - 1):
        found.fault(path, f"{len(lines)} epochs, but {len(rows)} in the newest checkpoint")
    for line, row in zip(lines, rows, strict=False):
        for name, cell in line.cells.items():
            if cell != ("" if name not in row else repr(row[name])):
                what = f"{name} is {cell or 'empty'}, but {row.get(name)} in the newest checkpoint"
                found.fault(path, what, line.number)


def _attempts(trial: Trial, found: Inspection) -> None:
    """Check that starts are numbered and dated, and that an end belongs to the last start."""
    path = trial.folder.path / "attempts.csv"
    counts: Counter[str] = Counter()
    for line in (found.table(path) if path.exists() else None) or []:
        action, attempt = line.cells.get("action", ""), line.cells.get("attempt", "")
        counts[action] += 1
        if attempt != str(counts[action]):
            what = f"attempt {attempt} of {action}, where {counts[action]} is next"
            found.fault(path, what, line.number)
        if action not in get_args(Action):
            found.fault(path, f"action is {action!r}", line.number)
        if not _dated(line.cells.get("started", "")):
            found.fault(path, f"started is {line.cells.get('started')!r}", line.number)
    measured = counts.pop("measure", 0)
    for name, end, starts in (
        (RESULT_FILE, trial.result, counts.total()),
        (MEASUREMENT_FILE, trial.measurement, measured),
    ):
        if end and end.attempts is None:
            found.note("trials of an earlier version have no log of their starts")
        elif end and end.attempts != starts:
            what = f"{starts} starts, but {name} is the end of attempt {end.attempts}"
            found.fault(path, what)


def _dated(text: str) -> bool:
    try:
        return bool(datetime.strptime(text, TIME))
    except ValueError:
        return False
