"""The folder of one trial: the only reader and writer of its files.

TRIAL/spec.json                      everything that determines the trial; the folder is its hash
      attempts.csv                   a line for each start, before it starts
      history.csv, checkpoints/      while it trains
      weights.safetensors, cases.csv, masks/<case>.npz    when it is done
      result.json                    last: its presence means finished
      measuring.json                 the processes that have measured it, while more are to come
      measurement.json               time and memory, from a phase of their own
      failure-<n>.json               why earlier starts failed
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.data.case import valid_case_id
from harness.data.layout import unusable_id
from harness.errors import StateError
from harness.runs import mask_file, records
from harness.runs.crash_points import crash_point
from harness.runs.csv_file import Columns, csv_lines, read_columns, read_lines
from harness.runs.files import (
    damaged,
    read_json,
    reading,
    refuse_unfit,
    remove_temporary,
    sha256,
    write_bytes,
    write_json,
)
from harness.runs.locks import held
from harness.runs.records import (
    MEASUREMENT,
    MEASURING,
    PROBED_INFERENCE,
    PROBED_TRAINING,
    RESULT,
    Failed,
    MeasuredProcess,
    Measurement,
    ProbedInference,
    ProbedTraining,
    Result,
    Scored,
)
from harness.runs.spec import TrialSpec

State = Literal["new", "interrupted", "ok", "failed"]
Action = Literal["train", "measure", "train_to", "probe_training", "probe_inference"]
PATIENCE_S = 60.0  # with a process that still works on a trial
ANEW = "move the folder of this trial away; the same command makes it anew"
HISTORY = "history.csv"
CASES = "cases.csv"
WEIGHTS = "weights.safetensors"
RESULT_FILE = "result.json"
MEASUREMENT_FILE = "measurement.json"
TIME = "%Y-%m-%dT%H:%M:%S"
"""The form of the time at which an action starts."""


Stamp = tuple[int, int, int]
"""What changes with a file: its time of change in ns, its inode and its size."""


def _stamp(path: Path) -> Stamp | None:
    """The stamp of the file, by which its content is cached: a report asks a hundred times."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


@lru_cache(maxsize=512)
def _cases(path: Path, stamp: Stamp | None) -> Columns:
    lines = read_columns(path, words=("case", "target", "failed"))
    names = (lines[name] for name in ("case", "target") if name in lines)
    _refuse_twice(path, [", ".join(each) for each in zip(*names, strict=True)])
    return lines


def _refuse_twice(path: Path, names: Sequence[object]) -> None:
    """Raise StateError for a table with two lines of one name."""
    known = set()
    for name in names:
        if name in known:
            what = f"has two lines of {name}"
            raise StateError(what, where=str(path), remedy=ANEW, code="PFB-K08")
        known.add(name)


@lru_cache(maxsize=4096)
def _result(path: Path, stamp: Stamp) -> Result:
    return records.read(path, RESULT)


@lru_cache(maxsize=4096)
def _sum(path: Path, stamp: Stamp) -> str:
    return sha256(path)


@lru_cache(maxsize=4096)
def _spec(path: Path, stamp: Stamp | None) -> TrialSpec:
    """The specification in spec.json. Raises StateError when it does not give the folder's name."""
    try:
        spec = TrialSpec.model_validate(read_json(path))
    except ValidationError as error:
        what = f"is no specification ({error.error_count()} faults)"
        raise records.written_by_another(path, what) or damaged(path, what) from error
    if spec.id != path.parent.name:
        what = f"describes trial {spec.id} for this version, not {path.parent.name}"
        if other := records.written_by_another(path, what):
            raise other
        raise StateError(
            f"describes trial {spec.id}, not {path.parent.name}",
            where=str(path),
            remedy=ANEW,
            code="PFB-K09",
        )
    return spec


