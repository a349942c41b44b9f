"""`pfbench score RUN_DIR`: masks that another tool made, as rows of a run, paired with its own.

    DIR ─ find ─► files ─ read, hold against the scan ─► labels ─ as the reference ─► mask ─► scores

One scan is in memory at a time. Nothing is written before every mask of every folder is sound.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import given_masks
from harness.data.case import Case
from harness.data.given_masks import MaskFiles
from harness.data.ingest import Job, Sight, sight
from harness.data.jobs import find_jobs
from harness.data.nifti import place
from harness.data.regions import Labels
from harness.data.request import DataRequest, complete
from harness.data.split import Split
from harness.data.target_labels import codes
from harness.data.targets import packed, unpacked
from harness.errors import DataError, UsageError, together
from harness.runs import given
from harness.runs.files import JsonObject
from harness.runs.records import RunManifest
from harness.runs.run_folder import RunFolder
from harness.runs.settings import Settings
from harness.runs.spec import Data
from harness.runs.suite import parted
from harness.runs.trial_folder import TrialFolder
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
    values: Mapping[str, Labels] = field(default_factory=dict)
    """The labels of each target in the masks, "" for the only one; {} for those of the data set."""
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
    targets: Sequence[str]
    """The names of several targets; one empty name for one."""
    rows: list[Line] = field(default_factory=list)
    masks: list[tuple[str, np.ndarray, tuple[int, ...]]] = field(default_factory=list)
    """Case, the bits of its masks (K, D, H, W), and their shape."""
    values: set[int] = field(default_factory=set)
    """The labels in the label maps so far."""
    seconds: float = 0.0

    def add(self, case: str, label: np.ndarray, truth: np.ndarray, spacing_mm: Any) -> None:
        """Score the label (D, H, W) of a case against `truth`, coded alike, and keep its masks."""
        count = len(self.targets)
        pairs = zip(unpacked(label, count), unpacked(truth, count), strict=True)
        for target, pair in zip(self.targets, pairs, strict=True):
            named = {"case": case, "target": target} if target else {"case": case}
            self.rows.append({**named, **scores_of(*pair, spacing_mm)._asdict()})
        masks = unpacked(label, count)
        self.masks.append((case, np.packbits(masks), masks.shape))

    def kept(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each case with its mask (D, H, W), as a trial keeps it."""
        for case, bits, shape in self.masks:
            masks = np.unpackbits(bits, count=math.prod(shape)).reshape(shape).astype(bool)
            yield case, masks[0] if len(masks) == 1 else packed(masks)


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
        values = values_of(request.values, data)
        split = folder.split()
        sets = gathered(request.predictions, split, _named(data).split(","), data.names)
        _score_all(replace(request, values=values), folder, run, data, sets, progress)
        trials: dict[str, list[TrialFolder]] = {name: [] for name in request.predictions}
        for each in sets:
            about = (each.seed, each.found.digest, values, data, run.protocol)
            spec = given.spec_of(each.name, *about)
            its = (facts[each.name], each.found.count, each.seconds)
            trials[each.name].append(given.write_trial(folder, spec, each.rows, each.kept(), *its))
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
    predictions: Mapping[str, Sequence[Path]],
    split: Split,
    files: Sequence[str],
    targets: Sequence[str],
) -> list[GivenSet]:
    """The masks of the test cases in each folder.

    `files` are what masks of each target may be called, `targets` as in `GivenSet`. Raises
    DataError that lists all that are missing or surplus.
    """
    elsewhere = {
        case: f"{IS[part]} in this run" for part, cases in split.parts.items() for case in cases
    }
    sets: list[GivenSet] = []
    faults: list[DataError] = []
    for name, folders in predictions.items():
        for seed, folder in enumerate(folders):
            found = given_masks.find(folder, split.test, files, elsewhere)
            faults += found.faults
            sets.append(GivenSet(name, seed, folder, found, targets))
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
        labels = [*job.targets.values()]
        if not np.array_equal(there.on_grid(there.scan.label, labels), volume.label):
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
                each.add(case, mask, volume.label, volume.spacing_mm)
            each.seconds += time.perf_counter() - began
        progress(done, len(cases), case)
    chosen = {value for labels in request.values.values() for value in labels}
    for each in sets:
        try:
            _refuse_values(each, chosen or {*jobs[cases[0]].foreground}, known | chosen)
        except DataError as fault:
            faults.append(fault)
    if faults:
        raise together(faults, "the masks")


def values_of(given: Mapping[str, Labels], data: Data) -> Mapping[str, Labels]:
    """The labels of each target in masks, in the order of the targets; {} where none were given.

    Raises UsageError for names that are not those of the targets.
    """
    if not given or given.keys() == {*data.names}:
        return {name: given[name] for name in data.names if given}
    each = ",".join(f"{name}={at}" for at, name in enumerate(data.names, 1)) if data.targets else 1
    what = f"names {', '.join(filter(None, given)) or 'no target'}, and the masks are of "
    what += ", ".join(data.names) if data.targets else "one target"
    raise UsageError(what, where="--values", remedy=f"--values {each}", code="PFB-C02")


def _named(data: Data) -> str:
    """The targets of a run as `--target` names them; labels of one were joined by commas once."""
    return data.target if data.targets else data.target.replace(",", "+")


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
        target=_named(data),
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


def _mask(each: GivenSet, case: str, there: Sight, values: Mapping[str, Labels]) -> np.ndarray:
    """The label (D, H, W) of a case on the grid of the run, brought there as its reference was."""
    masks, job = each.found.files[case], there.job
    mask = given_masks.read(masks, job.rules.unoriented)
    source = job.source
    beside = place(source.label) if isinstance(source, Case) else f"the scan of {case}"
    scan = there.scan
    given_masks.refuse_misplaced(mask, masks.paths[0], scan.label.shape, scan.affine, beside)
    if masks.parts:
        return there.on_grid(mask.array, codes(len(each.targets)))
    if job.rules.parts and not values:
        what = "a label map, and each target of the data has a file of its own"
        remedy = f"a mask of each target, {case}_TARGET.nii.gz, or --values with their labels"
        raise DataError(what, where=place(masks.paths[0]), remedy=remedy, code="PFB-V24")
    each.values |= values_in(mask.array)
    return there.on_grid(mask.array, [*(values or job.targets).values()])


def values_in(label: np.ndarray) -> set[int]:
    """The labels above 0 that are there."""
    return set(map(int, np.flatnonzero(np.bincount(label.ravel(), minlength=1)))) - {0}


def _refuse_values(each: GivenSet, labels: Collection[int], known: Collection[int]) -> None:
    """Raise DataError for labels that do not mean what those of the references mean."""
    if strange := sorted(each.values - {*known}):
        shown = ", ".join(map(str, strange))
        what = f"masks hold label {shown}, which no reference of the test cases holds"
        remedy = "--values with the labels of the target, or the labels of the data set"
        raise DataError(what, where=each.folder.name, remedy=remedy, code="PFB-V24")
    given_masks.refuse_no_target(frozenset(each.values), sorted(labels), each.folder)


def summary(folder: RunFolder, names: Sequence[str]) -> list[JsonObject]:
    """The mean line of each of the rows, for `--json`."""
    from harness.results.tables import build

    frame = build(folder).frame
    lines = frame[(frame["row"] == "mean") & frame["key"].isin(list(names))]
    found: list[JsonObject] = lines.to_dict("records")  # type: ignore[assignment]
    return found
