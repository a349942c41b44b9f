"""The folder of one trial and its files; the only reader and writer of them."""

import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.data.case import valid_case_id
from harness.data.layout import unusable_id
from harness.errors import StateError
from harness.runs.crash_points import crash_point
from harness.runs.files import (
    damaged,
    outcome,
    read_json,
    remove_temporary,
    sha256,
    write_bytes,
    write_json,
)
from harness.runs.locks import held
from harness.runs.spec import TrialSpec

State = Literal["new", "interrupted", "ok", "failed"]


Action = Literal["train", "adapt", "measure", "rehearse", "probe_training", "probe_inference"]


RECORDS: dict[Action, str] = {
    "measure": "measurement.json",
    "probe_training": "probe_training.json",
    "probe_inference": "probe_inference.json",
}
"""Where a trial's folder tells how these actions ended; the others have made its result."""


PATIENCE_S = 60.0  # with a process that still works on a trial


class TrialFolder:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @property
    def id(self) -> str:
        return self.path.name

    def write_spec(self, spec: TrialSpec) -> None:
        """Write the spec once; it never changes, because the folder's name is its hash."""
        if not (self.path / "spec.json").exists():
            write_json(self.path / "spec.json", spec.model_dump(mode="json"))

    def spec(self) -> TrialSpec:
        """What the trial is; StateError when spec.json is not what the folder is named after."""
        path = self.path / "spec.json"
        try:
            spec = TrialSpec.model_validate(read_json(path))
        except ValidationError as error:
            raise damaged(path, f"is no specification ({error.error_count()} faults)") from error
        if spec.id != self.id:
            raise StateError(
                f"describes trial {spec.id}, not {self.id}",
                where=str(path),
                remedy="remove the folder of this trial; the same command makes it anew",
                code="PFB-K09",
            )
        return spec

    def result(self) -> dict[str, Any] | None:
        """The final result, or None while there is none."""
        return outcome(self.path / "result.json")

    def measurement(self) -> dict[str, Any] | None:
        """Time and memory, or None while they were not measured."""
        return outcome(self.path / "measurement.json")

    def end(self, action: Action) -> dict[str, Any] | None:
        """How `action` ended, or None while it did not."""
        return outcome(self._record(action))

    def _record(self, action: Action) -> Path:
        return self.path / RECORDS.get(action, "result.json")

    @contextmanager
    def alone(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Hold the trial for one process, and remove what one that was killed left unfinished.

        A driver that dies takes its trials with it, but not at once: its successor waits here.
        Raises ClusterError naming the process that holds the trial for longer.
        """
        remedy = "end that process, then the same command with --retry-failed"
        with held(self.path / "trial.lock", patience_s, remedy):
            remove_temporary(self.path, self.checkpoints, self.path / "masks")
            yield

    def begin(self, action: Action) -> int:
        """Write down that `action` starts; the number of this start, counted from 1."""
        path = self.path / "attempts.csv"
        lines = path.read_text() if path.exists() else "action,attempt,started\n"
        attempt = self.starts(action) + 1
        line = f"{action},{attempt},{time.strftime('%Y-%m-%dT%H:%M:%S')}\n"
        write_bytes(path, (lines + line).encode())
        return attempt

    def starts(self, action: Action) -> int:
        """How often `action` was started."""
        path = self.path / "attempts.csv"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(line.startswith(f"{action},") for line in lines)

    def write_mask(self, case: str, mask: NDArray[np.bool_]) -> None:
        """Keep the mask (D, H, W) that is scored for `case`."""
        content = io.BytesIO()
        np.savez_compressed(content, mask=mask)
        write_bytes(self.mask_path(case), content.getvalue())

    def mask(self, case: str) -> NDArray[np.bool_]:
        """The mask (D, H, W) that was scored for `case`; StateError when it is not there."""
        path = self.mask_path(case)
        try:
            with np.load(path, allow_pickle=False) as content:
                return content["mask"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            remedy = "remove the folder of this trial; the same command makes it anew"
            what = "has no readable mask"
            raise StateError(what, where=str(path), remedy=remedy, code="PFB-K08") from error

    def mask_path(self, case: str) -> Path:
        """Where the mask of `case` is; DataError for a name that could lead out of the folder."""
        if not valid_case_id(case):
            raise unusable_id(case)
        return self.path / "masks" / f"{case}.npz"

    def sums(self) -> dict[str, str]:
        """SHA-256 of what a finished trial consists of: name below the folder -> digits."""
        names = ("history.csv", "weights.safetensors", "cases.csv")
        files = [*(self.path / name for name in names), *sorted(self.path.glob("masks/*.npz"))]
        return {
            path.relative_to(self.path).as_posix(): sha256(path) for path in files if path.exists()
        }

    def state(self) -> State:
        result = self.result()
        if result is not None:
            return "ok" if result["status"] == "ok" else "failed"
        return "interrupted" if self.checkpoints.exists() else "new"

    def write_failure(self, action: Action, reason: str, detail: str) -> None:
        """Record why there are no numbers: a row of the table with a reason and no metrics.

        What has ended already stays as it is.
        """
        if self.end(action):
            return
        record = {"schema": 1, "status": "failed", "reason": reason, "detail": detail}
        write_json(self._record(action), record | {"attempts": self.starts(action)})

    def forget_failure(self) -> None:
        """Let a failed trial run again; what it reported is kept beside."""
        for name in ("result.json", "measurement.json"):
            path = self.path / name
            if path.exists() and read_json(path)["status"] != "ok":
                number = len(list(self.path.glob("failure-*.json"))) + 1
                path.rename(self.path / f"failure-{number}.json")
                crash_point("failure-set-aside")