class TrialFolder:
    """The files of one trial, or of one of its targets: then its scores are those of `target`."""

    def __init__(self, path: Path, target: str = "") -> None:
        self.path, self.target = path, target
        self.checkpoints = path / "checkpoints"
        self.spec_file = path / "spec.json"
        self.attempts_file = path / "attempts.csv"
        self.history_file = path / HISTORY
        self.weights_file = path / WEIGHTS
        self.cases_file = path / CASES
        self.result_file = path / RESULT_FILE
        self.measurement_file = path / MEASUREMENT_FILE
        self.measuring_file = path / "measuring.json"

    @property
    def id(self) -> str:
        return self.path.name

    def of_target(self, target: str) -> "TrialFolder":
        """The same trial, as if `target` were its only one."""
        return TrialFolder(self.path, target)

    def write_spec(self, spec: TrialSpec) -> None:
        """Write the spec once; it never changes, because the folder's name is its hash."""
        if not self.spec_file.exists():
            write_json(self.spec_file, spec.model_dump(mode="json"))

    def spec(self) -> TrialSpec:
        """Read the specification.

        Raises StateError when spec.json does not match the name of the folder.
        """
        return _spec(self.spec_file, _stamp(self.spec_file))

    def result(self) -> Result | None:
        """Read how training and scoring ended; None while they have not ended."""
        stamp = _stamp(self.result_file)
        if stamp is None:
            return None
        result = _result(self.result_file, stamp)
        if self.target and isinstance(result, records.Scored):
            if self.target not in result.targets:
                raise damaged(self.result_file, f"lacks 'targets.{self.target}'")
            return result.of_target(self.target)
        return result

    def measurement(self) -> Measurement | None:
        """Read time and memory of inference; None while they have not been measured."""
        place = self.measurement_file
        return records.read(place, MEASUREMENT) if place.exists() else None

    def measured_so_far(self) -> list[MeasuredProcess]:
        """Read the processes that have measured the trial, while more processes are to come."""
        there = self.measuring_file.exists()
        return records.read(self.measuring_file, MEASURING).processes if there else []

    def probed_training(self) -> ProbedTraining | Failed | None:
        """Read the result of a probe of training; None while it has not ended."""
        place = self.record_file("probe_training")
        return records.read(place, PROBED_TRAINING) if place.exists() else None

    def probed_inference(self) -> ProbedInference | Failed | None:
        """Read the result of a probe of inference; None while it has not ended."""
        place = self.record_file("probe_inference")
        return records.read(place, PROBED_INFERENCE) if place.exists() else None

    def end(self, action: Action) -> records.Ended | None:
        """Read how `action` ended; None while it has not ended."""
        match action:
            case "measure":
                return self.measurement()
            case "probe_training":
                return self.probed_training()
            case "probe_inference":
                return self.probed_inference()
            case _:
                return self.result()

    def record_file(self, action: Action) -> Path:
        """The path of the file that says how `action` ended."""
        match action:
            case "measure":
                return self.measurement_file
            case "probe_training" | "probe_inference":
                return self.path / f"{action}.json"
            case _:
                return self.result_file

    def failures(self) -> list[Failed]:
        """Read why earlier starts failed, the first start first."""
        found = []
        for path in sorted(self.path.glob("failure-*.json")):
            ended = records.read(path, RESULT)
            if isinstance(ended, Failed):
                found.append(ended)
        return found

    @contextmanager
    def alone(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Hold the trial for this process, and remove unfinished files of a killed process.

        A driver that dies takes its trials with it, but not at once: its successor waits here.
        Raises ClusterError naming the process that holds the trial for longer.
        """
        remedy = "end that process, then the same command with --retry-failed"
        with held(self.path / "trial.lock", patience_s, remedy):
            remove_temporary(self.path, self.checkpoints, self.path / "masks")
            yield

    def begin(self, action: Action) -> int:
        """Write down that `action` starts; returns the number of this start, counted from 1."""
        path = self.attempts_file
        lines = path.read_text(encoding="utf-8") if path.exists() else "action,attempt,started\n"
        attempt = self.starts(action) + 1
        line = f"{action},{attempt},{time.strftime(TIME)}\n"
        write_bytes(path, (lines + line).encode())
        return attempt

    def starts(self, action: Action) -> int:
        """The number of times `action` was started."""
        path = self.attempts_file
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return sum(line.startswith(f"{action},") for line in lines)

    def write_history(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Write one line for each epoch."""
        write_bytes(self.history_file, csv_lines(epochs))

    def history(self) -> list[dict[str, float]]:
        """Read the epochs so far, each with the cells that hold a number.

        Raises StateError for a cell that is not a number.
        """
        if not self.history_file.exists():
            return []
        with reading(self.history_file, "has no readable epochs", ANEW):
            self._refuse_changed(self.history_file)
            header, lines = read_lines(self.history_file)
            epochs = [
                {key: float(value) for key, value in zip(header, line, strict=True) if value}
                for line in lines
            ]
            _refuse_twice(self.history_file, [epoch["epoch"] for epoch in epochs])
            return epochs

    def write_cases(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write one line of scores for each test case, and in it for each of several targets."""
        write_bytes(self.cases_file, csv_lines(rows))

    def scores(self, column: str) -> dict[str, float]:
        """Read one score of every test case, by case; of several targets the mean over them.

        Raises StateError when cases.csv is not as the trial wrote it.
        """
        with reading(self.cases_file, "has no readable scores", ANEW):
            lines = self._lines()
            values: dict[str, list[float]] = {}
            for case, value in zip(lines["case"], lines[column].astype(float), strict=True):
                values.setdefault(case, []).append(float(value))
            return {case: fmean(of_targets) for case, of_targets in values.items()}

    def _lines(self) -> Columns:
        """The lines of cases.csv; of several targets those that any test case has, or `target`."""
        self._refuse_changed(self.cases_file)
        lines = _cases(self.cases_file, _stamp(self.cases_file))
        if "target" not in lines:
            return lines
        if self.target:
            kept = lines["target"] == self.target
        else:
            there = {*lines["target"][lines["target_ml"].astype(float) > 0]}
            kept = np.array([not there or target in there for target in lines["target"]])
        return {name: column[kept] for name, column in lines.items()}

    def failed_ml(self) -> list[float]:
        """The volume in ml of each target of which exactly one mask is empty; 0 for a false alarm.

        Raises StateError as `scores` does.
        """
        with reading(self.cases_file, "has no readable scores", ANEW):
            lines = self._lines()
            return [*map(float, lines["target_ml"][lines["failed"] == "True"])]

    def missed_cases(self) -> list[str]:
        """The test cases of which exactly one mask is empty, which have the worst score; "case
        (target)" where there are several targets."""
        with reading(self.cases_file, "has no readable scores", ANEW):
            self._refuse_changed(self.cases_file)
            lines = _cases(self.cases_file, _stamp(self.cases_file))
            missed = lines["failed"] == "True"
            if "target" not in lines or self.target:
                of_target = missed & (lines["target"] == self.target) if self.target else missed
                return [*lines["case"][of_target]]
            pairs = zip(lines["case"][missed], lines["target"][missed], strict=True)
            return [f"{case} ({target})" for case, target in pairs]

    def _refuse_changed(self, path: Path) -> None:
        """Raise StateError for a file of a finished trial that is not what the trial wrote."""
        refuse_unfit(path)
        result = self.result()
        name = path.relative_to(self.path).as_posix()
        written = result.sha256.get(name) if isinstance(result, Scored) else None
        stamp = _stamp(path)
        if written and stamp and _sum(path, stamp) != written:
            what = "is not what the trial wrote (SHA-256)"
            raise StateError(what, where=str(path), remedy=ANEW, code="PFB-K08")

    def write_mask(
        self, case: str, mask: NDArray[Any], on_scan: NDArray[Any] | None = None
    ) -> None:
        """Keep the mask (D, H, W) of `case` on the grid, and on its scan if it is scored there.

        Of several targets bit k is target k, see `harness.data.targets`.
        """
        arrays = {"mask": mask} if on_scan is None else {"mask": mask, "scan": on_scan}
        mask_file.write(self.mask_path(case), arrays)

    def mask(self, case: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read the mask of `case` on the grid, of this shape (D, H, W).

        Of several targets bit k is target k. Raises StateError for an unreadable file, and for a
        mask of another shape.
        """
        return self._mask(case, "mask", shape)

    def mask_on_scan(self, case: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read the mask of `case` on the voxels of its scan, of this shape, where it was scored.

        Raises StateError as `mask` does, and for a mask that was scored on the grid.
        """
        return self._mask(case, "scan", shape)

    def _mask(self, case: str, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        path = self.mask_path(case)
        with reading(path, f"has no readable mask on {shape}", ANEW):
            return mask_file.read(path, name, shape)

    def mask_form(self, case: str) -> mask_file.Form:
        """Shape and type that the mask of `case` claims to have.

        Raises StateError for an unreadable file.
        """
        path = self.mask_path(case)
        with reading(path, "has no readable mask", ANEW):
            return mask_file.form(path, "mask")

    def mask_path(self, case: str) -> Path:
        """The path of the mask of `case`.

        Raises DataError for a name that could lead out of the folder.
        """
        if not valid_case_id(case):
            raise unusable_id(case)
        return self.path / "masks" / f"{case}.npz"

    def records(self) -> list[Path]:
        """Paths of the files that hold numbers and no voxels, whether they exist or not."""
        return [
            self.spec_file, self.attempts_file, self.history_file,
            self.cases_file, self.result_file, self.measurement_file,
        ]  # fmt: skip

    def of_voxels(self) -> list[Path]:
        """Paths of what `records` leaves out of a finished trial, as far as they exist."""
        return [path for path in (self.weights_file, self.path / "masks") if path.exists()]

    def of_testing(self) -> list[Path]:
        """Paths of the files that only scoring and measuring leave, as far as they exist."""
        files = (self.cases_file, self.measurement_file)
        return [*self.of_voxels(), *(path for path in files if path.exists())]

    def sums(self) -> dict[str, str]:
        """SHA-256 of each file of a finished trial, by its name below the folder."""
        named = (self.history_file, self.weights_file, self.cases_file)
        files = [*named, *sorted(self.path.glob("masks/*.npz"))]
        return {
            path.relative_to(self.path).as_posix(): sha256(path) for path in files if path.exists()
        }

    def state(self) -> State:
        result = self.result()
        if result is not None:
            return result.status
        return "interrupted" if self.checkpoints.exists() else "new"

    def write_failure(self, action: Action, reason: str, detail: str) -> None:
        """Write down why there are no numbers: a row of the table with a reason and no metrics.

        What has ended already stays as it is.
        """
        if self.end(action):
            return
        attempts = self.starts(action)
        failed = Failed(schema=1, status="failed", reason=reason, detail=detail, attempts=attempts)
        failed.write(self.record_file(action))

    def forget_failure(self) -> None:
        """Let a failed trial run again; the record of the failure is kept under another name."""
        for path, ended in (
            (self.result_file, self.result()),
            (self.measurement_file, self.measurement()),
        ):
            if isinstance(ended, Failed):
                number = len(list(self.path.glob("failure-*.json"))) + 1
                path.rename(self.path / f"failure-{number}.json")
                crash_point("failure-set-aside")
