"""`pfbench score RUN_DIR`: masks that another tool made, as rows of a run, paired with its own.

    DIR ─ find ─► files ─ read, hold against the scan ─► labels ─ as the reference ─► mask ─► scores

One scan is in memory at a time. Nothing is written before every mask of every folder is sound.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import given_masks
from harness.data.case import Case
from harness.data.given_masks import MaskFiles
from harness.data.ingest import Job, Sight, sight
from harness.data.jobs import find_jobs
from harness.data.nifti import place
from harness.data.request import DataRequest, complete
from harness.data.split import Split
from harness.errors import DataError, UsageError, together
from harness.runs import given
from harness.runs.files import JsonObject
from harness.runs.records import RunManifest
from harness.runs.run_folder import RunFolder
from harness.runs.settings import Settings
from harness.runs.spec import Data
from harness.runs.suite import parted
from harness.systems.evaluate import Line
from harness.systems.metrics import score as scores_of

Progress = Callable[[int, int, str], None]
IS = {"train": "trains", "validation": "validates", "test": "is tested"}


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """The options of `pfbench score RUN_DIR`."""

    run: Path
    predictions: Mapping[str, Sequence[Path]]
    """Name -> its folders of masks; several are trainings of one tool, seeds 0, 1 and so on."""
    facts: Path | None = None
    values: tuple[int, ...] = ()
    """The labels that the target has in the masks; () for those that it has in the data set."""
    suites: tuple[str, ...] = ()
    """The tables that get the rows; () for Table V, or the first that the run has."""
    root: Path | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `DataRequest` on the files of the scans."""
    cache: Path | None = None
    command: str = ""


