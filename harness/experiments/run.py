"""`pfbench run`: from volumes to the table, continuing whatever an earlier run left."""

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.data import datasets
from harness.data.split import NO_CASES, split
from harness.errors import FAILED_TRIALS, StateError, UsageError
from harness.experiments.stopping import Stopped, carry_on
from harness.report import figures as pictures
from harness.results import tables as table
from harness.runs import plugins as registry
from harness.runs import suite_file
from harness.runs.crash_points import crash_point
from harness.runs.nested import difference
from harness.runs.plan import Plan, plan
from harness.runs.redact import redact, storable
from harness.runs.run_folder import Action, RunFolder, read_json, write_json
from harness.runs.screen import Screen
from harness.runs.settings import Settings
from harness.runs.suites import Row, suite
from harness.tracking import mirror as tracking
from harness.trials import gpu_sharing as packing
from harness.trials import probe_run as probing
from harness.trials.execute import Phase, Placement, execute, refuse_full_disk
from harness.trials.preflight import refuse_unfit


@dataclass(frozen=True)
class Request:
    """What `pfbench run` was asked for."""

    tables: Mapping[str, Sequence[Row]]
    """Suite -> the rows of it to run."""
    settings: Settings
    data: datasets.Request
    seeds: int
    placement: Placement
    out: Path
    cache: Path
    tracking_uri: str
    experiment: str
    mlflow: bool
    mlflow_required: bool
    retry_failed: bool
    command: str


def fitted(request: Request) -> Request:
    """The request with the grid of its volumes, which the training cases decide by their headers.

    Raises UsageError for a wrong name or a missing root.
    """
    return replace(request, data=datasets.fitted(request.data, training_of(request.settings)))


def training_of(settings: Settings) -> Callable[[Sequence[str]], Sequence[str]]:
    """Which of all cases train."""
    chosen = settings.split

    def train(ids: Sequence[str]) -> Sequence[str]:
        return split(ids, kind=chosen.kind, seed=chosen.seed, fold=chosen.fold).train

    return train


def run(request: Request, screen: Screen) -> int:
    """Run the suite; returns the exit code: 0, 4 with failed trials, 130 or 143 when stopped.

    Raises TrackingError where MLflow is required: before training when it cannot be written, at
    the end when it could not be brought up to date.
    """
    request = fitted(request)
    refuse_impossible(request)
    folder = RunFolder(request.out)
    folder.create()
    with folder.lock():
        return carry_on(lambda: _run(request, folder, screen), request.command, screen)


def _run(request: Request, folder: RunFolder, screen: Screen) -> int:
    """All of it, in a folder that is ours."""
    screen.log = folder.path / "run.log"
    refuse_unfit(request.placement, folder.path, request.cache, screen)
    planned = prepare(request, screen)
    content = _open(folder, request, planned)
    _announce(request, folder, planned, screen)
    if request.mlflow_required:
        tracking.mirror(folder.path, request.tracking_uri, request.experiment)
    mirror = _mirror(request, folder)
    stopped = _carry_out(request, folder, planned, screen)
    result = table.build(folder)
    table.write(folder, result)
    drawn = pictures.draw_ladder(folder)
    folder.write(content | {"status": "interrupted" if stopped else "finished"})
    write_report(folder, screen)
    late = mirror.late() if mirror else None
    if late:
        screen.warn(late)
    _conclude(request, folder, result, drawn, screen)
    if stopped:
        raise stopped
    if late and request.mlflow_required:
        raise late
    failed = any(trial.state() == "failed" for trial in folder.trials())
    return FAILED_TRIALS if failed else 0


def refuse_impossible(request: Request) -> None:
    """UsageError for what no data can mend, before a folder is made or a volume is read."""
    if request.mlflow:
        tracking.checked(request.tracking_uri)
    plan(request.tables, request.settings, datasets.expected(request.data), NO_CASES)


def prepare(request: Request, screen: Screen) -> Plan:
    """Read and preprocess the volumes (once), split them, and resolve every trial."""
    chosen = request.settings.split
    cut = partial(split, kind=chosen.kind, seed=chosen.seed, fold=chosen.fold)
    with screen.bar("preparing volumes") as advance:

        def progress(done: int, total: int, what: str) -> None:
            advance(done, total, what)
            crash_point("volume")

        prepared = datasets.prepare(
            request.data, request.cache, training=training_of(request.settings), progress=progress
        )
    cases = cut([*prepared.keys, *prepared.dropped]).without(prepared.dropped)
    return plan(
        request.tables,
        request.settings,
        prepared,
        cases,
        seeds=request.seeds,
        device=request.placement.device,
    )


