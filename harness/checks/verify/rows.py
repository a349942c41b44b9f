"""Checks that the rows of a run's tables are of its trials, and named as the catalogue has them.

Title, cells and options of a row of ours are known without the run. Those of a suite file, of a
plug-in and of given masks stand in run.json alone, so that they can only be held against it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from harness.checks.verify.inspection import Inspection
from harness.checks.verify.trial import Trial
from harness.errors import PfbenchError, UsageError
from harness.runs import plugins as registry
from harness.runs.plan import resolved, with_needed
from harness.runs.records import RowRecord, RunManifest, wrong_keys
from harness.runs.settings import Settings
from harness.runs.spec import GIVEN, TrialSpec, code_version
from harness.runs.suite import UNTUNED, Row, parted, untuned_row
from harness.runs.suites import OURS
from harness.systems.catalogue import SYSTEMS, system

Specs = Mapping[str, TrialSpec]
"""The specifications of the trials that can be read, by trial id."""


def check_rows(
    run: RunManifest, trials: Mapping[str, Trial], path: Path, found: Inspection
) -> None:
    """Check the tables of run.json, at `path`, against its trials and the catalogue."""
    specs = {name: trial.spec for name, trial in trials.items() if trial.spec}
    for table, rows in run.suites.items():
        for row in rows:
            _trials(row, trials, f"suites.{table}.{row.key}", path, found)
    for name in trials.keys() - run.names.keys():
        found.fault(path, f"names: trial {name} has none")
    if run.protocol.get("code") != code_version():
        found.unchecked("titles and options of rows: another version of pfbench began the run")
        return
    settings = _settings(run, path, found)
    _needed(run, specs, path, found)
    for table in OURS:
        if table in run.suite_files:
            found.fault(path, f"suite_files.{table}: is the name of a built-in suite")
    for table, rows in run.suites.items():
        if parted(table)[0] in run.suite_files and not run.given_alone:
            found.note(f"{table}: titles and cells of rows are what run.json says (own suite)")
            continue
        for row in rows:
            _row(run, settings, table, row, specs, path, found)
    _names(run, specs, path, found)


def _trials(
    row: RowRecord, trials: Mapping[str, Trial], where: str, path: Path, found: Inspection
) -> None:
    """Check that the trials of a row are of its system."""
    for name in row.trials:
        trial = trials.get(name)
        if trial is None:
            found.fault(path, f"{where}: trial {name} is not in trials")
        elif trial.spec and trial.spec.system != row.system:
            found.fault(path, f"{where}: trial {name} is of {trial.spec.system}, not {row.system}")


def _needed(run: RunManifest, specs: Specs, path: Path, found: Inspection) -> None:
    """Check that each trial of the run is shown by a row, or needed by one that is."""
    shown = {trial for rows in run.suites.values() for row in rows for trial in row.trials}
    needed = {each.id for name in shown & specs.keys() for each in with_needed(specs[name])}
    for name in sorted(specs.keys() - needed):
        found.fault(path, f"trials: no row shows {name}")


def _row(
    run: RunManifest,
    settings: Settings | None,
    table: str,
    row: RowRecord,
    specs: Specs,
    path: Path,
    found: Inspection,
) -> None:
    """Check title, cells and options of a row."""
    where = f"suites.{table}.{row.key}"
    try:
        known = catalogued(run, table, row)
    except UsageError as error:
        found.fault(path, f"{where}: {error.what}")
        return
    if known is None:
        found.fault(path, f"{where}: is no row of {table}")
        return
    for key, is_, should in (
        ("title", row.title, known.title),
        ("cells", row.cells, list(known.cells)),
        ("system", row.system, known.system),
    ):
        if is_ != should:
            found.fault(path, f"{where}: {key} is {is_!r}, where the catalogue has {should!r}")
    ours = known.system in SYSTEMS and not registry.plugin_of(known.system)
    if settings and ours and row.system == known.system and table != "tuned":
        for name in row.trials:
            if name in specs:
                _options(settings, known, specs[name], f"{where}: trial {name}", path, found)


def catalogued(run: RunManifest, table: str, row: RowRecord) -> Row | None:
    """The row as it is named without the run; None for one that its table cannot have.

    Of a system that the catalogue lacks, the name is that which the run gives the system. Raises
    UsageError for a suite or a system that neither knows.
    """
    name, where = parted(table)
    title = run.system(row.system).title
    if name == "tuned":
        _, _, settings = row.key.rpartition("/")
        return Row(row.key, f"{title}, {settings}", row.system, cells=(title, settings))
    key = row.key.removesuffix(UNTUNED) if where else row.key
    listed = {each.key: each.in_profile(run.profile) for each in run.suite(table).rows}
    if key == row.system.removeprefix(GIVEN):
        listed.setdefault(key, Row(key, title, row.system, cells=(title,)))
    if key not in listed:
        return None
    return listed[key] if key == row.key else untuned_row(listed[key])


def _settings(run: RunManifest, path: Path, found: Inspection) -> Settings | None:
    """The settings of the run; None, and a fault for each wrong key, when they are none."""
    if run.given_alone:
        return None
    try:
        return Settings.model_validate(run.settings)
    except ValidationError as error:
        for key, what in wrong_keys(error):
            found.fault(path, f"settings.{key}: {what}")
        return None


def _options(
    settings: Settings, row: Row, spec: TrialSpec, where: str, path: Path, found: Inspection
) -> None:
    """Check that a trial has the options and the protocol that the settings give the row."""
    try:
        options, protocol = resolved(row, settings, spec.data)
    except PfbenchError as error:
        found.fault(path, f"settings: give no row {row.key}: {error.what}")
        return
    for name, is_, should in (
        ("options", spec.options, options),
        ("protocol", spec.protocol.model_dump(), protocol.model_dump()),
    ):
        for key in sorted(is_.keys() | should.keys()):
            if is_.get(key) != should.get(key):
                what = f"{name}.{key} {is_.get(key)!r}, where the row has {should.get(key)!r}"
                found.fault(path, f"{where} has {what}")


def _names(run: RunManifest, specs: Specs, path: Path, found: Inspection) -> None:
    """Check the names of trials that rows of the catalogue show or need."""
    possible: dict[str, set[str]] = defaultdict(set)
    free = set()
    for table, rows in run.suites.items():
        for row in rows:
            for name in row.trials:
                if name in specs:
                    for trial, words in _named(run, row, specs[name]):
                        possible[trial].add(words)
                        if specs[name].given or parted(table)[0] in run.suite_files:
                            free.add(trial)
    for trial in sorted(possible.keys() - free):
        said = run.names.get(trial)
        if said is not None and said not in possible[trial]:
            expected = " or ".join(sorted(possible[trial]))
            found.fault(path, f"names.{trial}: is {said!r}, where its row gives {expected!r}")


def _named(run: RunManifest, row: RowRecord, spec: TrialSpec) -> Iterable[tuple[str, str]]:
    """The names that a row gives to its trial, and to those that this trial needs."""

    def named(title: str, one: TrialSpec) -> tuple[str, str]:
        fold = run.folds.get(str(one.fold))
        return one.id, f"{title} {one.in_words(fold.said(one.fold) if fold else '')}"

    yield named(row.title, spec)
    if spec.base:
        yield named(f"{row.title} as trained", spec.base)
    if first := (spec.base or spec).first_stage:
        yield named(f"{system(first.system).title} of {row.title}", first)
