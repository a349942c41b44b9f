"""The training loop: the same for every system, one volume at a time (Sec. IV-B)."""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.data.augment import augment
from harness.data.case import Volume
from harness.data.prefetch import ahead
from harness.data.targets import held
from harness.systems.memory import peak_memory_mib
from harness.systems.methods import Method, Stage
from harness.systems.overlap import dice, overlap
from harness.systems.protocol import Protocol as Settings
from models.precision import autocast

Snapshot = dict[str, Any]
"""The state from which training can go on: tensors, numbers, text, lists and dicts of these."""

EpochRow = dict[str, float]
Report = Callable[[EpochRow], None]


class StateStore(Protocol):
    """A store to which training saves its state after each epoch, and from which it loads it."""

    def save(self, epoch: int, state: Snapshot) -> None: ...

    def load(self) -> Snapshot | None: ...


class NotFinite(Exception):
    """The loss became NaN or infinite; the message names epoch, case and learning rate."""


@dataclass
class Plateau:
    """Divide the learning rate when the training loss stands still; end at a floor (Sec. IV-B)."""

    learning_rate: float
    patience: int
    divisor: float
    floor: float
    best: float = math.inf
    waited: int = 0

    def step(self, loss: float) -> None:
        improved = loss < self.best
        self.best = min(loss, self.best)
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            self.learning_rate /= self.divisor
            self.waited = 0

    @property
    def ended(self) -> bool:
        # With a tolerance: 1e-4 / 10 / 10 / 10 is not 1e-7 in floating point.
        return self.learning_rate <= self.floor * (1 + 1e-6)


@dataclass
class TrainingState:
    """The part of a checkpoint beside the network: the progress from which to continue exactly."""

    stage: int = 0
    stage_epoch: int = 0
    history: list[EpochRow] = field(default_factory=list)
    best_dice: float = -1.0
    memory: dict[str, float] = field(default_factory=dict)

    def note_memory(self, peaks: Mapping[str, float]) -> None:
        """Keep the highest value of each memory figure, also over interruptions."""
        for name, mib in peaks.items():
            self.memory[name] = max(mib, self.memory.get(name, 0.0))


@dataclass(frozen=True)
class TrainingJob:
    """The inputs of one training for any system: volumes, settings, seed and store."""

    training: Sequence[Volume]
    validation: Sequence[Volume]
    settings: Settings
    seed: int
    store: StateStore
    report: Report
    until: int | None = None
    """Pause after so many epochs in all; the store holds the state from which to go on."""
    begun: TrainingState | None = None
    """The state after stages that were trained elsewhere, whose networks the method holds."""

    def paused(self, progress: TrainingState) -> bool:
        return self.until is not None and len(progress.history) >= self.until


def train(method: Method, lesson: TrainingJob) -> TrainingState:
    """Train every stage of `method` in place; the history has one row per epoch.

    Continues from what the store holds. Volumes are read, never changed. Raises NotFinite.
    """
    saved = lesson.store.load()
    progress = TrainingState(**saved["progress"]) if saved else lesson.begun or TrainingState()
    for number, stage in enumerate(method.stages):
        if number > progress.stage:
            progress = TrainingState(number, 0, progress.history, memory=progress.memory)
            saved = None
        if number == progress.stage:
            _train_stage(method, stage, lesson, progress, saved)
        if lesson.paused(progress):
            break
    return progress


def _train_stage(
    method: Method,
    stage: Stage,
    lesson: TrainingJob,
    progress: TrainingState,
    saved: Snapshot | None,
) -> None:
    settings = lesson.settings
    plateau = Plateau(
        settings.learning_rate * stage.learning_rate_factor,
        settings.plateau_epochs,
        settings.plateau_divisor,
        settings.learning_rate_floor,
    )
    optimizer = torch.optim.Adam(stage.network.parameters(), lr=plateau.learning_rate)
    best: dict[str, Tensor] = {}
    if saved:
        method.network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        plateau = Plateau(**saved["plateau"])
        best = saved["best"]
        _restore_rng(saved["rng"])
    while _goes_on(lesson, progress, plateau):
        began = time.perf_counter()
        progress.stage_epoch += 1
        row = _epoch(stage, lesson, optimizer, plateau, progress)
        ends = progress.stage_epoch == settings.epochs or plateau.ended
        if lesson.validation and (ends or progress.stage_epoch % settings.validate_every == 0):
            row["val_dice"] = _validate(method, progress.stage, lesson.validation)
            if row["val_dice"] > progress.best_dice:
                progress.best_dice = row["val_dice"]
                if settings.selection == "validation":
                    best = {k: v.clone() for k, v in stage.network.state_dict().items()}
        row["seconds"] = time.perf_counter() - began
        progress.history.append(row)
        progress.note_memory(peak_memory_mib(method.device))
        state = _state(method, optimizer, plateau, progress, best)
        lesson.store.save(len(progress.history), state)
        lesson.report(row)
    if best and not lesson.paused(progress):
        stage.network.load_state_dict(best)


