"""`pfbench run`: from volumes to the table, continuing what an earlier run left unfinished."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data import datasets
from harness.data.split import NO_CASES
from harness.errors import FAILED_TRIALS
from harness.experiments.session import ExperimentRequest, Session, divided, hold, recorded
from harness.experiments.stopping import Stopped
from harness.report import figures
from harness.results import tables
from harness.runs.crash_points import crash_point
from harness.runs.events import Event
from harness.runs.files import JsonObject
from harness.runs.manifest import open_run
from harness.runs.plan import Plan, plan
from harness.runs.records import ProbedTraining
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.suite import Row
from harness.runs.suites import suite
from harness.runs.trial_folder import Action
from harness.runs.tuned import refuse_other_split
from harness.systems.metrics import score
from harness.trials import gpu_sharing, probe_run
from harness.trials.execute import execute, refuse_full_disk
from harness.trials.placement import Phase, Placement
from harness.trials.preflight import refuse_unfit
from harness.trials.workplace import Workplace


@dataclass(frozen=True, kw_only=True)
class RunRequest(ExperimentRequest):
    """The options of `pfbench run`."""

    suites: Mapping[str, Sequence[Row]]
    """Suite -> the rows of the suite to run."""
    retry_failed: bool = False
    tuned: Path | None = None
    """The file of settings that a study found on the split of this run."""


def fitted(request: RunRequest) -> RunRequest:
    """The request with the grid of its volumes, decided by the headers of the training cases.

    Raises UsageError for a wrong name or a missing root.
    """
    return replace(request, data=datasets.fitted(request.data, training_of(request)))


def training_of(request: ExperimentRequest) -> Callable[[Sequence[str]], Sequence[str]]:
    """The function that returns the training cases among given ids, by the split of the request."""

    def train(ids: Sequence[str]) -> Sequence[str]:
        known = datasets.roster(request.data).only(ids)
        return divided(request.settings, known).split.train

    return train


def run(request: RunRequest, screen: Screen) -> int:
    """Run the suite; returns the exit code: 0, 4 with failed trials, 130 or 143 when stopped.

    Raises TrackingError where MLflow is required: before training when it cannot be written, at
    the end when it could not be brought up to date.
    """
    request = fitted(request)
    refuse_impossible(request)
    return hold(request, screen, lambda session: _run(request, session))


def _run(request: RunRequest, session: Session) -> int:
    """Run the suite in a folder that this process holds; returns the exit code."""
    folder, screen = session.folder, session.screen
    screen.log = folder.path / "run.log"
    refuse_unfit(request.placement, folder.path, request.cache, screen)
    planned = prepare(request, screen)
    place = request.mirroring.place(folder)
    manifest = open_run(folder, planned, request.cache, request.command, place)
    if request.retry_failed:
        for trial in planned.trials:
            folder.trial(trial).forget_failure()
    _announce(request, folder, planned, screen)
    session.begin()
    stopped = _carry_out(request, folder, planned, screen)
    result = tables.build(folder)
    tables.write(folder, result)
    drawn = figures.draw_ladder(folder)
    session.close(manifest, interrupted=stopped is not None)
    _conclude(request, folder, result, drawn, screen)
    session.end(stopped)
    failed = any(trial.state() == "failed" for trial in folder.trials())
    return FAILED_TRIALS if failed else 0


def refuse_impossible(request: RunRequest) -> None:
    """UsageError for errors that no data can mend, before a folder is made or a volume is read."""
    request.mirroring.refuse_unusable()
    plan(request.suites, request.settings, datasets.expected(request.data), NO_CASES)


def prepare(request: RunRequest, screen: Screen) -> Plan:
    """Read and preprocess the volumes (once), split them, and resolve every trial."""
    known = datasets.roster(request.data)
    if not known.faults:
        divided(request.settings, known)  # a wrong split is refused before volumes are read
    with screen.bar("preparing volumes") as advance:

        def progress(done: int, total: int, what: str) -> None:
            advance(done, total, what)
            crash_point("volume")

        prepared = datasets.prepare(
            request.data,
            request.cache,
            training=training_of(request),
            progress=progress,
            score=score,
        )
    made = divided(request.settings, known.only([*prepared.keys, *prepared.dropped]))
    made = replace(made, split=made.split.without(prepared.dropped))
    if request.tuned:
        refuse_other_split(request.tuned, made.split.digest)
    return plan(
        request.suites,
        recorded(request.settings, made),
        replace(prepared, notes=(*prepared.notes, *made.notes)),
        made.split,
        seeds=request.seeds,
        device=request.placement.device,
    )


def dry_run(request: RunRequest, screen: Screen) -> list[JsonObject]:
    """The trial matrix with the state of each trial; no training, no run folder."""
    request = fitted(request)
    refuse_impossible(request)
    planned = prepare(request, screen)
    folder = RunFolder(request.out)
    return [
        {
            "trial": spec.id,
            "name": planned.names[spec.id],
            "model": spec.system,
            "seed": spec.seed,
            "fold": spec.fold,
            "base": spec.base.id if spec.base else "",
            "state": folder.trial(spec.id).state(),
        }
        for spec in planned.trials.values()
    ]


def _announce(request: RunRequest, folder: RunFolder, planned: Plan, screen: Screen) -> None:
    done = sum(folder.trial(trial).state() in ("ok", "failed") for trial in planned.trials)
    data = planned.data
    kind = ", synthetic" if data.synthetic else ""
    cases = planned.split
    sizes = f"{len(cases.train)} train, {len(cases.validation)} validation, {len(cases.test)} test"
    for name in planned.suites:
        screen.say(f"suite       {name}: {suite(name).title}")
    screen.say(f"dataset     {data.name} ({sizes}; {', '.join(data.modalities)}{kind})")
    screen.say(f"protocol    {planned.protocol_hash}  profile {planned.settings.profile}")
    screen.say(f"trials      {len(planned.trials)}, of these already done: {done}")
    screen.say(f"output      {folder.path}")
    screen.say(f"MLflow      {request.mirroring.shown}")
    for note in planned.notes:
        screen.say(f"note        {note}")


def _carry_out(
    request: RunRequest, folder: RunFolder, planned: Plan, screen: Screen
) -> Stopped | None:
    """Train, fine-tune and measure unfinished trials; returns the interruption, if there was one.

    The first trial that finds the disk full ends it all: the others would find the same.
    """

    def unfinished(trials: Iterable[str]) -> list[str]:
        return [t for t in trials if folder.trial(t).state() in ("new", "interrupted")]

    def to_train() -> Sequence[str]:
        return unfinished(planned.to_train)

    def to_adapt() -> Sequence[str]:
        return unfinished(planned.to_adapt)

    def to_measure() -> Sequence[str]:
        trials = [folder.trial(t) for t in planned.to_measure]
        return [t.id for t in trials if t.state() == "ok" and t.measurement() is None]

    def tell(trial: str, event: Event) -> None:
        screen.event(trial, event)
        refuse_full_disk(event)

    phases: list[tuple[Action, Phase]] = [
        ("train", to_train),
        ("adapt", to_adapt),
        ("measure", to_measure),
    ]
    try:
        trials = [*to_train(), *to_adapt()]
        placement = packed(request.placement, request.cache, planned, trials, screen)
        with screen.trials(planned.names):
            execute(Workplace(folder, request.cache, placement, tell), phases)
    except Stopped as stopped:
        return stopped
    return None


def packed(
    asked: Placement, cache: Path, planned: Plan, trials: Sequence[str], screen: Screen
) -> Placement:
    """The placement; with --gpus-per-trial auto, each of `trials` is sized by a probe of it."""
    if asked.packing == "given" or not trials:
        return asked
    probes = probe_run.probe(planned, trials, cache, asked, screen, inference=False)
    found = {trial: one.training for trial, one in probes.items()}
    placement = gpu_sharing.sized(asked, found)
    for trial in trials:
        one, (_, gpus) = found[trial], placement.size_of(trial)
        if isinstance(one, ProbedTraining):
            reason = f"{one.reserved_mib or one.peak_mib:,.0f} MiB"
        else:
            reason = one.reason
        screen.say(f"packing     {planned.names[trial]}: {gpu_sharing.shown(gpus)} ({reason})")
    return placement


def _conclude(
    request: RunRequest,
    folder: RunFolder,
    result: tables.Results,
    drawn: Sequence[Path],
    screen: Screen,
) -> None:
    tables.show(result, screen)
    screen.say(f"table       {folder.path / 'table.md'} (and table.csv)")
    screen.say(f"report      {folder.path / 'report.html'}")
    for path in drawn:
        screen.say(f"plot        {path}")
    place = shlex.quote(str(folder.path))
    screen.say(f"pictures    pfbench figures {place}")
    screen.say(f"claims      pfbench claims {place}")
    if request.mirroring.wanted:
        screen.say(f"compare     pfbench ui {place}")
