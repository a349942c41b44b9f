"""`pfbench run`: from volumes to the table, continuing what an earlier run left unfinished."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data import choose_view, volumes
from harness.data.jobs import roster
from harness.data.request import DataRequest
from harness.data.split import NO_CASES
from harness.data.volumes import Prepared
from harness.data.wording import counted
from harness.errors import INCOMPLETE, together
from harness.experiments.elsewhere import OtherRequest, elsewhere, request_of
from harness.experiments.folds import FoldChoice, crossed, divisions, settings_of
from harness.experiments.session import ExperimentRequest, Session, divided, hold, recorded
from harness.experiments.stopping import Stopped
from harness.report import figures
from harness.results import tables
from harness.runs.crash_points import crash_point
from harness.runs.events import Event
from harness.runs.files import JsonObject
from harness.runs.manifest import open_run, replaced
from harness.runs.plan import Elsewhere, Fold, Plan, described, plan
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
    folds: FoldChoice | None = None
    """The folds of a cross-validation; None for a single split."""
    tests: tuple[OtherRequest, ...] = ()
    """The data sets of other origins, on which the trained networks are scored."""


def fitted(request: RunRequest) -> RunRequest:
    """The request with the grid of its volumes, decided by the headers of the training cases.

    In a cross-validation each case trains in some fold. Raises UsageError for a wrong name or a
    missing root, or folds that there cannot be.
    """
    if request.folds:
        settings = settings_of(request.settings, request.folds)
        return replace(request, settings=settings, data=choose_view.fitted(request.data))
    return replace(request, data=choose_view.fitted(request.data, training_of(request)))


def training_of(request: ExperimentRequest) -> Callable[[Sequence[str]], Sequence[str]]:
    """The function that returns the training cases among given ids, by the split of the request."""

    def train(ids: Sequence[str]) -> Sequence[str]:
        known = roster(request.data).only(ids)
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
    before = folder.run().suites if folder.begun else {}
    manifest = open_run(folder, planned, request.cache, request.command, place)
    for note in replaced(folder, before, manifest.suites):
        screen.say(f"note        {note}")
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
    failed = any(folder.trial(trial).state() == "failed" for trial in planned.trials)
    return INCOMPLETE if failed else 0


def refuse_impossible(request: RunRequest) -> None:
    """UsageError for errors that no data can mend, before a folder is made or a volume is read."""
    request.mirroring.refuse_unusable()
    for other in request.tests:
        request_of(other, request.data)
    plan(request.suites, request.settings, volumes.expected(request.data), NO_CASES)


def prepare(request: RunRequest, screen: Screen) -> Plan:
    """Read and preprocess the volumes (once), split them, and resolve every trial."""
    return (_prepare_folds if request.folds else _prepare_split)(request, screen)


def _prepare_split(request: RunRequest, screen: Screen) -> Plan:
    """The plan for a single split."""
    known = roster(request.data)
    if not known.faults:
        divided(request.settings, known)  # a wrong split is refused before volumes are read
    prepared = _volumes(request, request.data, training_of(request), "volumes", screen)
    made = divided(request.settings, known.only([*prepared.keys, *prepared.dropped]))
    made = replace(made, split=made.split.without(prepared.dropped))
    if request.tuned:
        refuse_other_split(request.tuned, made.split.digest)
    settings = recorded(request.settings, made)
    fold = Fold(settings.split.fold, made.split, described(prepared), prepared.keys)
    return plan(
        request.suites,
        settings,
        replace(prepared, notes=(*prepared.notes, *made.notes)),
        made.split,
        seeds=request.seeds,
        device=request.placement.device,
        elsewhere=_elsewhere(request, prepared, [fold], screen),
    )


def _prepare_folds(request: RunRequest, screen: Screen) -> Plan:
    """The plan of a cross-validation."""
    assert request.folds
    known = roster(request.data)
    if known.faults:
        raise together(known.faults, "the data")
    made = divisions(request.settings, request.folds, known)
    if request.tuned:
        for each in made:
            refuse_other_split(request.tuned, each.division.split.digest)

    def prepare_for(train: Sequence[str], what: str) -> Prepared:
        return _volumes(request, request.data, lambda ids: train, what, screen)

    validation, first, notes = crossed(request.data, request.folds, made, prepare_for)
    return plan(
        request.suites,
        recorded(request.settings, made[0].division),
        replace(first, notes=tuple(notes)),
        validation.folds[0].split,
        seeds=request.seeds,
        device=request.placement.device,
        crossed=validation,
        elsewhere=_elsewhere(request, first, validation.folds, screen),
    )


def _elsewhere(
    request: RunRequest, prepared: Prepared, folds: Sequence[Fold], screen: Screen
) -> list[Elsewhere]:
    """The data sets of other origins; `prepared` are the volumes that train."""

    def prepare_other(asked: DataRequest, what: str) -> Prepared:
        return _volumes(request, asked, None, what, screen)

    contents, group = prepared.contents, request.settings.split.group
    return [
        elsewhere(other, request.data, contents, folds, group, prepare_other)
        for other in request.tests
    ]


def _volumes(
    request: RunRequest,
    asked: DataRequest,
    training: Callable[[Sequence[str]], Sequence[str]] | None,
    what: str,
    screen: Screen,
) -> Prepared:
    """Prepare volumes with a progress bar."""
    with screen.bar(f"preparing {what}") as advance:

        def progress(done: int, total: int, name: str) -> None:
            advance(done, total, name)
            crash_point("volume")

        return volumes.prepare(
            asked, request.cache, training=training, progress=progress, score=score
        )


def dry_run(request: RunRequest, screen: Screen) -> list[JsonObject]:
    """The trial matrix with the state of each trial; no training, no run folder.

    The screen shows what a run says before it trains: the parts of the split, and all notes.
    """
    request = fitted(request)
    refuse_impossible(request)
    planned = prepare(request, screen)
    folder = RunFolder(request.out)
    _announce(request, folder, planned, screen)
    return [
        {
            "trial": spec.id,
            "name": planned.names[spec.id],
            "model": spec.system,
            "seed": spec.seed,
            "fold": spec.fold,
            "test": spec.test.name if spec.test else "",
            "base": spec.base.id if spec.base else "",
            "state": folder.trial(spec.id).state(),
        }
        for spec in planned.trials.values()
    ]


def _announce(request: RunRequest, folder: RunFolder, planned: Plan, screen: Screen) -> None:
    done = sum(folder.trial(trial).state() in ("ok", "failed") for trial in planned.trials)
    data = planned.data
    kind = ", synthetic" if data.synthetic else ""
    for name in planned.suites:
        screen.say(f"suite       {name}: {suite(name).title}")
    for fold in planned.folds:
        sizes = ", ".join(f"{len(cases)} {part}" for part, cases in fold.split.parts.items())
        if planned.crossed:
            name = f", {fold.name}" if fold.name else ""
            screen.say(f"fold {fold.number:<6} {sizes}{name}")
    if planned.crossed:
        sizes = f"{len(planned.folds)} of {planned.crossed.count} folds"
    screen.say(f"dataset     {data.name} ({sizes}; {', '.join(data.modalities)}{kind})")
    for other in planned.elsewhere:
        screen.say(f"test        {other.name}: {counted(len(other.cases), 'case')}")
    screen.say(f"protocol    {planned.protocol_hash}  profile {planned.settings.profile}")
    screen.say(f"trials      {len(planned.trials)}, of these already done: {done}")
    screen.say(f"output      {folder.path}")
    screen.say(f"MLflow      {request.mirroring.shown}")
    for note in (*planned.notes, *(note for other in planned.elsewhere for note in other.notes)):
        screen.say(f"note        {note}")


def _carry_out(
    request: RunRequest, folder: RunFolder, planned: Plan, screen: Screen
) -> Stopped | None:
    """Train and measure unfinished trials; returns the interruption, if there was one.

    The first trial that finds the disk full ends it all: the others would find the same.
    """

    def unfinished(trials: Iterable[str]) -> list[str]:
        return [t for t in trials if folder.trial(t).state() in ("new", "interrupted")]

    def to_train() -> Sequence[str]:
        return unfinished(planned.order)

    def to_measure() -> Sequence[str]:
        trials = [folder.trial(t) for t in planned.to_measure]
        return [t.id for t in trials if t.state() == "ok" and t.measurement() is None]

    def tell(trial: str, event: Event) -> None:
        screen.event(trial, event)
        refuse_full_disk(event)

    phases: list[tuple[Action, Phase]] = [("train", to_train), ("measure", to_measure)]
    try:
        placement = packed(request.placement, request.cache, planned, to_train(), screen)
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
