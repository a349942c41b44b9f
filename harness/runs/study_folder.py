"""The files that a study leaves on disk: its points, and how each of them ended.

    STUDY/run.json                        what is searched, under which protocol
    STUDY/points/<name>/<number>/point.json    values of the parameters, and a trial for each seed
                                  result.json   last: complete, stopped or failed
    STUDY/trials/<id>/…                   as in a run, without anything of the test cases
    STUDY/study.csv, study.md, best.yaml, figures/    derived

A point's score after an epoch is the mean validation Dice of its trials after that epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.runs import records
from harness.runs.files import damaged
from harness.runs.records import POINT, POINT_END, PointEnd, PointRecord
from harness.runs.run_folder import RunFolder
from harness.runs.spec import digest
from harness.runs.trial_folder import TrialFolder
from tuning.search import State

END_FILE = "result.json"


@dataclass(frozen=True)
class Point:
    """One choice of parameters in one study."""

    folder: RunFolder
    study: str
    number: int
    system: str
    params: dict[str, float]
    trials: tuple[str, ...]

    @property
    def path(self) -> Path:
        return place(self.folder, self.study, self.number)

    @property
    def id(self) -> str:
        return digest([self.study, self.number, self.params, self.trials])

    @property
    def end_file(self) -> Path:
        return self.path / END_FILE

    @property
    def ended(self) -> PointEnd | None:
        """The record of how the point ended, or None while it has not ended."""
        return records.read(self.end_file, POINT_END) if self.end_file.exists() else None

    @property
    def state(self) -> State:
        return self.ended.state if self.ended else "unfinished"

    @property
    def reason(self) -> str:
        return self.ended.reason if self.ended else ""

    @property
    def value(self) -> float | None:
        """The score after the last epoch; None while the point is not complete."""
        return self.ended.value if self.ended and self.ended.state == "complete" else None

    def values(self) -> dict[int, float]:
        """The score by epoch, for the epochs that every trial has validated."""
        return scores([self.folder.trial(trial) for trial in self.trials])

    def end(
        self,
        state: Literal["complete", "stopped", "failed"],
        value: float | None,
        reason: str = "",
        detail: str = "",
    ) -> None:
        """Write down how the point ended; a failed point has no value."""
        ended = PointEnd(schema=1, state=state, reason=reason, detail=detail, value=value)
        ended.write(self.end_file)


def place(folder: RunFolder, study: str, number: int) -> Path:
    return folder.path / "points" / study / f"{number:04d}"


def propose(
    folder: RunFolder,
    study: str,
    number: int,
    system: str,
    params: dict[str, float],
    trials: Sequence[str],
) -> Point:
    """Write a new point to disk before it starts, so that it is known whatever happens to it."""
    record = PointRecord(
        study=study, number=number, system=system, params=params, trials=list(trials)
    )
    record.write(place(folder, study, number) / "point.json")
    return Point(folder, study, number, system, params, tuple(trials))


def points(folder: RunFolder, study: str = "*") -> list[Point]:
    """The points of a study, or of every study in the folder, in the order they were proposed."""
    files = sorted((folder.path / "points").glob(f"{study}/*/point.json"))
    return [_point(folder, path) for path in files]


def _point(folder: RunFolder, path: Path) -> Point:
    """Read one point. Raises StateError for one that is not where its name and number lead."""
    read = records.read(path, POINT)
    if place(folder, read.study, read.number) != path.parent:
        raise damaged(path, f"describes point {read.number} of {read.study}")
    return Point(folder, read.study, read.number, read.system, read.params, tuple(read.trials))


def best(folder: RunFolder, study: str) -> Point | None:
    """The complete point with the highest score; of equal scores the earliest."""
    complete = [point for point in points(folder, study) if point.value is not None]
    return max(complete, key=lambda point: (point.value, -point.number), default=None)


def scores(trials: Sequence[TrialFolder]) -> dict[int, float]:
    """The mean validation Dice by epoch, for the epochs that every trial has validated."""
    each = [dict(_validated(trial)) for trial in trials]
    common = set.intersection(*(set(values) for values in each)) if each else set()
    return {epoch: sum(values[epoch] for values in each) / len(each) for epoch in sorted(common)}


def _validated(trial: TrialFolder) -> Iterator[tuple[int, float]]:
    for row in trial.history():
        if "val_dice" in row:
            yield int(row["epoch"]), row["val_dice"]
