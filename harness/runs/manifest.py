"""Open the folder of a run or study: refuse another protocol, then write down the request.

Plan ─► open_run ───► run.json, split.json, data.json, plugins/, trials/<id>/spec.json
…    ─► open_study ─► the same, its trials later
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import harness
from harness.data.split import Split
from harness.data.wording import listed
from harness.errors import StateError, UsageError
from harness.runs import plugins, suite_file
from harness.runs.files import JsonObject
from harness.runs.nested import difference
from harness.runs.plan import Plan
from harness.runs.records import (
    FoldRecord,
    MadeBy,
    OtherRecord,
    RowRecord,
    RunManifest,
    StudyManifest,
)
from harness.runs.redact import storable
from harness.runs.run_folder import RunFolder
from harness.runs.search_space import Space
from harness.runs.spec import Data, digest
from harness.runs.suites import place

MlflowPlace = Literal["off", "here", "elsewhere"]


def open_run(
    folder: RunFolder, planned: Plan, cache: Path, command: str, mlflow: MlflowPlace = "off"
) -> RunManifest:
    """Write the parts of the run, joined with the parts that the folder held of the same protocol.

    Suites, rows and seeds of one protocol may share a folder: what it holds stays in its tables.
    Raises UsageError or StateError for a folder of another protocol, StateError for one with a
    damaged record.
    """
    earlier = folder.run() if folder.begun else None
    refuse_other_protocol(folder, planned.protocol, planned.keys)
    refuse_other_tests(folder, planned)
    _refuse_damaged(folder, planned)
    used = {plugin for spec in planned.trials.values() for plugin in spec.plugins}
    folder.write_volume_keys(planned.keys, cache, _sets(folder, planned, earlier))
    if planned.crossed:
        now = {fold.number: fold.split for fold in planned.folds}
        known = set(map(int, earlier.folds)) if earlier else set()
        lost = not folder.split_file.exists() and known <= now.keys()  # all of it is made anew
        before = folder.splits() if earlier and not lost else {}
        folder.write_folds(dict(sorted({**before, **now}.items())))
    else:
        folder.write_split(planned.split)
    folder.keep(plugins.sources(sorted(used)))
    for spec in planned.trials.values():
        folder.trial(spec.id).write_spec(spec)
    suites = joined(folder, earlier.suites if earlier else {}, _tables(planned, command))
    manifest = RunManifest(
        schema=3,
        kind="run",
        run_id=earlier.run_id if earlier else os.urandom(8).hex(),
        suites=suites,
        dataset=planned.data.name,
        profile=planned.settings.profile,
        protocol=planned.protocol,
        protocol_hash=planned.protocol_hash,
        synthetic=planned.data.synthetic,
        fingerprint=planned.protocol["data"]["fingerprint"],
        settings=planned.settings.model_dump(mode="json"),
        notes=list(planned.notes),
        suite_files={
            **(earlier.suite_files if earlier else {}),
            **suite_file.columns(planned.suites),
        },
        plugins=plugins.merged(earlier.plugins if earlier else (), used),
        given=earlier.given if earlier else {},
        command=storable(command),
        mlflow=mlflow,
        names={**planned.names, **(earlier.names if earlier else {})},
        trials=in_use(folder, [*(earlier.trials if earlier else ()), *planned.trials], suites),
        status="running",
        folds={**(earlier.folds if earlier else {}), **_folds(planned)},
        tests={**(earlier.tests if earlier else {}), **_tests(planned)},
    )
    folder.write(manifest)
    return manifest


def _folds(planned: Plan) -> dict[str, FoldRecord]:
    """The folds of a cross-validation, by number, in the form that run.json keeps."""
    if planned.crossed is None:
        return {}
    return {
        str(fold.number): FoldRecord(name=fold.name, data=fold.data.model_dump(mode="json"))
        for fold in planned.folds
    }


def _tests(planned: Plan) -> dict[str, OtherRecord]:
    """The data sets of other origins, by name, in the form that run.json keeps."""
    return {
        other.name: OtherRecord(
            cases=list(other.cases),
            synthetic=other.synthetic,
            content=other.content,
            patients=dict(other.patients),
            notes=list(other.notes),
        )
        for other in planned.elsewhere
    }


def _sets(
    folder: RunFolder, planned: Plan, earlier: RunManifest | None
) -> dict[str, dict[str, str]]:
    """The volumes beside those of the (first) split, by fingerprint, with those of before."""
    known = folder.volume_keys().sets if earlier and folder.volume_keys_file.exists() else {}
    apart = {fold.data.fingerprint: dict(fold.keys) for fold in planned.folds}
    further = apart if len(apart) > 1 or known.keys() & apart.keys() else {}
    others = {
        fingerprint: dict(keys)
        for other in planned.elsewhere
        for fingerprint, keys in other.volumes.items()
    }
    return {**known, **further, **others}


def refuse_other_tests(folder: RunFolder, planned: Plan) -> None:
    """Refuse a data set of another origin under a name that means other volumes in the folder.

    Raises UsageError that names it.
    """
    known = folder.run().tests if folder.begun else {}
    for other in planned.elsewhere:
        before = known.get(other.name)
        if before and before.content != other.content:
            what = f"{other.name} are other volumes than in {folder.path}"
            remedy = "another name, or another --out"
            raise UsageError(what, where="--test", remedy=remedy, code="PFB-C55")


def open_study(
    folder: RunFolder,
    spaces: Iterable[Space],
    data: Data,
    split: Split,
    keys: Mapping[str, str],
    protocol: Mapping[str, Any],
    cache: Path,
    command: str,
    notes: Sequence[str] = (),
) -> StudyManifest:
    """Write the study. Raises UsageError or StateError for a folder of another study."""
    searched = tuple(spaces)
    earlier = folder.study() if folder.begun else None
    refuse_other_protocol(folder, protocol, keys)
    used = {plugin for s in searched for plugin in plugins.used_by(s.system, data.name)}
    folder.write_split(split)
    folder.write_volume_keys(keys, cache)
    folder.keep(plugins.sources(sorted(used)))
    manifest = StudyManifest(
        schema=3,
        kind="study",
        run_id=earlier.run_id if earlier else os.urandom(8).hex(),
        suites=[space.name for space in searched],
        dataset=data.name,
        profile=protocol["settings"]["profile"],
        protocol=dict(protocol),
        protocol_hash=digest(protocol),
        synthetic=data.synthetic,
        references={space.name: space.reference for space in searched},
        lanes=earlier.lanes if earlier else {},
        notes=list(notes),
        plugins=plugins.merged(earlier.plugins if earlier else (), used),
        command=storable(command),
        status="running",
    )
    folder.write(manifest)
    return manifest


def _refuse_damaged(folder: RunFolder, planned: Plan) -> None:
    """Raise StateError for a record that cannot be read, before anything is written."""
    for trial in map(folder.trial, planned.trials):
        trial.result()
        trial.measurement()


def refuse_other_protocol(
    folder: RunFolder, protocol: Mapping[str, Any], keys: Mapping[str, str]
) -> None:
    """Refuse a folder that holds results of another protocol; the error names the difference.

    Raises UsageError where the options differ, StateError where the code or the volumes do.
    `keys`: case -> its entry in the cache.
    """
    if not folder.begun:
        return
    earlier = folder.manifest()
    before, where = earlier.protocol, str(folder.path)
    if before == protocol:
        return
    what = f"holds run {earlier.protocol_hash} (it differs in {difference(before, protocol)})"
    if before.get("code") != protocol["code"]:
        remedy = "another --out, or the version of pfbench that began this run"
        raise StateError(what, where=where, remedy=remedy, code="PFB-K11")
    if _but_for_content(before) == _but_for_content(protocol):
        changed = _changed_cases(folder.volume_keys().keys, keys)
        what = f"the data are not those it began with: {changed}"
        remedy = "another --out, or the data as they were"
        raise StateError(what, where=where, remedy=remedy, code="PFB-D10")
    remedy = "another --out, or the options of that run"
    raise UsageError(what, where=where, remedy=remedy, code="PFB-C05")


def _but_for_content(protocol: Mapping[str, Any]) -> JsonObject:
    """The protocol without the entries that the content of the volumes decides."""
    same = {key: value for key, value in protocol.items() if key not in ("data", "cases")}
    return same | {"data": {**protocol["data"], "fingerprint": ""}}


def _changed_cases(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The cases that differ, as "a, b changed; c added", with the first few of each kind."""
    groups = {
        "changed": sorted(case for case in before.keys() & now if before[case] != now[case]),
        "removed": sorted(before.keys() - now),
        "added": sorted(now.keys() - before),
    }
    return "; ".join(f"{listed(cases, 3)} {what}" for what, cases in groups.items() if cases)


