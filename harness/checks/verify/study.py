"""Checks that a study's points are unchanged, and that its tables agree with the points."""

from pathlib import Path

from harness.checks.verify.inspection import Inspection, same
from harness.checks.verify.tables import DAMAGED, in_words, same_csv, same_text
from harness.checks.verify.trial import check_training, read
from harness.errors import UsageError
from harness.results import study as study_report
from harness.results.csv_text import csv_text
from harness.runs.records import POINT, POINT_END, PointEnd, PointRecord, StudyManifest
from harness.runs.run_folder import RunFolder
from harness.runs.study_folder import END_FILE, place, scores
from harness.runs.yaml_file import read_config
from tuning.search import Range


def check_study(study: StudyManifest, folder: RunFolder, found: Inspection) -> list[str]:
    """Check points, trials and derived files; returns the ids of the trials of points."""
    trials: list[str] = []
    for name in study.suites:
        paths = sorted((folder.path / "points" / name).glob("*/point.json"))
        for number, path in enumerate(paths):
            if path.parent != place(folder, name, number):
                found.fault(path, f"point {path.parent.name}, where {number:04d} is next")
            point = found.record(path, POINT)
            if point:
                trials += point.trials
                _point(study, name, point, path, found)
                _trials(study, point, folder, found)
                _end(point, path.with_name(END_FILE), folder, found)
    _derived(study, folder, found)
    return trials


def _point(
    study: StudyManifest, name: str, point: PointRecord, path: Path, found: Inspection
) -> None:
    """Check that the point belongs to its folder, and lies within the searched ranges."""
    if point.study != name:
        found.fault(path, f"study: is {point.study}, not {name}")
    if f"{point.number:04d}" != path.parent.name:
        found.fault(path, f"number: is {point.number}, not that of folder {path.parent.name}")
    if len(point.trials) != study.protocol.get("seeds"):
        what = f"trials: are {len(point.trials)}, for {study.protocol.get('seeds')} seeds"
        found.fault(path, what)
    spans = study.protocol.get("spaces", {}).get(name, {})
    if point.params.keys() != spans.keys():
        found.fault(path, f"params: are not {', '.join(spans)}")
    elif point.params != study.references.get(name):  # which may lie outside
        for key, value in point.params.items():
            span = Range(**spans[key])
            if not span.low <= value <= span.high:
                found.fault(path, f"params.{key}: {value:g} is not in {span}")


def _trials(study: StudyManifest, point: PointRecord, folder: RunFolder, found: Inspection) -> None:
    """Check that a point has one trial for each seed, trained as recorded, no test case shown."""
    for seed, name in enumerate(point.trials):
        trial = read(folder.trial(name), found)
        check_training(trial, study.protocol, found)
        if trial.spec and (trial.spec.system, trial.spec.seed) != (point.system, seed):
            what = f"is {trial.spec.system} seed {trial.spec.seed}, not {point.system} seed {seed}"
            found.fault(trial.folder.spec_file, what)
        for left in trial.folder.of_testing():
            found.fault(left, "is of testing, which a study does not do")


def _end(point: PointRecord, path: Path, folder: RunFolder, found: Inspection) -> None:
    """Check that the point's value is the score after the last epoch in the trials' histories."""
    end = found.record(path, POINT_END) if path.exists() else None
    if end is None:
        return
    if end.state == "failed":
        _failed(end, path, found)
        return
    try:
        known = scores([folder.trial(trial) for trial in point.trials])
    except DAMAGED:
        return  # the history that cannot be read is named
    value = known[max(known)] if known else None
    if value is None or end.value is None or not same(end.value, value):
        found.fault(path, f"value: is {end.value}, but the histories give {value}")


def _failed(end: PointEnd, path: Path, found: Inspection) -> None:
    if end.value is not None:
        found.fault(path, f"value: is {end.value}, of a point that failed")
    if not end.reason:
        found.fault(path, "reason: is missing")


def _derived(study: StudyManifest, folder: RunFolder, found: Inspection) -> None:
    """Check study.csv, study.md and best.yaml against versions made again in memory."""
    if study.status == "running":
        found.unchecked("tables: the study was cut off; the same command continues it")
        return
    path = folder.path / "study.csv"
    try:
        table = study_report.frame(folder)
        text = study_report.markdown(folder)
        settings = study_report.settings(folder)
    except DAMAGED as error:
        found.fault(path, f"cannot be made again from the points: {in_words(error)}")
        return
    if len(table):
        same_csv(path, csv_text(table), ("study", "number"), found)
    same_text(path.with_suffix(".md"), text, found)
    if settings:
        _settings(settings, folder.path / "best.yaml", found)


def _settings(expected: dict[str, object], path: Path, found: Inspection) -> None:
    if found.bytes_of(path) is None:
        return
    try:
        given = read_config(path)
    except UsageError:
        found.fault(path, "is no YAML of settings")
        return
    for key in sorted(expected.keys() | given.keys()):
        if given.get(key) != expected.get(key):
            found.fault(path, f"{key}: is {given.get(key)}, but the points say {expected.get(key)}")
