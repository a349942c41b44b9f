"""`pfbench plan`: the time and memory that a suite will take, estimated before it runs.

    probe of each kind of trial ─► Estimate ─► seconds of each trial ─► hours, wall time

An epoch is as many steps as there are training cases, and schedules run to their last epoch, so
a training that its learning rate ends earlier takes less. What is not foreseen: preparing volumes,
starting Ray, scores (milliseconds of a case).
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from rich.table import Table

from harness.data.split import Split
from harness.experiments import run as runner
from harness.runs.plan import Plan
from harness.runs.records import Failed, Paced, ProbedInference, ProbedTraining
from harness.runs.screen import Screen, clock
from harness.runs.spec import TrialSpec
from harness.trials import gpu_sharing as packing
from harness.trials import probe_run as probing
from harness.trials.measure import REPETITIONS, WARM_UP_S
from harness.trials.placement import Placement
from harness.trials.preflight import refuse_unfit
from harness.trials.probe_run import Probe

Record = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """The steps and times of one trial; times that could not be probed are None."""

    steps: int
    train_s: float | None
    """Seconds of training or fine-tuning, with validation and checkpoints."""
    trial_s: float | None
    """Seconds of the whole process: building, training, segmenting every test case."""
    measure_s: float | None
    """Seconds of the measuring phase; 0 for a trial that is not measured."""


def estimate(spec: TrialSpec, probe: Probe, split: Split, processes: int) -> Estimate:
    """The estimate of a trial from its probe; the trial is measured in `processes` processes.

    The test part of `split` has the cases that test the trial, also where these are of another
    origin.
    """
    found, measured = probe.training, probe.inference
    measure_s = 0.0 if measured is None else None
    if isinstance(found, Failed):
        return Estimate(_steps(spec, split, 1), None, None, measure_s)
    if isinstance(measured, ProbedInference):
        once_s = measured.inference_s
        each_s = found.build_s + max(WARM_UP_S, once_s) + REPETITIONS * once_s
        measure_s = processes * each_s
    train_s = sum(_training_s(spec, pace, split) for pace in found.paces)
    trial_s = found.build_s + train_s + len(split.test) * found.segment_s + found.count_s
    return Estimate(_steps(spec, split, len(found.paces)), train_s, trial_s, measure_s)


def _steps(spec: TrialSpec, split: Split, networks: int) -> int:
    """The number of optimiser steps; fine-tuning is one epoch over the test cases."""
    if spec.base:
        return len(split.test) if spec.tuned else 0
    return networks * spec.protocol.epochs * spec.protocol.windows_per_volume * len(split.train)


def _training_s(spec: TrialSpec, pace: Paced, split: Split) -> float:
    if spec.base:
        return pace.once_s + len(split.test) * pace.step_s
    protocol = spec.protocol
    validations = -(-protocol.epochs // protocol.validate_every)
    steps = len(split.train) * protocol.windows_per_volume
    epoch_s = steps * pace.step_s + pace.epoch_s
    validated = validations * len(split.validation)
    return pace.once_s + protocol.epochs * epoch_s + validated * pace.validate_s


class Timed(NamedTuple):
    """A job of known length."""

    id: str
    seconds: float
    share: float
    """The share of all room that it takes."""
    after: str = ""
    """The job that has to be over before it begins; "" for none."""


def makespan(jobs: Sequence[Timed]) -> float:
    """Seconds until all jobs are done, begun in this order as far as none waits for another."""
    now, free = 0.0, 1.0
    waiting, unfinished = [*jobs], {job.id for job in jobs}
    running: list[tuple[float, str, float]] = []
    while unfinished:
        ready = next((job for job in waiting if job.after not in unfinished), None)
        if ready and (ready.share <= free + 1e-9 or not running):
            waiting.remove(ready)
            heapq.heappush(running, (now + ready.seconds, ready.id, ready.share))
            free -= ready.share
        else:
            now, ended, share = heapq.heappop(running)
            unfinished.remove(ended)
            free += share
    return now


@dataclass(frozen=True)
class Forecast:
    """The estimates of a plan and their totals."""

    planned: Plan
    placement: Placement
    probes: dict[str, Probe]
    """Trial -> the probe of the trial's kind."""

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        processes = self.placement.processes
        return {
            trial: estimate(spec, probe, self.planned.cases_of(spec), processes)
            for trial, probe in self.probes.items()
            for spec in [self.planned.trials[trial]]
        }

    @cached_property
    def rows(self) -> list[Record]:
        """One row for all trials that differ in seed and fold, in the order of the table."""
        alike: dict[str, list[str]] = {}
        for trial, spec in self.planned.trials.items():
            test = spec.test and spec.test.model_copy(update={"fingerprint": ""})
            same = {"seed": 0, "fold": 0, "split": "", "data": self.planned.data, "test": test}
            alike.setdefault(spec.model_copy(update=same).id, []).append(trial)
        return [self._row(trials) for trials in alike.values()]

    def _row(self, trials: Sequence[str]) -> Record:
        trial = trials[0]
        spec, probe = self.planned.trials[trial], self.probes[trial]
        made = self.estimates[trial]
        cpus, gpus = self.placement.size_of(trial)
        trained = probe.training if isinstance(probe.training, ProbedTraining) else None
        measured = probe.inference if isinstance(probe.inference, ProbedInference) else None
        faults = [part for part in (probe.training, probe.inference) if isinstance(part, Failed)]
        return {
            "name": _without_training(self.planned.names[trial], spec),
            "model": spec.system,
            "trials": len(trials),
            "steps": made.steps,
            "timed_steps": sum(pace.steps for pace in trained.paces) if trained else 0,
            "step_s": _mean_step_s(trained),
            "train_s": made.train_s,
            "trial_s": made.trial_s,
            "train_peak_mib": trained and trained.peak_mib,
            "train_reserved_mib": trained and trained.reserved_mib,
            "inference_s": measured and measured.inference_s,
            "inference_peak_mib": measured and measured.peak_mib,
            "inference_reserved_mib": measured and measured.reserved_mib,
            "measure_s": made.measure_s,
            "cpus": cpus,
            "gpus": gpus,
            "reason": faults[0].reason if faults else "",
            "detail": faults[0].detail if faults else "",
        }

    @property
    def totals(self) -> Record:
        """Hours of processors or GPUs, and seconds of wall time; None where a probe failed."""
        estimates = self.estimates
        if any(None in (one.trial_s, one.measure_s) for one in estimates.values()):
            return {"unit": self.unit, "device_hours": None, "wall_s": None}
        used = sum(self._device_s(trial, one) for trial, one in estimates.items())
        wall_s = makespan([*self._jobs(self.planned.order)])
        wall_s += sum(one.measure_s or 0.0 for one in estimates.values())
        return {"unit": self.unit, "device_hours": used / 3600, "wall_s": wall_s}

    def _device_s(self, trial: str, made: Estimate) -> float:
        """Seconds of a processor or GPU: the trial's share, and the whole while it is measured."""
        cpus, gpus = self.placement.size_of(trial)
        alone = self.probes[trial].inference
        if self.placement.device == "cuda":
            share, whole = gpus, math.ceil(gpus)
        else:
            share, whole = cpus, alone.threads if isinstance(alone, ProbedInference) else 1
        return share * (made.trial_s or 0.0) + whole * (made.measure_s or 0.0)

    def _jobs(self, trials: Sequence[str]) -> Iterator[Timed]:
        sizes = {trial: self.placement.size_of(trial) for trial in trials}
        places = {size: packing.room(self.placement, size) for size in set(sizes.values())}
        for trial, size in sizes.items():
            needed = self.planned.trials[trial].after
            seconds, share = self.estimates[trial].trial_s or 0.0, 1 / places[size]
            yield Timed(trial, seconds, share, needed.id if needed else "")

    @property
    def unit(self) -> str:
        return "GPU hours" if self.placement.device == "cuda" else "processor hours"

    @property
    def notes(self) -> list[str]:
        places = packing.room(
            self.placement, (self.placement.cpus_per_trial, self.placement.gpus_per_trial)
        )
        devices = {
            f"{found.device} ({found.threads} threads, {found.precision}, {found.layout})"
            for found in (probe.training for probe in self.probes.values())
            if isinstance(found, ProbedTraining)
        }
        kinds = probing.kinds(self.planned.trials, self.probes)
        made = [
            f"{len(kinds)} of {len(self.probes)} trials probed, one of each kind, "
            f"up to {places} at once, on {', '.join(sorted(devices)) or 'no device'}",
            "training to its last epoch; it ends earlier when the learning rate reaches its floor",
            "preparing volumes, starting Ray and computing scores are not counted",
        ]
        if self.placement.packing != "given":
            made.append("steps were timed with a GPU for each; trials that share one take longer")
        return [*made, *self.planned.notes]

    def as_json(self) -> Record:
        return {"trials": self.rows, "totals": self.totals, "notes": self.notes}

    @property
    def failed(self) -> bool:
        return any(row["reason"] for row in self.rows)


