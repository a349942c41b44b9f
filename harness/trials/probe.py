"""Probe the cost of a trial by a few of its steps: the training itself, on fewer volumes.

    epoch 1    one step, which also pays for all that is paid once
    epoch 2    timed: as many steps as fit into a limit, at least one

Volumes are prepared ones, in turns where they are fewer than steps. Random weights cost what
trained ones do.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, median
from typing import Any

import torch

from harness.data.case import Volume
from harness.data.split import Split
from harness.systems.memory import MIB, peak_memory_mib, reset_peak
from harness.systems.methods import Image, Method, Stage
from harness.systems.train import EpochRow, TrainingJob, train
from harness.trials.measure import describe_device

EPOCHS = 2
SAMPLE = 8
"""The number of training volumes that a probe opens."""
STEPS = 100
"""The highest number of timed steps, however short they are."""


@dataclass(frozen=True)
class Pace:
    """The training times of one network, in seconds."""

    steps: int
    """The number of timed steps."""
    step_s: float
    once_s: float
    """Seconds by which the first step was longer than the others."""
    epoch_s: float = 0.0
    """Seconds for the checkpoint that every epoch ends with."""
    validate_s: float = 0.0
    """Seconds of one validation case."""


class Cycled(Sequence[Volume]):
    """A sequence of `steps` volumes that cycles through the given ones.

    The number `steps` may be changed between two epochs.
    """

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self.volumes = volumes
        self.steps = 1

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: Any) -> Any:
        return self.volumes[index % len(self.volumes)]


def few_cases(split: Split) -> Split:
    """The split reduced to the few cases that a probe of training opens."""
    return replace(split, train=split.train[:SAMPLE], validation=split.validation[:1])


def training(method: Method, lesson: TrainingJob, split: Split, limit_s: float) -> dict[str, Any]:
    """Probe training: pace of each network of `method`, and memory peak with all cases of `split`.

    `lesson` has the volumes of few_cases. Raises NotFinite as training does.
    """
    turns = Cycled(lesson.training)
    ends: list[tuple[float, float, int]] = []

    def report(row: EpochRow) -> None:
        ends.append((time.perf_counter(), row["seconds"], turns.steps))
        turns.steps = how_many(row["seconds"], limit_s, STEPS) if len(ends) % EPOCHS else 1

    # Nothing ends these epochs early: no schedule has seen enough of them.
    endless = {"epochs": EPOCHS, "plateau_epochs": EPOCHS + 1, "learning_rate_floor": 0.0}
    settings = lesson.settings.model_copy(update=endless)
    train(method, replace(lesson, training=turns, validation=(), settings=settings, report=report))
    paces = []
    stages = method.stages[lesson.begun.stage if lesson.begun else 0 :]
    for stage, warm, timed in zip(stages, ends[::EPOCHS], ends[1::EPOCHS], strict=True):
        end, seconds, steps = timed
        once_s = max(0.0, warm[1] - seconds / steps)
        validate_s = _validating(stage, lesson.validation, limit_s)
        epoch_s = end - warm[0] - seconds
        paces.append(Pace(steps, seconds / steps, once_s, epoch_s, validate_s))
    seen = min(len(lesson.training), max(pace.steps for pace in paces)) + len(lesson.validation)
    unseen = len(split.train) + len(split.validation) - seen
    return _record(method, paces, lesson.training[0], unseen)


def _validating(stage: Stage, volumes: Sequence[Volume], limit_s: float) -> float:
    """Seconds of one validation case; 0 where there is no validation case."""
    if not volumes:
        return 0.0
    return mean(timed(lambda: stage.segment(volumes[0].image), limit_s)[1:])


def adapting(method: Method, volume: Volume, cases: int, limit_s: float) -> dict[str, Any]:
    """Probe fine-tuning on `cases` volumes (label one, learn from it): pace and memory peak."""
    first, *steps = timed(lambda: method.adapt([volume.image]), limit_s, STEPS)
    pace = Pace(len(steps), mean(steps), max(0.0, first - mean(steps)))
    return _record(method, [pace], volume, cases - 1)


def moving(method: Method, volume: Volume, cases: int) -> dict[str, Any]:
    """Probe a network that is scored on `cases` volumes of another origin: memory peak, no pace."""
    return _record(method, [], volume, cases - 1)


def _record(method: Method, paces: Sequence[Pace], volume: Volume, unseen: int) -> dict[str, Any]:
    memory = peak_memory_mib(method.device)
    total = None
    if method.device.type == "cuda":
        total = torch.cuda.get_device_properties(method.device).total_memory / MIB
    else:  # resident memory counts each volume once it was read
        memory["peak_mib"] += unseen * (volume.image.nbytes + volume.label.nbytes) / MIB
    return {
        "paces": [asdict(pace) for pace in paces],
        **memory,
        "device_mib": total,
        **describe_device(method),
    }


def scoring(method: Method, volume: Volume, limit_s: float) -> dict[str, float]:
    """Probe scoring: seconds to segment one test case in the process that trains."""
    segment = method.for_inference().segment
    return {"segment_s": mean(timed(lambda: segment(volume.image), limit_s)[1:])}


def inference(method: Method, image: Image, limit_s: float) -> dict[str, Any]:
    """Probe inference: seconds and memory peak of one volume, alone on the device as when measured.

    `method` is the one for inference, and no other object may hold the training-only modules.
    """
    reset_peak(method.device)
    seconds = median(timed(lambda: method.segment(image), limit_s)[1:])
    return {"inference_s": seconds, **peak_memory_mib(method.device), **describe_device(method)}


def timed(work: Callable[[], Any], limit_s: float, most: int = 10) -> list[float]:
    """Seconds of a warm-up call of `work`, and of as many more calls as fit into the limit."""
    first = _seconds(work)
    return [first, *(_seconds(work) for _ in range(how_many(first, limit_s, most)))]


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def how_many(seconds: float, limit_s: float, most: int) -> int:
    """The number of items of so many seconds that fit into the limit, at least one."""
    return max(1, min(most, int(limit_s / max(seconds, 1e-6))))
