"""One trial, in a process of its own: train or fine-tune and score, or measure.

    python -m harness.trials.trial train|adapt|measure|rehearse RUN_DIR TRIAL_ID \\
        --cache DIR --threads N

With probe_training or probe_inference it is found out what those would take
(harness.experiments.estimate). A trial that needs a plug-in is told so with --plugin FILE;
RUN_DIR/plugins holds copies.

Prints one JSON line for each event ("epoch", "case", "end"); everything else that is said goes
to standard error. What counts is on disk before it is printed.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save

import harness
from harness.data.cache import open_volume
from harness.data.case import Volume
from harness.data.split import Split
from harness.errors import DataError, PfbenchError, StateError, StorageError
from harness.runs import plugins as registry
from harness.runs.run_folder import (
    RECORDS,
    Action,
    RunFolder,
    TrialFolder,
    read_json,
    write_bytes,
    write_json,
)
from harness.runs.spec import TrialSpec
from harness.systems import catalogue as systems
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.cost import cost
from harness.systems.evaluate import evaluate, summary
from harness.systems.methods import Mask, Method
from harness.systems.train import Lesson, NotFinite, Row, train
from harness.trials import checkpoint, probe
from harness.trials.measure import describe_device, measure

Event = dict[str, Any]


class BaseMissing(Exception):
    """There is no trained network to fine-tune; the message names the trial."""


@dataclass(frozen=True)
class Task:
    """One thing to do with one trial."""

    action: Action
    run: Path
    trial: str
    cache: Path
    threads: int
    until: int | None = None
    """Of a rehearsal: the epoch to pause after."""
    plugins: tuple[Path, ...] = ()
    """To execute first; those that are in use already are not again."""
    node: str = platform.node()
    """The machine that it runs on, by its name in the cluster."""


def perform(task: Task, emit: Callable[[Event], None]) -> str:
    """Do the task; returns "ok" or the reason of the failure, which is then in result.json.

    What has ended already is not done again. Raises StorageError when the disk is full: the trial
    is then unfinished.
    """
    folder = RunFolder(task.run).trial(task.trial)
    torch.set_num_threads(task.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        registry.add(task.plugins)
        with folder.alone():
            if ended := folder.end(task.action):
                return ended.get("reason") or "ok"
            folder.begin(task.action)
            ACTIONS[task.action](task, folder, emit)
    except StorageError:
        raise
    except Exception as error:
        reason, detail = classify(error)
        _complain(f"{type(error).__name__}: {error}")
        folder.write_failure(task.action, reason, detail)
        return reason
    return "ok"


def _complain(text: str) -> None:
    """Say it in the trial's log; where that is on a full disk, nobody hears of it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def _train(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    method = build(folder.spec())
    began = time.perf_counter()
    progress = train(method, _lesson(task, folder, method, emit))
    seconds = {"train": time.perf_counter() - began}
    history = {
        "epochs": len(progress.history),
        "memory": {f"train_{name}": mib for name, mib in progress.memory.items()},
    }
    _score(task, folder, method, history, seconds, emit)