def _without_training(name: str, spec: TrialSpec) -> str:
    """The name of a trial for all its seeds and folds: "PFSeg", "PFSeg on hospital_b"."""
    title = name.rpartition(f" seed {spec.seed}")[0]
    return f"{title} on {spec.test.name}" if spec.test else title


def _mean_step_s(found: ProbedTraining | None) -> float | None:
    """Mean seconds of a step over all networks of a trial, which take equally many steps."""
    paces = found.paces if found else []
    return sum(pace.step_s for pace in paces) / len(paces) if paces else None


def forecast(request: runner.RunRequest, limit_s: float, screen: Screen) -> Forecast:
    """The forecast: volumes are prepared, each kind of trial is probed; no trial, no run folder."""
    request = runner.fitted(request)
    runner.refuse_impossible(request)
    refuse_unfit(request.placement, request.cache, request.cache, screen)
    planned = runner.prepare(request, screen)
    trials = list(planned.trials)
    probes = probing.probe(
        planned, trials, request.cache, request.placement, screen, limit_s=limit_s
    )
    found = {trial: probe.training for trial, probe in probes.items()}
    return Forecast(planned, packing.sized(request.placement, found), probes)


def show(made: Forecast, screen: Screen) -> None:
    """Print the rows, the totals and the notes of a forecast."""
    screen.show(_table(made))
    for row in made.rows:
        if row["reason"]:
            screen.say(f"failed      {row['name']}: {row['reason']}: {row['detail']}")
    totals = made.totals
    if totals["wall_s"] is None:
        screen.say("total       unknown: a probe failed")
    else:
        screen.say(f"total       {totals['device_hours']:.3g} {totals['unit']}")
        screen.say(f"wall time   {clock(totals['wall_s'])}")
    for note in made.notes:
        screen.say(f"note        {note}")


def _table(made: Forecast) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("trial")
    titles = ["trials", "steps", "s/step", "training", "MiB", "s/volume", "MiB"]
    shared = made.placement.packing != "given"
    for title in [*titles, *["share"] * shared]:
        table.add_column(title, justify="right")
    for row in made.rows:
        table.add_row(
            row["name"],
            str(row["trials"]),
            str(row["steps"]),
            _number(row["step_s"], 3),
            row["reason"] or clock(row["train_s"]),
            _number(row["train_peak_mib"], 0),
            _number(row["inference_s"], 3),
            _number(row["inference_peak_mib"], 0),
            *[packing.shown(row["gpus"]) for _ in range(shared)],
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