def _tables(planned: Plan, command: str) -> dict[str, list[RowRecord]]:
    """The rows of each suite, by suite name, in the form that run.json keeps."""
    tables: dict[str, list[RowRecord]] = {}
    made_by = MadeBy(command=storable(command), version=harness.__version__)
    for planned_row in planned.rows:
        row = planned_row.row
        record = RowRecord(
            key=row.key,
            title=row.title,
            cells=list(row.cells),
            system=row.system,
            trials=[spec.id for spec in planned_row.trials],
            made_by=[made_by],
        )
        tables.setdefault(planned_row.suite, []).append(record)
    return tables


OF_FOLD: JsonObject = {"seed": 0, "fold": 0, "split": "", "data": {}, "test": None}
"""What may differ between the trials of one row: in a fold the training cases decide the view."""
Tables = Mapping[str, Sequence[RowRecord]]
"""Suite -> the rows of its table."""


def joined(folder: RunFolder, before: Tables, now: Tables) -> dict[str, list[RowRecord]]:
    """The rows that a folder held and those that a command adds, in the order of the suites.

    A row of both keeps the seeds that only it had before, where their trials differ from those of
    now in nothing else; otherwise that of now takes its place, as `replaced` tells.
    """
    tables = {}
    for name in dict.fromkeys([*before, *now]):
        found = {row.key: row for row in before.get(name, ())}
        for row in now.get(name, ()):
            there = found.get(row.key)
            found[row.key] = _joined(folder, there, row) if there else row
        tables[name] = [found[key] for key in sorted(found, key=partial(place, name))]
    return tables