def _goes_on(lesson: TrainingJob, progress: TrainingState, plateau: Plateau) -> bool:
    ended = progress.stage_epoch >= lesson.settings.epochs or plateau.ended
    return not ended and not lesson.paused(progress)


def _epoch(
    stage: Stage,
    lesson: TrainingJob,
    optimizer: torch.optim.Optimizer,
    plateau: Plateau,
    progress: TrainingState,
) -> EpochRow:
    """Train on the volumes once; return the history row with the mean of every loss term."""
    rate = plateau.learning_rate
    for group in optimizer.param_groups:
        group["lr"] = rate
    stage.network.train()
    seed = (lesson.seed, progress.stage, progress.stage_epoch)
    batches = _batches(stage, lesson.training, lesson.settings.augment, seed)
    if stage.device.type == "cuda":  # a CPU has no core to spare
        batches = ahead(batches)
    with contextlib.closing(batches):
        means = _fit(stage, batches, optimizer)
    plateau.step(means["loss"])
    return {"epoch": len(progress.history) + 1, **means, "lr": rate}


def _batches(
    stage: Stage, volumes: Sequence[Volume], augmented: bool, seed: tuple[int, ...]
) -> Generator[tuple[str, tuple[Any, ...]]]:
    """Yield one sample of each volume in random order, in as many turns as the stage has windows.

    The generator of each sample depends on seed, stage, epoch, case and the turn only, so every
    system sees the same augmentations and a continued run sees those it would have seen.
    """
    order = np.random.default_rng(seed)
    for turn in range(stage.windows):
        for index in order.permutation(len(volumes)):
            again = (turn,) if turn else ()
            rng = np.random.default_rng((*seed, int(index) + 1, *again))
            volume = volumes[index]
            image, label = volume.image, volume.label
            if augmented:
                image, label = augment(image, label, rng)
            seen = label > 0 if stage.targets == 1 else label
            yield volume.case, stage.sample(image, seen, rng)


def _fit(
    stage: Stage,
    batches: Iterator[tuple[str, tuple[Any, ...]]],
    optimizer: torch.optim.Optimizer,
) -> EpochRow:
    """Take one optimiser step for each batch; return the mean of every loss term."""
    sums: dict[str, float] = {}
    count = 0
    for case, sample in batches:
        optimizer.zero_grad(set_to_none=True)
        with autocast(stage.device, stage.precision):
            terms = stage.losses(*(to(part, stage.device) for part in sample))
        total = terms["total"]
        if not torch.isfinite(total):
            rate = optimizer.param_groups[0]["lr"]
            raise NotFinite(f"loss={total.item()} step={count} case={case} lr={rate:g}")
        total.backward()
        optimizer.step()
        count += 1
        for name, term in terms.items():
            key = "loss" if name == "total" else f"loss_{name}"
            sums[key] = sums.get(key, 0.0) + float(term.detach())
    return {key: summed / count for key, summed in sums.items()}


def to(part: Any, device: torch.device) -> Any:
    """Move a tensor, or an object that holds tensors, to `device`; return the rest unchanged."""
    return part.to(device) if hasattr(part, "to") else part


def _validate(method: Method, number: int, volumes: Sequence[Volume]) -> float:
    """Return the mean Dice over `volumes` of stage `number`.

    Of several targets that of their mean, without those that no volume has.
    """
    if method.targets > 1:
        return _validate_each(method, number, volumes)
    scores = [
        dice(method.at(volume.case).stages[number].segment(volume.image), volume.label > 0)
        for volume in volumes
    ]
    return float(np.mean(scores))


def _validate_each(method: Method, number: int, volumes: Sequence[Volume]) -> float:
    counts = []
    for volume in volumes:
        mask = method.at(volume.case).stages[number].segment(volume.image)
        pairs = ((held(mask, k), held(volume.label, k)) for k in range(method.targets))
        counts.append([overlap(*pair) for pair in pairs])
    there = [k for k in range(method.targets) if any(each[k].target for each in counts)]
    scores = [[each[k].dice for k in there or range(method.targets)] for each in counts]
    return float(np.mean(scores))


def _state(
    method: Method,
    optimizer: torch.optim.Optimizer,
    plateau: Plateau,
    progress: TrainingState,
    best: Mapping[str, Tensor],
) -> Snapshot:
    return {
        "network": method.network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "plateau": asdict(plateau),
        "progress": asdict(progress),
        "best": dict(best),
        "rng": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }


def _restore_rng(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
