"""The actions of a trial: train, fine-tune and score it, measure it, probe its cost.

Task ─► perform ─► ACTIONS[action] ─► files in the trial's folder, the record of its end last
"""

import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save

import harness
from harness.data.datasets import way
from harness.data.split import Split
from harness.errors import StorageError
from harness.runs import plugins
from harness.runs.events import Event
from harness.runs.files import write_bytes
from harness.runs.records import (
    Failed,
    Measured,
    Measuring,
    ProbedInference,
    ProbedTraining,
    Scored,
)
from harness.runs.score_figures import score_figures
from harness.runs.spec import TrialSpec
from harness.runs.trial_folder import Action, TrialFolder
from harness.systems import catalogue
from harness.systems.cost import adapt_gflops, cost
from harness.systems.evaluate import Masks, evaluate
from harness.systems.memory import peak_memory_mib, reset_peak, resident_mib
from harness.systems.methods import Method
from harness.systems.train import EpochRow, TrainingJob, TrainingState, train
from harness.trials import probe
from harness.trials.checkpoint import CheckpointStore, load_weights
from harness.trials.failure import BaseMissing, classify
from harness.trials.measure import alike, describe_device, measure, together
from harness.trials.network import build
from harness.trials.task import Task

Emit = Callable[[Event], None]