def replaced(folder: RunFolder, before: Tables, now: Tables) -> list[str]:
    """A sentence for each row that makes room for another one of its name."""
    held = {(name, row.key): row for name, rows in before.items() for row in rows}
    return [
        f"{name}: the row '{row.key}' takes the place of an earlier one, whose options or plug-in "
        "were others; the trials of that one stay on disk"
        for name, rows in now.items()
        for row in rows
        if (name, row.key) in held and not _alike(folder, held[name, row.key], row)
    ]


def in_use(folder: RunFolder, trials: Sequence[str], tables: Tables) -> list[str]:
    """The trials that rows show or fine-tune, each once, in their order."""
    shown = {trial for rows in tables.values() for row in rows for trial in row.trials}
    bases = {spec.base.id for spec in (folder.trial(t).spec() for t in shown) if spec.base}
    return [trial for trial in dict.fromkeys(trials) if trial in shown | bases]


def _joined(folder: RunFolder, before: RowRecord, now: RowRecord) -> RowRecord:
    if not _alike(folder, before, now):
        return now
    networks = {}
    for trial in (*before.trials, *now.trials):
        spec = folder.trial(trial).spec()
        networks[spec.seed, spec.fold] = trial
    made_by = [*before.made_by, *(each for each in now.made_by if each not in before.made_by)]
    trials = [networks[network] for network in sorted(networks)]
    return now.model_copy(update={"trials": trials, "made_by": made_by})


def _alike(folder: RunFolder, before: RowRecord, now: RowRecord) -> bool:
    """Whether the trials of two rows differ in seed and fold alone, or one has the other's."""
    if set(before.trials) <= set(now.trials) or set(now.trials) <= set(before.trials):
        return True
    specs = (folder.trial(trial).spec() for trial in (*before.trials, *now.trials))
    first, *others = ({**spec.model_dump(), **OF_FOLD} for spec in specs)
    return all(other == first for other in others)