@dataclass
class GivenSet:
    """The masks in one folder, and what was found in them so far."""

    name: str
    seed: int
    folder: Path
    found: MaskFiles
    rows: list[Line] = field(default_factory=list)
    masks: list[tuple[str, np.ndarray, tuple[int, ...]]] = field(default_factory=list)
    """Case, the bits of its mask on the grid, and the shape of the grid."""
    values: set[int] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def several(self) -> bool:
        """Whether each target has a mask of its own."""
        return any(len(paths) > 1 for paths in self.found.files.values())

    def add(self, case: str, mask: np.ndarray, truth: np.ndarray, spacing_mm: Any) -> None:
        """Score the mask (D, H, W) of a case against `truth`, and keep both."""
        self.rows.append({"case": case, **scores_of(mask, truth, spacing_mm)._asdict()})
        self.masks.append((case, np.packbits(mask), mask.shape))

    def unpacked(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each case with its mask (D, H, W)."""
        for case, bits, shape in self.masks:
            count = int(np.prod(shape))
            yield case, np.unpackbits(bits, count=count).reshape(shape).astype(bool)


def score(request: ScoreRequest, progress: Progress = lambda done, total, what: None) -> list[str]:
    """Score the masks and write them into the run; returns the notes on what was added.

    `progress` gets the number of cases done, of all, and the case just done. Raises DataError that
    lists every missing, surplus, misplaced or unreadable mask; UsageError for names and options
    that do not fit the run; StateError for what is no run; ClusterError while a driver works on it.
    """
    folder = RunFolder(request.run)
    run = folder.run()
    with folder.lock():
        tables = _tables(request, run)
        for name in request.predictions:
            given.refuse_taken(name, run, tables)
        facts = given.read_facts(request.facts, request.predictions)
        data = Data.model_validate(run.protocol["data"])
        refuse_several(data, str(request.run))
        split = folder.split()
        sets = gathered(request.predictions, split, re.split("[,+]", data.target))
        _score_all(request, folder, run, data, sets, progress)
        trials: dict[str, list[Any]] = {name: [] for name in request.predictions}
        for each in sets:
            files = sum(map(len, each.found.files.values()))
            about = (each.seed, each.found.digest, request.values, data, run.protocol)
            spec = given.spec_of(each.name, *about)
            its = (facts[each.name], files, each.seconds)
            masks = each.unpacked()
            trials[each.name].append(given.write_trial(folder, spec, each.rows, masks, *its))
        given.add_rows(folder, run, tables, trials, facts, request.command)
    return [f"{name}: row of {', '.join(tables)}" for name in trials]


def _tables(request: ScoreRequest, run: RunManifest) -> Sequence[str]:
    """The tables that get the rows. Raises UsageError for one that they cannot stand in."""
    refuse_unfit(run)
    for name in request.suites:
        if name not in run.suites:
            what, known = f"this run has {', '.join(run.suites)}, not {name}", ", ".join(run.suites)
            raise UsageError(what, where="--suite", remedy=f"one of {known}", code="PFB-C01")
        if parted(name)[1]:
            what = "is of data of another origin, whose masks are scored by --truth only"
            raise UsageError(what, where=f"--suite {name}", remedy="a table of the run's own data")
    own = [name for name in ("table5", *run.suites) if name in run.suites and not parted(name)[1]]
    return request.suites or own[:1]


def refuse_unfit(run: RunManifest) -> None:
    """Raise UsageError for a run to whose test cases masks cannot be added."""
    why = ""
    if run.folds:
        why = "is a cross-validation, whose folds test different cases"
    elif run.settings["protocol"].get("scored_on", "grid") == "scan":
        why = "scores its masks on the voxels of the scans"
    elif run.given_alone:
        why = "holds given masks alone"
    if why:
        remedy = "pfbench score --truth DIR, which compares sets of masks by themselves"
        raise UsageError(why, where="this run", remedy=remedy, code="PFB-C02")


def gathered(
    predictions: Mapping[str, Sequence[Path]], split: Split, targets: Sequence[str]
) -> list[GivenSet]:
    """The masks of the test cases in each folder.

    Raises DataError that lists all that are missing or surplus.
    """
    elsewhere = {
        case: f"{IS[part]} in this run" for part, cases in split.parts.items() for case in cases
    }
    sets: list[GivenSet] = []
    faults: list[DataError] = []
    for name, folders in predictions.items():
        for seed, folder in enumerate(folders):
            found = given_masks.find(folder, split.test, targets, elsewhere)
            faults += found.faults
            sets.append(GivenSet(name, seed, folder, found))
    if faults:
        raise together(faults, "the masks")
    return sets


def _score_all(
    request: ScoreRequest,
    folder: RunFolder,
    run: RunManifest,
    data: Data,
    sets: Sequence[GivenSet],
    progress: Progress,
) -> None:
    """Score every mask of every set. Raises DataError that lists every fault of every mask."""
    cases = folder.split().test
    jobs = jobs_of(run, data, cases, request.root, request.files)
    faults: list[DataError] = []
    known: set[int] = set()
    for done, case in enumerate(cases, 1):
        job = jobs[case]
        there = sight(job)
        known |= values_in(there.scan.label)
        volume = folder.volume(case, request.cache)
        truth = volume.label > 0
        if not np.array_equal(there.on_grid(there.scan.label, job.foreground), truth):
            what = "has another reference than the one that the run scored"
            remedy = "--data-root with the data as they were"
            raise DataError(what, where=case, remedy=remedy, code="PFB-D10")
        for each in sets:
            began = time.perf_counter()
            try:
                mask = _mask(each, case, there, request.values)
            except DataError as fault:
                faults.append(fault)
            else:
                each.add(case, mask, truth, volume.spacing_mm)
            each.seconds += time.perf_counter() - began
        progress(done, len(cases), case)
    for each in sets:
        try:
            _refuse_values(each, request.values or jobs[cases[0]].foreground, known, request.values)
        except DataError as fault:
            faults.append(fault)
    if faults:
        raise together(faults, "the masks")


def refuse_several(data: Data, run: str) -> None:
    """Raise UsageError for a run of several targets, of which other tools' masks say too little."""
    if data.targets:
        what = f"learns {data.target} at once; masks of other tools are scored for one target"
        remedy = f"a run with --target {next(iter(data.labels))}"
        raise UsageError(what, where=run, remedy=remedy, code="PFB-C02")


def jobs_of(
    run: RunManifest,
    data: Data,
    cases: Sequence[str],
    root: Path | None,
    files: Mapping[str, Any],
) -> dict[str, Job]:
    """How the scan of each case is read, as the run has read it.

    `root` and `files` say where the scans are. Raises UsageError without a folder that is needed,
    DataError for cases that are not there.
    """
    settings = Settings.model_validate(run.settings)
    asked = DataRequest(
        dataset=data.name,
        root=root,
        modalities=data.modalities,
        target=data.target.replace(",", "+"),  # labels of one target, which commas joined before
        reduce=settings.reduce,
        cases=settings.phantom.cases,
        seed=settings.phantom.seed,
        reading=settings.data,
        view=data.view,
        **files,
    )
    found = find_jobs(complete(asked))
    jobs = {job.name: job for job in found.jobs}
    if lost := [case for case in cases if case not in jobs]:
        of_them = [fault for fault in found.faults if fault.where.partition(":")[0] in lost]
        what = f"{', '.join(lost[:3])}: no such case in the folder of the scans"
        remedy = "--data-root with the data of this run"
        fault = DataError(what, where=str(root or data.name), remedy=remedy, code="PFB-D10")
        raise together(of_them or [fault], "the data")
    return jobs


def _mask(each: GivenSet, case: str, there: Sight, values: Sequence[int]) -> np.ndarray:
    """The mask (D, H, W) of a case on the grid of the run, brought there as its reference was."""
    paths, job = each.found.files[case], there.job
    mask = given_masks.read(paths, job.rules.unoriented)
    source = job.source
    beside = place(source.label) if isinstance(source, Case) else f"the scan of {case}"
    scan = there.scan
    given_masks.refuse_misplaced(mask, paths[0], scan.label.shape, scan.affine, beside)
    each.values |= values_in(mask.array)
    labels = (1,) if each.several else (values or job.foreground)
    return there.on_grid(mask.array, labels)


def values_in(label: np.ndarray) -> set[int]:
    """The labels above 0 that are there."""
    return set(map(int, np.flatnonzero(np.bincount(label.ravel(), minlength=1)))) - {0}


def _refuse_values(
    each: GivenSet, labels: Sequence[int], known: set[int], chosen: Sequence[int]
) -> None:
    """Raise DataError for labels that do not mean what those of the references mean."""
    if each.several:
        return
    if strange := sorted(each.values - known - set(chosen)):
        shown = ", ".join(map(str, strange))
        what = f"masks hold label {shown}, which no reference of the test cases holds"
        remedy = "--values with the labels of the target, or the labels of the data set"
        raise DataError(what, where=each.folder.name, remedy=remedy, code="PFB-V24")
    given_masks.refuse_no_target(frozenset(each.values), labels, each.folder)


def summary(folder: RunFolder, names: Sequence[str]) -> list[JsonObject]:
    """The mean line of each of the rows, for `--json`."""
    from harness.results.tables import build

    frame = build(folder).frame
    lines = frame[(frame["row"] == "mean") & frame["key"].isin(list(names))]
    found: list[JsonObject] = lines.to_dict("records")  # type: ignore[assignment]
    return found