def perform(task: Task, emit: Emit) -> str:
    """Do the task; returns "ok" or the reason of the failure, which is then in its record.

    An action that has ended already is not done again. Raises StorageError when the disk is full:
    the trial is then unfinished.
    """
    folder = task.folder
    torch.set_num_threads(task.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        plugins.add(task.plugins)
        with folder.alone():
            if ended := folder.end(task.action):
                return ended.reason if isinstance(ended, Failed) else "ok"
            folder.begin(task.action)
            if task.shared and torch.cuda.is_available():
                reset_peak(torch.device("cuda"))
            ACTIONS[task.action](task, emit)
    except StorageError:
        raise
    except Exception as error:
        reason, detail = classify(error)
        _complain(f"{type(error).__name__}: {error}")
        folder.write_failure(task.action, reason, detail)
        return reason
    return "ok"


def _complain(text: str) -> None:
    """Print to the trial's log; where the log is on a full disk, the text is lost."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def _train(task: Task, emit: Emit) -> None:
    """Train on the training cases, then score the test cases."""
    spec = task.folder.spec()
    if spec.base:
        _adapt(task, spec, spec.base, emit)
        return
    method = build(spec)
    began = time.perf_counter()
    lesson = _lesson(task, method, emit)
    first = _finished(task, spec.first_stage) if spec.first_stage else None
    if first and spec.first_stage:
        begun = _first_stage(task.run_folder.trial(spec.first_stage.id), first, method)
        lesson = replace(lesson, begun=begun)
    progress = train(method, lesson)
    seconds = time.perf_counter() - began + (first.seconds["train"] if first else 0.0)
    found = {
        "epochs": len(progress.history),
        "remarks": method.remarks(lesson.training),
        **_training_memory(task, method, progress, first),
    }
    _score(task, method, {"train": seconds}, emit, **found)


def _finished(task: Task, other: TrialSpec) -> Scored:
    """The result of the trial whose network is taken. Raises BaseMissing where there is none."""
    result = task.run_folder.trial(other.id).result()
    if not isinstance(result, Scored):
        raise BaseMissing(f"the trial whose network it takes, {other.id}, did not finish")
    return result


def _first_stage(trainer: TrialFolder, trained: Scored, method: Method) -> TrainingState:
    """Load the first network of `method`; returns the state of a training that has trained it."""
    load_weights(method.stages[0].network, trainer)
    history = [{**row, "epoch": int(row["epoch"])} for row in trainer.history()]
    memory = {name.removeprefix("train_"): mib for name, mib in trained.memory.items()}
    return TrainingState(stage=1, history=history, memory=memory)


def _training_memory(
    task: Task, method: Method, progress: TrainingState, first: Scored | None
) -> dict[str, Any]:
    """The memory peaks of training, as fields of the result; `first` trained the first network.

    There is none on a CPU where several trials had one process, whose peaks cannot be told apart.
    """
    if _mixed(task, method):
        return {"memory": {}, "memory_unknown": "trials shared a process (--executor inline)"}
    if first and first.memory_unknown:
        return {"memory": {}, "memory_unknown": first.memory_unknown}
    return {"memory": {f"train_{name}": mib for name, mib in progress.memory.items()}}


def _mixed(task: Task, method: Method) -> bool:
    """Whether the peak of the process may be that of an earlier trial."""
    return task.shared and method.device.type == "cpu"


def _train_to(task: Task, emit: Emit) -> None:
    """Train up to the rung of a study; history and checkpoints are the only files it leaves."""
    method = build(task.folder.spec())
    train(method, _lesson(task, method, emit))


def _lesson(task: Task, method: Method, emit: Emit, split: Split | None = None) -> TrainingJob:
    """The training job for `method`, on the cases of the run or on those of another split."""
    spec, run = task.folder.spec(), task.run_folder
    cases, of = split or run.split_of(spec), spec.data.fingerprint

    def warn(message: str) -> None:
        """Write a warning to the log of the trial and to that of the run."""
        _complain(f"warning: {message}")
        emit({"event": "note", "message": message})

    def report(row: EpochRow) -> None:
        emit({"event": "epoch", "of": spec.protocol.epochs * len(method.stages), **row})

    return TrainingJob(
        run.volumes(cases.train, task.cache, of),
        run.volumes(cases.validation, task.cache, of),
        spec.protocol,
        spec.seed,
        CheckpointStore(task.folder, warn),
        report,
        task.until,
    )


def _adapt(task: Task, spec: TrialSpec, other: TrialSpec, emit: Emit) -> None:
    """Take the network of the base trial `other` and score it on the test volumes.

    Where the trial is fine-tuned, the network first learns from them, of which it sees images only.
    """
    trained, base = _finished(task, other), task.run_folder.trial(other.id)
    method = build(spec)
    load_weights(method.network, base)
    found: dict[str, Any] = {
        "epochs": trained.epochs,
        "memory": trained.memory,
        "memory_unknown": trained.memory_unknown,
        "remarks": trained.remarks,
        "base": base.id,
    }
    seconds = dict(trained.seconds)
    if not spec.tuned:
        _score(task, method, seconds, emit, **found)
        return
    test = task.run_folder.test_volumes(spec, task.cache)
    reset_peak(method.device)
    began = time.perf_counter()
    method = method.adapt([volume.image for volume in test])
    seconds["adapt"] = time.perf_counter() - began
    memory = {} if _mixed(task, method) else peak_memory_mib(method.device)
    found["memory"] = {**trained.memory, **{f"adapt_{name}": mib for name, mib in memory.items()}}
    found["adapt_gflops"] = adapt_gflops(spec.system, spec.options, *_seen(spec))
    _score(task, method, seconds, emit, **found)


def _score(
    task: Task, method: Method, seconds: Mapping[str, float], emit: Emit, **training: Any
) -> None:
    """Write weights, masks, scores and, last, the result, which shows that all are there.

    A network that was only moved to other data has its weights in the folder of its base.
    `training` are the fields of the result that training or fine-tuning has found.
    """
    folder, spec, began = task.folder, task.folder.spec(), time.perf_counter()
    if spec.tuned or spec.base is None:
        weights = {key: value.contiguous() for key, value in method.network.state_dict().items()}
        write_bytes(folder.weights_file, save(weights))

    def keep(case: str, masks: Masks, dice: float) -> None:
        folder.write_mask(case, *masks)
        emit({"event": "case", "case": case, "dice": dice})

    test = task.run_folder.test_volumes(spec, task.cache)
    extra = plugins.metrics(spec.plugins)
    data, on_scan = spec.data, spec.protocol.scored_on == "scan"
    back = way(data.name, data.grid, data.view) if on_scan else None
    rows, faults, remarks = evaluate(method.for_inference(), test, keep, extra, back, data.names)
    training["remarks"] = [*training["remarks"], *remarks]
    folder.write_cases(rows)
    Scored(
        schema=1,
        status="ok",
        reason="",
        system=spec.system,
        kind=catalogue.system(spec.system).kind,
        n_cases=len(test),
        extra_faults=faults,
        transductive=method.transductive,
        environment={**environment(method), "node": task.node},
        seconds={**seconds, "test": time.perf_counter() - began},
        sha256=folder.sums(),
        attempts=folder.starts(task.action),
        **score_figures(rows, tuple(extra)),
        **cost(spec.system, spec.options, *_seen(spec)),
        **training,
    ).write(folder.result_file)


def _seen(spec: TrialSpec) -> tuple[int, tuple[int, int, int], int]:
    """The shapes that the cost of a system depends on: modalities, grid and targets."""
    return len(spec.data.modalities), spec.data.grid, len(spec.data.names)


def _measure(task: Task, emit: Emit) -> None:
    """Time the inference of the first test case, and take its peak memory.

    This is done in each of the task's processes; the last one writes the figures of all of them.
    """
    folder, bare_mib = task.folder, resident_mib()
    method = _for_inference(folder)
    test = task.run_folder.test_volumes(folder.spec(), task.cache)
    found = measure(method, test[0], bare_mib)
    emit({"event": "measured", "seconds": statistics.median(found.inference_s)})
    processes = [*alike(folder.measured_so_far(), found)[: task.processes - 1], found]
    if len(processes) == 1:
        processes = [found.model_copy(update=method.particulars(test))]
    if len(processes) < task.processes:
        Measuring(processes=processes).write(folder.measuring_file)
        return
    folder.measuring_file.unlink(missing_ok=True)
    attempts = folder.starts(task.action)
    figures = together(processes)
    measured = Measured(schema=1, status="ok", attempts=attempts, node=task.node, **figures)
    measured.write(folder.measurement_file)


def _for_inference(folder: TrialFolder) -> Method:
    """The trained system without its training-only modules, which are freed when this returns."""
    method = build(folder.spec())
    load_weights(method.network, folder)
    return method.for_inference()


def _probe_training(task: Task, emit: Emit) -> None:
    """Write the cost of training or fine-tuning, from a few steps on a few volumes."""
    run, spec, began = task.run_folder, task.folder.spec(), time.perf_counter()
    method = build(one_window(spec))
    built = time.perf_counter()
    cost(spec.system, spec.options, *_seen(spec))
    counted = time.perf_counter()
    split, limit_s = run.split_of(spec), run.probe_limit_s()
    cases = run.test_cases(spec)
    test = run.volume(cases[0], task.cache, spec.tested)
    if spec.tuned:
        figures = probe.adapting(method, test, len(cases), limit_s)
    elif spec.base:
        figures = probe.moving(method, test, len(cases))
    else:
        lesson = _lesson(task, method, emit, probe.few_cases(split))
        if spec.first_stage:  # is probed as the trial that trains it
            lesson = replace(lesson, begun=TrainingState(stage=1))
        figures = probe.training(method, lesson, split, limit_s)
    figures |= probe.scoring(method, test, limit_s)
    emit({"event": "probed", "paces": figures["paces"]})
    found = ProbedTraining(
        schema=1, status="ok", build_s=built - began, count_s=counted - built, **figures
    )
    found.write(task.folder.record_file(task.action))


def _probe_inference(task: Task, emit: Emit) -> None:
    """Write the cost of one volume in the measuring of the trial."""
    run = task.run_folder
    method = build(task.folder.spec()).for_inference()
    spec = task.folder.spec()
    volume = run.volume(run.test_cases(spec)[0], task.cache, spec.tested)
    figures = probe.inference(method, volume.image, run.probe_limit_s())
    emit({"event": "measured", "seconds": figures["inference_s"]})
    found = ProbedInference(schema=1, status="ok", **figures)
    found.write(task.folder.record_file(task.action))


ACTIONS: dict[Action, Callable[[Task, Emit], None]] = {
    "train": _train,
    "measure": _measure,
    "train_to": _train_to,
    "probe_training": _probe_training,
    "probe_inference": _probe_inference,
}


def one_window(spec: TrialSpec) -> TrialSpec:
    """The specification with one step for each volume, in which all systems are timed."""
    protocol = spec.protocol.model_copy(update={"windows_per_volume": 1})
    return spec.model_copy(update={"protocol": protocol})


def environment(method: Method) -> dict[str, str | int]:
    """Versions of the software and the device, for the report; of a GPU its number on the node."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return {
        "pfbench": harness.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **describe_device(method),
        **({"gpu": visible} if method.device.type == "cuda" else {}),
    }