def _rehearse(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    """Train as far as the study wants to see; what it leaves is its history and checkpoints."""
    method = build(folder.spec())
    train(method, _lesson(task, folder, method, emit))


def _lesson(
    task: Task,
    folder: TrialFolder,
    method: Method,
    emit: Callable[[Event], None],
    split: Split | None = None,
) -> Lesson:
    """On the cases of the run, or on those of another split."""
    spec = folder.spec()
    split = split or Split.from_json(read_json(task.run / "split.json"))

    def report(row: Row) -> None:
        emit({"event": "epoch", "of": spec.protocol.epochs * len(method.stages), **row})

    return Lesson(
        volumes(task, split.train),
        volumes(task, split.validation),
        spec.protocol,
        spec.seed,
        _Store(folder, emit),
        report,
        task.until,
    )


def _adapt(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    """Fine-tune the base trial's network on the test volumes, of which it sees images only."""
    spec = folder.spec()
    if spec.base is None:
        raise BaseMissing("it has no network to fine-tune: it trains its own")
    base = RunFolder(task.run).trial(spec.base.id)
    trained = base.result()
    if trained is None or trained["status"] != "ok":
        raise BaseMissing(f"the trial that it fine-tunes, {base.id}, did not finish")
    method = build(spec)
    checkpoint.load_weights(method.network, base)
    began = time.perf_counter()
    test = volumes(task, Split.from_json(read_json(task.run / "split.json")).test)
    method = method.adapt([volume.image for volume in test])
    seconds = {**trained["seconds"], "adapt": time.perf_counter() - began}
    history = {"epochs": trained["epochs"], "memory": trained["memory"], "base": base.id}
    _score(task, folder, method, history, seconds, emit)


def _score(
    task: Task,
    folder: TrialFolder,
    method: Method,
    history: dict[str, Any],
    seconds: dict[str, float],
    emit: Callable[[Event], None],
) -> None:
    """Weights, masks, scores and, last, the result that says that all of them are there."""
    began = time.perf_counter()
    weights = {key: value.contiguous() for key, value in method.network.state_dict().items()}
    write_bytes(folder.path / "weights.safetensors", save(weights))

    def keep(case: str, mask: Mask, dice: float) -> None:
        folder.write_mask(case, mask)
        emit({"event": "case", "case": case, "dice": dice})

    test = volumes(task, Split.from_json(read_json(task.run / "split.json")).test)
    extra = registry.metrics(folder.spec().plugins)
    rows, faults = evaluate(method.for_inference(), test, keep, extra)
    write_bytes(folder.path / "cases.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    seconds = {**seconds, "test": time.perf_counter() - began}
    result = _result(folder.spec(), method, rows) | history
    if extra:
        result["extra_metrics"] = extra_metrics.summary(rows, tuple(extra))
        result["extra_faults"] = faults
    result["environment"]["node"] = task.node
    result |= {"seconds": seconds, "sha256": folder.sums()}
    result |= {"attempts": folder.starts(task.action)}
    write_json(folder.path / "result.json", result)


def _result(spec: TrialSpec, method: Method, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "status": "ok",
        "reason": "",
        "system": spec.system,
        "kind": systems.system(spec.system).kind,
        "metrics": summary(rows),
        "n_cases": len(rows),
        "n_failed": sum(bool(row["failed"]) for row in rows),
        "n_without_target": sum(row["target_ml"] == 0 for row in rows),
        "transductive": method.transductive,
        **cost(spec.system, spec.options, len(spec.data.modalities), spec.data.grid),
        "environment": environment(method),
    }


def _measure(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    spec = folder.spec()
    split = Split.from_json(read_json(task.run / "split.json"))
    method = build(spec)
    checkpoint.load_weights(method.network, folder)
    test = volumes(task, split.test)
    figures = measure(method, test[0].image)
    figures |= method.particulars([volume.image for volume in test])
    emit({"event": "measured", "seconds": figures["inference_s_p50"]})
    figures |= {"attempts": folder.starts(task.action), "node": task.node}
    write_json(folder.path / "measurement.json", {"schema": 1, "status": "ok", **figures})


def _probe_training(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    """What training or fine-tuning will take, from a few steps on a few volumes."""
    spec, began = folder.spec(), time.perf_counter()
    method = build(spec)
    built = time.perf_counter()
    cost(spec.system, spec.options, len(spec.data.modalities), spec.data.grid)
    fixed = {"build_s": built - began, "count_s": time.perf_counter() - built}
    split = Split.from_json(read_json(task.run / "split.json"))
    limit_s = read_json(task.run / "probe.json")["limit_s"]
    [test] = volumes(task, split.test[:1])
    if spec.base:
        figures = probe.adapting(method, test, split, limit_s)
    else:
        lesson = _lesson(task, folder, method, emit, probe.glimpse(split))
        figures = probe.training(method, lesson, split, limit_s)
    figures |= probe.scoring(method, test, limit_s)
    emit({"event": "probed", "paces": figures["paces"]})
    record = {"schema": 1, "status": "ok", **fixed, **figures}
    write_json(folder.path / RECORDS[task.action], record)


def _probe_inference(task: Task, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
    """What one volume will take when the trial is measured."""
    split = Split.from_json(read_json(task.run / "split.json"))
    limit_s = read_json(task.run / "probe.json")["limit_s"]
    method = build(folder.spec())
    [volume] = volumes(task, split.test[:1])
    figures = probe.inference(method, volume.image, limit_s)
    emit({"event": "measured", "seconds": figures["inference_s"]})
    write_json(folder.path / RECORDS[task.action], {"schema": 1, "status": "ok", **figures})


ACTIONS: dict[Action, Callable[[Task, TrialFolder, Callable[[Event], None]], None]] = {
    "train": _train,
    "adapt": _adapt,
    "measure": _measure,
    "rehearse": _rehearse,
    "probe_training": _probe_training,
    "probe_inference": _probe_inference,
}


class _Store:
    """A trial's checkpoints and history on disk; the history is a copy of the checkpoint's."""

    def __init__(self, folder: TrialFolder, emit: Callable[[Event], None]) -> None:
        self.folder = folder
        self.emit = emit

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        checkpoint.save(self.folder.checkpoints, epoch, {"trial": self.folder.id, **state})
        self._write_history(state)

    def load(self) -> dict[str, Any] | None:
        state = checkpoint.load(self.folder.checkpoints, self._warn)
        if state is None:
            return None
        if state.get("trial") != self.folder.id:
            where, remedy = str(self.folder.checkpoints), checkpoint.AGAIN
            what = f"holds the checkpoints of another trial ({state.get('trial')})"
            raise StateError(what, where=where, remedy=remedy, code="PFB-K06")
        self._write_history(state)
        return state

    def _warn(self, message: str) -> None:
        """To the log of the trial and to that of the run."""
        _complain(f"warning: {message}")
        self.emit({"event": "note", "message": message})

    def _write_history(self, state: dict[str, Any]) -> None:
        table = pd.DataFrame(state["progress"]["history"]).to_csv(index=False)
        write_bytes(self.folder.path / "history.csv", table.encode())


def build(spec: TrialSpec) -> Method:
    """The system of a trial, its first weights drawn from the trial's seed.

    Raises UsageError for a plug-in that it needs and that is not in use.
    """
    registry.require(spec.plugins)
    torch.manual_seed(spec.seed)
    method = systems.build(spec.system, spec.options, len(spec.data.modalities), spec.data.grid)
    method.network.to(spec.device)
    method.follow(spec.protocol)
    return method


def volumes(task: Task, cases: Sequence[str]) -> list[Volume]:
    """The prepared volumes of `cases`, memory-mapped."""
    keys = read_json(task.run / "data.json")["keys"]
    return [open_volume(task.cache, keys[case]) for case in cases]


def environment(method: Method) -> dict[str, Any]:
    """Versions and device, for the report."""
    return {
        "pfbench": harness.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **describe_device(method),
    }


def classify(error: BaseException) -> tuple[str, str]:
    """The reason of a failure, as one word of a table, and one line of detail."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_allocated() / 2**20
        return "cuda_oom", f"out of GPU memory at a peak of {peak:.0f} MiB; use a larger device"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "host_oom", "out of host memory; lower --max-concurrent"
    if isinstance(error, NotFinite | FloatingPointError):
        return "nan_loss", str(error)
    if isinstance(error, BaseMissing):
        return "base_failed", str(error)
    if isinstance(error, DataError | OSError):
        return "bad_data", str(error)
    if isinstance(error, StateError):
        return "bad_state", str(error)
    if isinstance(error, PfbenchError):
        return "error", str(error)
    return "error", f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    """Leave when the process that started this one is gone: no trial outlives its driver."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.trials.trial", description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("run", type=Path)
    parser.add_argument("trial")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--node", default=platform.node(), help="this machine, in the cluster")
    parser.add_argument("--until", type=int, help="epoch after which a rehearsal pauses")
    parser.add_argument("--plugin", type=Path, action="append", default=[], dest="plugins")
    options = parser.parse_args(arguments)
    events = sys.stdout

    def emit(event: Event) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:  # who started this one is gone: it is unfinished, not failed
            os._exit(1)

    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this one
    with contextlib.redirect_stdout(sys.stderr):
        try:
            reason = perform(Task(**vars(options)), emit)
        except StorageError as error:
            emit({"event": "storage", "message": f"{error.where}: {error.what}"})
            return error.exit_code
    emit({"event": "end", "reason": reason})
    return 0


if __name__ == "__main__":
    sys.exit(main())
