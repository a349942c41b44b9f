"""Probe trials before they run: each kind of trial once, on the machines that will run them.

Trials that differ in seed, fold and schedule alone are of one kind. Their probes are actions of
trials in a run folder of their own, which lies within the cache, as every machine reaches that, and
is gone afterwards. See harness.trials.probe for what is done there.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import PfbenchError
from harness.runs.events import Event
from harness.runs.manifest import open_run
from harness.runs.plan import Plan
from harness.runs.records import Failed, ProbedInference, ProbedTraining
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.spec import TrialSpec, digest
from harness.runs.trial_folder import Action
from harness.trials.execute import execute, refuse_full_disk
from harness.trials.gpu_sharing import room
from harness.trials.placement import Phase, Placement
from harness.trials.workplace import Workplace

LIMIT_S = 10.0
PREFIX = ".probe-"
SCHEDULE = {
    "epochs",
    "learning_rate",
    "plateau_epochs",
    "plateau_divisor",
    "learning_rate_floor",
    "selection",
    "validate_every",
    "windows_per_volume",
}
"""Fields of the protocol for the length and speed of training, which do not change the cost of a
step."""


LOST = Failed(status="failed", reason="lost", detail="the probe ended without a word")


@dataclass(frozen=True)
class Probe:
    """The result of probing one kind of trials."""

    training: ProbedTraining | Failed
    inference: ProbedInference | Failed | None
    """The probe of inference; None for a trial that is never measured."""


def kind_of(spec: TrialSpec) -> str:
    """The kind of a trial, equal for trials whose steps take the same time and memory."""
    content = spec.model_dump(mode="json", exclude={"seed": True, "protocol": SCHEDULE})
    content |= {"fold": 0, "split": ""}
    content["data"] |= {"fingerprint": "", "view": {}}
    if spec.test:
        content["test"] |= {"fingerprint": ""}
    return digest(content)


def kinds(specs: Mapping[str, TrialSpec], trials: Iterable[str]) -> dict[str, list[str]]:
    """The trials of each kind, in their order; `specs` holds the specification of each trial."""
    found: dict[str, list[str]] = {}
    for trial in trials:
        found.setdefault(kind_of(specs[trial]), []).append(trial)
    return found


def run_together(alike: Mapping[str, Sequence[str]], places: int) -> list[str]:
    """The trials to probe at the same time: one of each kind, then more until the places are taken.

    No probe then has more of a machine to itself than the trial will have.
    """
    first = [trials[0] for trials in alike.values()]
    others = [trial for trials in alike.values() for trial in trials[1:]]
    return first + others[: max(0, places - len(first))]


def probe(
    planned: Plan,
    trials: Sequence[str],
    cache: Path,
    placement: Placement,
    screen: Screen,
    *,
    limit_s: float = LIMIT_S,
    inference: bool = True,
) -> dict[str, Probe]:
    """Probe one trial of each kind; returns the result for each of `trials`.

    The probes run in phases as the trials will.
    """
    places = room(placement, (placement.cpus_per_trial, placement.gpus_per_trial))
    specs, asked = planned.trials, set(trials)
    groups = kinds(specs, (trial for trial in planned.order if trial in asked))
    first = {kind: alike[0] for kind, alike in groups.items()}
    shown = kinds(specs, (t for t in planned.to_measure if t in asked) if inference else ())
    alone = [first[kind] for kind in shown]
    with _folder(cache) as folder:
        open_run(folder, planned, cache, "")
        folder.write_probe_limit(limit_s)
        phases: list[tuple[Action, Phase]] = [
            ("probe_training", _unprobed(folder, "probe_training", run_together(groups, places))),
            ("probe_inference", _unprobed(folder, "probe_inference", alone)),
        ]
        _carry_out(folder, cache, phases, placement, planned, screen)
        found = {
            kind: Probe(
                folder.trial(trial).probed_training() or LOST,
                (folder.trial(trial).probed_inference() or LOST) if kind in shown else None,
            )
            for kind, trial in first.items()
        }
    return {trial: found[kind_of(specs[trial])] for trial in trials}


@contextmanager
def _folder(cache: Path) -> Iterator[RunFolder]:
    """Make a run folder for the block, and remove the folders that killed drivers left."""
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=cache, ignore_cleanup_errors=True) as place,
        RunFolder(Path(place)).lock(),
    ):
        for left in map(RunFolder, cache.glob(f"{PREFIX}*")):
            if left.lock_file.exists():
                with suppress(PfbenchError, OSError), left.lock():
                    shutil.rmtree(left.path, ignore_errors=True)
        yield RunFolder(Path(place))


def _carry_out(
    folder: RunFolder,
    cache: Path,
    phases: Sequence[tuple[Action, Phase]],
    placement: Placement,
    planned: Plan,
    screen: Screen,
) -> None:
    def tell(trial: str, event: Event) -> None:
        screen.event(trial, event)
        refuse_full_disk(event)

    names = {trial: planned.names[trial] for _, trials in phases for trial in trials()}
    with screen.trials(names):
        execute(Workplace(folder, cache, placement, tell), phases)


def _unprobed(folder: RunFolder, action: Action, trials: Sequence[str]) -> Phase:
    return lambda: [trial for trial in trials if folder.trial(trial).end(action) is None]
