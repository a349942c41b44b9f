"""Open the folder of a run or study: refuse another protocol, then write down the request.

Plan ─► open_run ───► run.json, split.json, data.json, plugins/, trials/<id>/spec.json
…    ─► open_study ─► the same, its trials later
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.data.split import Split
from harness.data.wording import listed
from harness.errors import StateError, UsageError
from harness.runs import plugins, suite_file
from harness.runs.files import JsonObject
from harness.runs.nested import difference
from harness.runs.plan import Plan
from harness.runs.records import RowRecord, RunManifest, StudyManifest
from harness.runs.redact import storable
from harness.runs.run_folder import RunFolder
from harness.runs.search_space import Space
from harness.runs.spec import Data, digest

MlflowPlace = Literal["off", "here", "elsewhere"]


def open_run(
    folder: RunFolder, planned: Plan, cache: Path, command: str, mlflow: MlflowPlace = "off"
) -> RunManifest:
    """Write the parts of the run, joined with the parts that the folder held of the same protocol.

    Suites of one protocol may share a folder, and with it their trials. Raises UsageError or
    StateError for a folder of another protocol, StateError for one with a damaged record.
    """
    earlier = folder.run() if folder.begun else None
    refuse_other_protocol(folder, planned.protocol, planned.keys)
    _refuse_damaged(folder, planned)
    used = {plugin for spec in planned.trials.values() for plugin in spec.plugins}
    _write_sources(folder, planned.split, planned.keys, cache, used)
    for spec in planned.trials.values():
        folder.trial(spec.id).write_spec(spec)
    manifest = RunManifest(
        schema=3,
        kind="run",
        run_id=earlier.run_id if earlier else os.urandom(8).hex(),
        suites={**(earlier.suites if earlier else {}), **_tables(planned)},
        dataset=planned.data.name,
        profile=planned.settings.profile,
        protocol=planned.protocol,
        protocol_hash=planned.protocol_hash,
        synthetic=planned.data.synthetic,
        fingerprint=planned.data.fingerprint,
        settings=planned.settings.model_dump(mode="json"),
        notes=list(planned.notes),
        suite_files={
            **(earlier.suite_files if earlier else {}),
            **suite_file.columns(planned.suites),
        },
        plugins=plugins.merged(earlier.plugins if earlier else (), used),
        command=storable(command),
        mlflow=mlflow,
        names={**planned.names, **(earlier.names if earlier else {})},
        trials=list(dict.fromkeys([*(earlier.trials if earlier else ()), *planned.trials])),
        status="running",
    )
    folder.write(manifest)
    return manifest


def open_study(
    folder: RunFolder,
    spaces: Iterable[Space],
    data: Data,
    split: Split,
    keys: Mapping[str, str],
    protocol: Mapping[str, Any],
    cache: Path,
    command: str,
) -> StudyManifest:
    """Write the study. Raises UsageError or StateError for a folder of another study."""
    searched = tuple(spaces)
    earlier = folder.study() if folder.begun else None
    refuse_other_protocol(folder, protocol, keys)
    used = {plugin for s in searched for plugin in plugins.used_by(s.system, data.name)}
    _write_sources(folder, split, keys, cache, used)
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
        plugins=plugins.merged(earlier.plugins if earlier else (), used),
        command=storable(command),
        status="running",
    )
    folder.write(manifest)
    return manifest


def _write_sources(
    folder: RunFolder, split: Split, keys: Mapping[str, str], cache: Path, used: Iterable[str]
) -> None:
    """Write the files that the processes of trials read: split, list of volumes and plug-ins."""
    folder.write_split(split)
    folder.write_volume_keys(keys, cache)
    folder.keep(plugins.sources(sorted(used)))


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


def _tables(planned: Plan) -> dict[str, list[RowRecord]]:
    """The rows of each suite, by suite name, in the form that run.json keeps."""
    tables: dict[str, list[RowRecord]] = {}
    for planned_row in planned.rows:
        row = planned_row.row
        record = RowRecord(
            key=row.key,
            title=row.title,
            cells=list(row.cells),
            system=row.system,
            trials=[spec.id for spec in planned_row.trials],
        )
        tables.setdefault(planned_row.suite, []).append(record)
    return tables