def dry_run(request: Request, screen: Screen) -> list[dict[str, Any]]:
    """The trial matrix and what is already done; trains nothing, writes no run folder."""
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


def _open(folder: RunFolder, request: Request, planned: Plan) -> dict[str, Any]:
    """Write down what the run consists of, refusing a folder that holds another protocol.

    Suites of one protocol may share a folder, and with it their trials.
    """
    earlier = folder.read() if (folder.path / "run.json").exists() else {}
    refuse_other_protocol(folder, earlier, planned.protocol, planned.keys)
    _refuse_damaged(folder, planned)
    write_json(folder.path / "split.json", planned.split.to_json())
    write_json(
        folder.path / "data.json",
        {"keys": planned.keys, "cache": cache_place(request.cache, folder)},
    )
    used = sorted({plugin for spec in planned.trials.values() for plugin in spec.plugins})
    registry.keep(folder.path, used)
    for spec in planned.trials.values():
        folder.trial(spec.id).write_spec(spec)
    suites = {**earlier.get("suites", {}), **_tables(planned)}
    content = {
        "kind": "run",
        "run_id": earlier.get("run_id") or os.urandom(8).hex(),
        "suites": suites,
        "dataset": planned.data.name,
        "profile": planned.settings.profile,
        "protocol": planned.protocol,
        "protocol_hash": planned.protocol_hash,
        "synthetic": planned.data.synthetic,
        "fingerprint": planned.data.fingerprint,
        "settings": planned.settings.model_dump(mode="json"),
        "notes": list(planned.notes),
        "suite_files": {**earlier.get("suite_files", {}), **suite_file.record(planned.suites)},
        "plugins": registry.merged(earlier.get("plugins", []), used),
        "command": storable(request.command),
        "mlflow": _mlflow_place(request, folder),
        "names": {**planned.names, **earlier.get("names", {})},
        "trials": list(dict.fromkeys([*earlier.get("trials", []), *planned.trials])),
        "status": "running",
    }
    folder.write(content)
    if request.retry_failed:
        for trial_id in planned.trials:
            folder.trial(trial_id).forget_failure()
    return content


def _refuse_damaged(folder: RunFolder, planned: Plan) -> None:
    """StateError for a record that cannot be read, before anything is written."""
    for trial in map(folder.trial, planned.trials):
        trial.result()
        trial.measurement()


def refuse_other_protocol(
    folder: RunFolder,
    earlier: Mapping[str, Any],
    protocol: dict[str, Any],
    keys: Mapping[str, str],
) -> None:
    """Refuse a folder that holds results of another protocol; says what differs.

    UsageError where the options do, StateError where the code or the volumes do. `keys`: case ->
    its entry in the cache.
    """
    if not earlier or earlier["protocol"] == protocol:
        return
    before, where = earlier["protocol"], str(folder.path)
    what = f"holds run {earlier['protocol_hash']} (it differs in {difference(before, protocol)})"
    if before.get("code") != protocol["code"]:
        remedy = "another --out, or the version of pfbench that began this run"
        raise StateError(what, where=where, remedy=remedy, code="PFB-K11")
    if _but_for_content(before) == _but_for_content(protocol):
        changed = _changed_cases(read_json(folder.path / "data.json")["keys"], keys)
        what = f"the data are not those it began with: {changed}"
        remedy = "another --out, or the data as they were"
        raise StateError(what, where=where, remedy=remedy, code="PFB-D10")
    remedy = "another --out, or the options of that run"
    raise UsageError(what, where=where, remedy=remedy, code="PFB-C05")


