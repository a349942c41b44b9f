"""`pfbench tune`: search settings on validation cases, continuing what an earlier study left.

The cases that test are not even prepared here; they are opened once, at the end, when the best
settings are compared with those they would replace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.data import volumes
from harness.data.choose_view import fitted
from harness.data.jobs import roster
from harness.data.regions import absences
from harness.data.split import NO_CASES, Split
from harness.data.wording import counted
from harness.errors import UsageError, together
from harness.experiments import run as runner
from harness.experiments.session import (
    COMPARISON,
    ExperimentRequest,
    Session,
    divided,
    hold,
    recorded,
    write_report,
)
from harness.experiments.stopping import Stopped
from harness.experiments.study_screen import StudyScreen
from harness.report import study_files
from harness.results import study as study_report
from harness.runs import study_folder as study
from harness.runs.events import Event
from harness.runs.files import JsonObject
from harness.runs.manifest import open_study
from harness.runs.plan import Fold, Plan, PlannedRow, described, trials_of
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.search_space import Space, changes, even
from harness.runs.settings import Settings
from harness.runs.spec import Data, TrialSpec, code_version
from harness.runs.suite import Row
from harness.systems.catalogue import build, system
from harness.systems.metrics import score
from harness.trials.execute import ray_with_imports, refuse_full_disk
from harness.trials.placement import Placement, cluster_faults, cluster_of, threads_of
from harness.trials.preflight import refuse_unfit
from harness.trials.task import PointTask
from harness.trials.train_point import train_point
from harness.trials.workplace import Workplace
from tuning.capacity import lanes_of
from tuning.launch import Cluster
from tuning.search import KnownPoint, Params, StudySettings
from tuning.study import run_study


@dataclass(frozen=True, kw_only=True)
class StudyRequest(ExperimentRequest):
    """The options of `pfbench tune`; `seeds` is the number of trainings of each point."""

    spaces: tuple[Space, ...]
    points: int
    sampler: Literal["optuna", "random", "grid"]
    pruner: Literal["asha", "none"]
    search_seed: int
    time_budget_s: float | None = None
    compare: bool = True


@dataclass(frozen=True)
class StudyData:
    """The volumes of a study, without those of test cases."""

    split: Split
    data: Data
    keys: dict[str, str]
    settings: Settings
    """The settings as they are recorded in the protocol."""
    notes: tuple[str, ...] = ()


def tune(request: StudyRequest, screen: Screen) -> int:
    """Search every space, write the results, compare on test cases; returns the exit code."""
    data = fitted(request.data, runner.training_of(request))
    request = replace(request, data=data)
    _refuse_impossible(request)
    code = hold(request, screen, lambda session: _tune(request, session))
    if code:
        return code
    folder = RunFolder(request.out)
    if request.compare:
        code = _conclude(request, folder, screen)
    screen.say(f"report      {folder.path / 'report.html'}")
    return code


def _tune(request: StudyRequest, session: Session) -> int:
    """Do all but the comparison, in a folder that this process holds; returns the exit code."""
    folder, screen = session.folder, session.screen
    screen.log = folder.path / "study.log"
    refuse_unfit(request.placement, folder.path, request.cache, screen)
    prepared = _prepare(request, screen)
    open_study(
        folder,
        request.spaces,
        prepared.data,
        prepared.split,
        prepared.keys,
        _protocol(request, prepared),
        request.cache,
        request.command,
        prepared.notes,
    )
    _announce(request, folder, prepared, screen)
    session.begin()
    stopped = _search_all(request, folder, prepared, screen)
    late = _out_of_time(request, folder, prepared)
    study_files.write(folder)
    session.close(folder.study(), interrupted=late or stopped is not None)
    study_report.show(folder, screen)
    if late:
        screen.say("time is up, and points are missing; the same command continues")
    session.end(stopped)
    return 0


def _refuse_impossible(request: StudyRequest) -> None:
    """UsageError for errors that no data can mend, before a folder is made or a volume is read."""
    request.mirroring.refuse_unusable()
    expected = StudyData(NO_CASES, described(volumes.expected(request.data)), {}, request.settings)
    for space in request.spaces:
        if request.placement.packing != "given" and not even(space):
            what = "auto gives every point the share of the first, and these may differ in memory"
            where, remedy = "--gpus-per-trial", "a number, such as --gpus-per-trial 0.5"
            raise UsageError(what, where=where, remedy=remedy, code="PFB-C02")
        try:
            _search_of(request, space, expected)
        except ValueError as error:
            where, remedy = f"study {space.name}", "another range"
            raise UsageError(str(error), where=where, remedy=remedy, code="PFB-C15") from error


def _prepare(request: StudyRequest, screen: Screen) -> StudyData:
    """The data of the study: cases are split by name, and no test case is read."""
    known = roster(request.data)
    if known.faults:
        raise together(known.faults, "the data")
    made = divided(request.settings, known)
    cases, settings = made.split, recorded(request.settings, made)
    seen = {*cases.train, *cases.validation}
    with screen.bar("preparing volumes") as advance:
        prepared = volumes.prepare(
            request.data,
            request.cache,
            only=seen,
            training=runner.training_of(request),
            progress=advance,
            score=score,
        )
    cases = cases.without(prepared.dropped)
    notes = (*prepared.notes, *made.notes, *absences(prepared.absent, cases.parts))
    return StudyData(cases, described(prepared), dict(prepared.keys), settings, notes)


def _protocol(request: StudyRequest, prepared: StudyData) -> JsonObject:
    """The protocol: everything that must be equal for points to compare and a study to continue."""
    return {
        "settings": prepared.settings.model_dump(mode="json"),
        "data": prepared.data.model_dump(mode="json"),
        "cases": prepared.split.digest,
        "search": {"sampler": request.sampler, "pruner": request.pruner},
        "search_seed": request.search_seed,
        "seeds": request.seeds,
        "spaces": {
            space.name: {name: vars(span) for name, span in space.ranges.items()}
            for space in request.spaces
        },
        "code": code_version(),
    }


def _announce(
    request: StudyRequest, folder: RunFolder, prepared: StudyData, screen: Screen
) -> None:
    cases = prepared.split
    kind = ", synthetic" if prepared.data.synthetic else ""
    for space in request.spaces:
        spans = ", ".join(f"{name} {span}" for name, span in space.ranges.items())
        screen.say(f"study       {space.name}: {spans}")
    screen.say(
        f"dataset     {prepared.data.name} ({len(cases.train)} train, {len(cases.validation)} "
        f"validation{kind}; {len(cases.test)} for testing are not opened)"
    )
    done = sum(point.state != "unfinished" for point in study.points(folder))
    total = request.points * len(request.spaces)
    screen.say(
        f"search      {request.sampler}, {request.pruner}; {counted(total, 'point')}, "
        f"{counted(request.seeds, 'seed')} each; already done: {done}"
    )
    screen.say(f"output      {folder.path}")
    screen.say(f"MLflow      {request.mirroring.shown}")
    for note in prepared.notes:
        screen.say(f"note        {note}")


def _search_all(
    request: StudyRequest, folder: RunFolder, prepared: StudyData, screen: Screen
) -> Stopped | None:
    """Run every study in turn on one Ray; returns the interruption, None without one."""
    cluster = cluster_of(request.placement)
    try:
        with cluster_faults():
            wanted = [s for s in request.spaces if _unfinished(request, folder, prepared, s)]
            if wanted:
                placement = _packed(request, wanted, prepared, screen)
                with ray_with_imports(cluster):
                    for space in wanted:
                        _search(request, folder, prepared, space, placement, cluster, screen)
    except Stopped as stopped:
        return stopped
    return None


def _packed(
    request: StudyRequest, spaces: Sequence[Space], prepared: StudyData, screen: Screen
) -> Placement:
    """The placement; with --gpus-per-trial auto, points get the share of their reference."""
    rows = tuple(
        PlannedRow(
            "tuned",
            _row(space, "default", space.reference),
            (_reference(request, space, prepared),),
        )
        for space in spaces
    )
    planned = Plan(request.settings, prepared.data, prepared.split, rows, prepared.keys)
    return runner.packed(request.placement, request.cache, planned, list(planned.trials), screen)


def _reference(request: StudyRequest, space: Space, prepared: StudyData) -> TrialSpec:
    """The trial with the present settings, against which every point is compared."""
    return trials_of_point(request, space, 0, space.reference, prepared)[0]


def _unfinished(
    request: StudyRequest, folder: RunFolder, prepared: StudyData, space: Space
) -> bool:
    points = study.points(folder, space.name)
    size = _search_of(request, space, prepared).size
    return len(points) < size or any(point.state == "unfinished" for point in points)


def _out_of_time(request: StudyRequest, folder: RunFolder, prepared: StudyData) -> bool:
    """Whether the time budget ended a study before its last point."""
    return request.time_budget_s is not None and any(
        _unfinished(request, folder, prepared, space) for space in request.spaces
    )


def _search(
    request: StudyRequest,
    folder: RunFolder,
    prepared: StudyData,
    space: Space,
    placement: Placement,
    cluster: Cluster,
    screen: Screen,
) -> None:
    search = _search_of(request, space, prepared)
    past = [
        KnownPoint(point.number, point.params, point.values(), point.state)
        for point in study.points(folder, space.name)
    ]
    share = _reference(request, space, prepared).id
    size = placement.size_of(share)
    lanes = _lanes(folder, space, lanes_of(size, cluster))
    if search.learns:
        at_once = f"{counted(lanes, 'point')} at the same time"
        screen.say(f"order       {space.name}: that of {at_once}, by epochs")
    workplace = Workplace(folder, request.cache, placement, lambda trial, event: None)

    def payload_of(number: int, params: Params) -> PointTask:
        specs = trials_of_point(request, space, number, params, prepared)
        for spec in specs:
            folder.trial(spec.id).write_spec(spec)
        point = study.propose(
            folder, space.name, number, space.system, params, [spec.id for spec in specs]
        )
        threads = threads_of(placement, share)
        tasks = tuple(workplace.task("train_to", trial, threads) for trial in point.trials)
        return PointTask(tasks, (*search.rungs, search.epochs))

    with StudyScreen(screen, folder, space.name, search.size, search.epochs) as display:

        def on_event(number: int, event: Event) -> None:
            if event["event"] == "end":
                refuse_full_disk(event)
                [point] = [p for p in study.points(folder, space.name) if p.number == number]
                point.end(event["state"], event["value"], event["reason"], event["detail"])
            display.event(number, event)

        run_study(
            search,
            past,
            train_point,
            payload_of,
            *size,
            cluster,
            on_event,
            lanes=lanes,
            time_budget_s=request.time_budget_s,
        )


def _lanes(folder: RunFolder, space: Space, now: int) -> int:
    """The number of points at the same time with which the search began; that of `now` if it does.

    Together with the values it decides what is proposed and stopped, so that it stays.
    """
    manifest = folder.study()
    if space.name not in manifest.lanes:
        lanes = {**manifest.lanes, space.name: now}
        manifest = manifest.model_copy(update={"lanes": lanes})
        folder.write(manifest)
    return manifest.lanes[space.name]


def _search_of(request: StudyRequest, space: Space, prepared: StudyData) -> StudySettings:
    """The settings of a search; its rungs lie on epochs that are validated anyway."""
    protocol = request.settings.protocol_of(space.system)
    stages = _stages(request, space, prepared)
    every = protocol.validate_every
    epochs = protocol.epochs * stages
    grace = max(every, epochs // 9 // every * every)
    return StudySettings(
        space.ranges,
        request.points,
        request.sampler,
        request.pruner,
        epochs=epochs,
        grace=grace,
        seed=request.search_seed,
        first=(space.reference,),
    )


def _stages(request: StudyRequest, space: Space, prepared: StudyData) -> int:
    """The number of networks that the system trains one after the other."""
    import torch

    spec = _reference(request, space, prepared)
    with torch.device("meta"):
        seen = (len(spec.data.modalities), spec.data.grid, len(spec.data.names))
        method = build(space.system, spec.options, *seen)
    return len(method.stages)


def trials_of_point(
    request: StudyRequest,
    space: Space,
    number: int,
    params: Mapping[str, float],
    prepared: StudyData,
) -> list[TrialSpec]:
    """The trials of a point, one for each seed, with `params`, not fine-tuned on test volumes."""
    row = _row(space, str(number), params)
    trials = trials_of(
        row,
        request.settings,
        (Fold(request.settings.split.fold, prepared.split, prepared.data, prepared.keys),),
        request.seeds,
        request.placement.device,
    )
    return [spec.base or spec for spec in trials]


def _row(space: Space, title: str, params: Mapping[str, float]) -> Row:
    changed = changes(params)
    name = f"{system(space.system).title}, {title}"
    cells = (system(space.system).title, title)
    return Row(
        f"{space.name}/{title}",
        name,
        space.system,
        changed["options"],
        cells=cells,
        protocol=changed["protocol"],
    )


def _conclude(request: StudyRequest, folder: RunFolder, screen: Screen) -> int:
    """Score the reference and the best of each study on the test cases; returns the exit code."""
    rows = _to_compare(request, folder)
    if not rows:
        known = any(study.best(folder, space.name) for space in request.spaces)
        why = "no point was better than the default" if known else "no point is complete"
        screen.say(f"compare     nothing to: {why}")
        return 0
    screen.say("compare     default and tuned settings, trained anew and scored on the test cases")
    out = folder.path / COMPARISON
    code = _compare(request, rows, out, screen)
    for line in study_report.differences(RunFolder(out)):
        screen.say(line)
    write_report(folder, screen)
    mirror = replace(request.mirroring, required=False).start(folder)
    late = mirror.late() if mirror else None
    if late and request.mirroring.required:
        raise late
    if late:
        screen.warn(late)
    return code


def _to_compare(request: StudyRequest, folder: RunFolder) -> list[Row]:
    """The rows to compare: two for each study that found better settings than the present ones."""
    rows: list[Row] = []
    for space in request.spaces:
        found = study.best(folder, space.name)
        if found and found.params != space.reference:
            rows += [_row(space, "default", space.reference), _row(space, "tuned", found.params)]
    return rows


def _compare(request: StudyRequest, rows: list[Row], out: Path, screen: Screen) -> int:
    """Train the rows in full, as a run of its own; returns the exit code."""
    comparison = runner.RunRequest(
        suites={"tuned": rows},
        settings=request.settings,
        data=request.data,
        seeds=request.seeds,
        placement=request.placement,
        out=out,
        cache=request.cache,
        mirroring=request.mirroring,
        command=request.command,
    )
    return runner.run(comparison, screen)
