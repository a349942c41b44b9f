"""What a study costs beside its training: Ray, Optuna, the ledger, MLflow and the report.

`pfbench tune` itself, with as many points as it has unasked; its trials keep a core busy for
twenty seconds in place of training, and leave a history like any other.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.timing import Row
from harness.data.request import DataRequest
from harness.experiments.session import Mirroring
from harness.experiments.tune import StudyRequest, tune
from harness.runs.files import append
from harness.runs.screen import Screen
from harness.runs.search_space import learning_rate
from harness.runs.settings import resolve
from harness.tracking.mirror import default_uri
from harness.trials.placement import Placement
from harness.trials.train_point import train_point
from tuning.study import run_study

CORES = 2
POINTS, EPOCHS, EPOCH_S = 20, 20, 1.0


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        command, searching = _study_s(Path(folder) / "study")
    ideal = POINTS * EPOCHS * EPOCH_S / CORES
    case = f"study of {POINTS} x {EPOCHS * EPOCH_S:g} s"
    yield Row(f"{case}, its trials", "no overhead", 1000 * searching, 1000 * ideal, 1 / 1.05)
    yield Row(f"{case}, whole command", "no overhead", 1000 * command, 1000 * ideal)


def _study_s(out: Path) -> tuple[float, float]:
    """Seconds of the command, and of these from the first point asked for to the last one's end."""
    spent: list[float] = []
    with (
        patch(
            "harness.experiments.tune.train_point",
            partial(train_point, function=f"{__name__}:burn"),
        ),
        patch("harness.experiments.tune.run_study", partial(_timed, spent, run_study)),
    ):
        began = time.perf_counter()
        code = tune(_request(out), Screen(quiet=True))
        command = time.perf_counter() - began
    ends = [
        json.loads(path.read_text(encoding="utf-8"))["state"]
        for path in out.glob("points/*/*/result.json")
    ]
    if code or ends != ["complete"] * POINTS:
        raise RuntimeError(f"the study did not end well: code {code}, {ends}")
    return command, spent[0]


def _timed(spent: list[float], function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    began = time.perf_counter()
    function(*arguments, **named)
    spent.append(time.perf_counter() - began)


def _request(out: Path) -> StudyRequest:
    """`pfbench tune lr --model resunet3d_up --scheduler none --no-compare`."""
    settings = resolve("quick", None, ["phantom.cases=4"], EPOCHS)
    return StudyRequest(
        spaces=(learning_rate("resunet3d_up", settings, {}),),
        settings=settings,
        data=DataRequest("phantom", reduce=settings.reduce, cases=settings.phantom.cases),
        points=POINTS,
        sampler="optuna",
        pruner="none",
        search_seed=0,
        seeds=1,
        compare=False,
        placement=Placement("ray", "cpu", 1, 0, CORES, None, 60),
        out=out,
        cache=out / "cache",
        mirroring=Mirroring(default_uri(out), "benchmark", required=True),
        command="python -m benchmarks study_overhead",
    )


def burn(arguments: Sequence[str]) -> int:
    """A trial that keeps a core busy, and writes down and reports each epoch."""
    _, run, trial, *_ = arguments
    history = Path(run) / "trials" / trial / "history.csv"
    append(history, "epoch,val_dice,seconds\n")
    for epoch in range(1, EPOCHS + 1):
        until = time.perf_counter() + EPOCH_S
        while time.perf_counter() < until:
            pass
        append(history, f"{epoch},{epoch / (EPOCHS + 1):.3f},{EPOCH_S}\n")
        print(json.dumps({"event": "epoch", "epoch": epoch}), flush=True)
    print(json.dumps({"event": "end", "reason": "ok"}), flush=True)
    return 0