def _but_for_content(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol without what the volumes themselves decide."""
    same = {key: value for key, value in protocol.items() if key not in ("data", "cases")}
    return same | {"data": {**protocol["data"], "fingerprint": ""}}


def _changed_cases(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """ "a, b changed; c added": the first few of each."""
    groups = {
        "changed": sorted(case for case in before.keys() & now if before[case] != now[case]),
        "removed": sorted(before.keys() - now),
        "added": sorted(now.keys() - before),
    }
    told = [
        f"{', '.join(cases[:3])}{f' and {len(cases) - 3} more' * (len(cases) > 3)} {what}"
        for what, cases in groups.items()
        if cases
    ]
    return "; ".join(told)


def _mlflow_place(request: Request, folder: RunFolder) -> Literal["off", "here", "elsewhere"]:
    """Where the mirror is; its URI may hold a password and is not written down."""
    if not request.mlflow:
        return "off"
    return "here" if request.tracking_uri == tracking.default_uri(folder.path) else "elsewhere"


def cache_place(cache: Path, folder: RunFolder) -> str:
    """Where the prepared volumes are: beside the trials the folder can be moved with them."""
    cache = cache.absolute()
    inside = cache.is_relative_to(folder.path)
    return str(cache.relative_to(folder.path) if inside else cache)


def _tables(planned: Plan) -> dict[str, list[dict[str, Any]]]:
    """Suite -> its rows, as run.json keeps them."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for planned_row in planned.rows:
        row = planned_row.row
        tables.setdefault(planned_row.suite, []).append(
            {
                "key": row.key,
                "title": row.title,
                "cells": list(row.cells),
                "system": row.system,
                "trials": [spec.id for spec in planned_row.trials],
            }
        )
    return tables


def _announce(request: Request, folder: RunFolder, planned: Plan, screen: Screen) -> None:
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
    uri = redact(request.tracking_uri) if request.mlflow else "off"
    screen.say(f"MLflow      {uri}")
    for note in planned.notes:
        screen.say(f"note        {note}")


def _mirror(request: Request, folder: RunFolder) -> "tracking.Mirror | None":
    if not request.mlflow:
        return None
    return tracking.start(folder.path, request.tracking_uri, request.experiment)


def _carry_out(
    request: Request, folder: RunFolder, planned: Plan, screen: Screen
) -> Stopped | None:
    """Train what is not finished, fine-tune, then measure; returns what stopped it, if anything.

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

    def tell(trial: str, event: dict[str, Any]) -> None:
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
            execute(folder, request.cache, phases, placement, tell)
    except Stopped as stopped:
        return stopped
    return None


def packed(
    asked: Placement, cache: Path, planned: Plan, trials: Sequence[str], screen: Screen
) -> Placement:
    """The placement; with --gpus-per-trial auto, each of `trials` is probed and sized by that."""
    if asked.packing == "given" or not trials:
        return asked
    probes = probing.probe(planned, trials, cache, asked, screen, inference=False)
    found = {trial: one.training for trial, one in probes.items()}
    placement = packing.sized(asked, found)
    for trial in trials:
        peak = found[trial].get("reserved_mib")
        reason = f"{peak:,.0f} MiB" if peak else found[trial]["reason"]
        _, gpus = placement.size_of(trial)
        screen.say(f"packing     {planned.names[trial]}: {packing.shown(gpus)} ({reason})")
    return placement


def write_report(folder: RunFolder, screen: Screen) -> None:
    """report.html of a run or study; with pictures where they are a matter of seconds.

    What cannot be reported does not take the results with it: it is said, and they stay.
    """
    from harness.report import write  # loads torch, which a refusal should not wait for
    from harness.report.case_pictures import quick

    place = write.default_place([folder], "html")
    is_run = folder.read()["kind"] == "run"
    try:
        write.write([folder], place, pictures=is_run and quick([folder]))
    except StateError as error:
        screen.say(f"warning: no report: {error}")


def _conclude(
    request: Request,
    folder: RunFolder,
    result: table.Results,
    drawn: Sequence[Path],
    screen: Screen,
) -> None:
    table.show(result, screen)
    screen.say(f"table       {folder.path / 'table.md'} (and table.csv)")
    screen.say(f"report      {folder.path / 'report.html'}")
    for path in drawn:
        screen.say(f"plot        {path}")
    place = shlex.quote(str(folder.path))
    screen.say(f"pictures    pfbench figures {place}")
    screen.say(f"claims      pfbench claims {place}")
    if request.mlflow:
        screen.say(f"compare     pfbench ui {place}")
