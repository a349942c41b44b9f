"""What a study leaves on disk: its points, and what became of each.

    STUDY/run.json                        what is searched, under which protocol
    STUDY/points/<name>/<number>/point.json    values of the parameters, and a trial for each seed
                                  result.json   last: complete, stopped or failed
    STUDY/trials/<id>/…                   as in a run, without anything of the test cases
    STUDY/study.csv, study.md, best.yaml, figures/    derived

A point's score after an epoch is the mean validation Dice of its trials after that epoch.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.runs.run_folder import RunFolder, TrialFolder, read_json, write_json
from harness.runs.spec import digest
from tuning.search import State


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
    def result(self) -> dict[str, Any]:
        """{} while there is none."""
        path = self.path / "result.json"
        return read_json(path) if path.exists() else {}

    @property
    def state(self) -> State:
        return self.result.get("state", "unfinished")

    @property
    def reason(self) -> str:
        return self.result.get("reason", "")

    @property
    def value(self) -> float | None:
        """The score after the last epoch; None while it is not complete."""
        return self.result.get("value") if self.state == "complete" else None

    def values(self) -> dict[int, float]:
        """Epoch -> score, as far as every trial has come."""
        return scores([self.folder.trial(trial) for trial in self.trials])

    def end(self, state: State, value: float | None, reason: str = "", detail: str = "") -> None:
        """Write down what became of it; a failed point has no value."""
        record = {"schema": 1, "state": state, "reason": reason, "detail": detail}
        write_json(self.path / "result.json", {**record, "value": value})


def place(folder: RunFolder, study: str, number: int) -> Path:
    return folder.path / "points" / study / f"{number:04d}"


def propose(
    folder: RunFolder, study: str, number: int, system: str, params: dict[str, float],
    trials: Sequence[str],
) -> Point:  # fmt: skip
    """Write a point down before it starts, so that it is known whatever happens to it."""
    content = {"study": study, "number": number, "system": system, "params": params}
    record = {**content, "trials": list(trials)}
    write_json(place(folder, study, number) / "point.json", record)
    return Point(folder, study, number, system, params, tuple(trials))


def points(folder: RunFolder, study: str = "*") -> list[Point]:
    """The points of a study, or of every study in the folder, in the order they were proposed."""
    return [
        Point(
            folder,
            content["study"],
            content["number"],
            content["system"],
            content["params"],
            tuple(content["trials"]),
        )
        for path in sorted((folder.path / "points").glob(f"{study}/*/point.json"))
        for content in [read_json(path)]
    ]


def best(folder: RunFolder, study: str) -> Point | None:
    """The complete point of the highest score, the earliest of equal ones."""
    complete = [point for point in points(folder, study) if point.value is not None]
    return max(complete, key=lambda point: (point.value, -point.number), default=None)


def scores(trials: Sequence[TrialFolder]) -> dict[int, float]:
    """Epoch -> mean validation Dice, for the epochs that every trial has validated."""
    each = [dict(_validated(trial)) for trial in trials]
    common = set.intersection(*(set(values) for values in each)) if each else set()
    return {epoch: sum(values[epoch] for values in each) / len(each) for epoch in sorted(common)}


def _validated(trial: TrialFolder) -> Iterator[tuple[int, float]]:
    path = trial.path / "history.csv"
    if path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row.get("val_dice"):
                    yield int(float(row["epoch"])), float(row["val_dice"])
