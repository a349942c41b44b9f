"""The list of data sets, and the preparation of all cases of one of them into the cache."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from harness.data import brats, by_pattern
from harness.data.by_pattern import Layout
from harness.data.case import PAPER_GRID, Case, Contents, FaultyCase, Grid, Scan, Survey, Volume
from harness.data.divide import Roster
from harness.data.exclude import note_of, refuse_strangers
from harness.data.ingest import Job, Outcome, Score, content_key, digest, ingest, inspect
from harness.data.layout import no_folder, same_but_for_case
from harness.data.pattern import Tree
from harness.data.presets import GLIOMA, PRESETS
from harness.data.reading import PAPERS, PLAIN, Limits, Reading, View
from harness.data.target import ceiling_in_words, summary
from harness.errors import DataError, UsageError, together, unknown

if TYPE_CHECKING:
    from harness.data.scans import Rules

Progress = Callable[[int, int, str], None]
WHOLE = "harness.data.prepare:whole"


@dataclass(frozen=True)
class Dataset:
    """One data set of the list; `modalities` are taken when none are asked for.

    `targets`: name -> the labels it consists of; the first is the default. `survey(root,
    modalities)` finds the cases and reads no voxels. `prepare(scan, labels, reduce, case)` brings
    a scan to the benchmark's grid; the default shows all of it undistorted. `labels` are those
    that a mask may hold, where that is known. `contents(root)`: what the folder itself says its
    modalities and targets are. Functions may stand as "module:name". In place of `survey` and
    `contents`, `layout` says how files are called.
    """

    title: str
    modalities: tuple[str, ...]
    targets: Mapping[str, tuple[int, ...]]
    survey: str | Callable[[Path, Sequence[str]], Survey] = ""
    prepare: str | Callable[[Scan, Sequence[int], Grid, str], Volume] = WHOLE
    licence: str = "that of the volumes you bring"
    labels: frozenset[int] = frozenset()
    contents: str | Callable[[Path], Contents] = ""
    editions: bool = False
    """Whether the labels of its masks have had several meanings, see `harness.data.brats`."""
    layout: Layout | None = None
    expected: str = ""
    """Names of files in that layout, for the message that no cases were found."""
    choose: bool = False
    """Whether a person has to name a target; otherwise the first target is the default."""
    synthetic: bool = False
    plugin: str = ""
    """The id of the plug-in that defines this data set; "" for our own."""

    def contents_of(self, root: Path | None) -> Contents:
        """Return modalities, targets and labels, as far as known without reading a mask."""
        if self.contents and root is not None:
            contents: Contents = _loaded(self.contents)(root)
            return contents
        default = "" if self.choose else next(iter(self.targets), "")
        return Contents(self.modalities, self.targets, default, self.labels)


DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(
        "Synthetic heads with lesions, made in memory",
        ("flair",),
        brats.REGIONS,
        prepare="harness.data.prepare:phantom",
        licence="none needed",
        synthetic=True,
    ),
    "brats": Dataset(
        "BraTS 2012-2025, glioma MRI: a folder for each patient",
        ("t2",),
        brats.REGIONS,
        prepare="harness.data.prepare:brats",
        licence="research only, from the organisers",
        labels=frozenset(range(5)),
        editions=True,
        layout=GLIOMA,
        expected="folders such as BraTS20_Training_001 directly below",
    ),
    "liver": Dataset(
        "Liver CT in images/ + labels/, nnU-Net's or Decathlon's layout",
        ("ct",),
        {"liver": (1, 2), "tumour": (2,)},
        "harness.data.liver:survey",
        "harness.data.prepare:liver",
        labels=frozenset({0, 1, 2}),
    ),
    "folder": Dataset(
        "Any organ, in nnU-Net's raw layout or Decathlon's: dataset.json names its parts",
        (),
        {},
        "harness.data.folder:survey",
        contents="harness.data.folder:contents",
    ),
    **{
        name: Dataset(
            preset.title,
            preset.modalities,
            preset.targets,
            licence=preset.licence,
            labels=preset.labels,
            layout=preset.layout,
            expected=preset.expected,
            choose=preset.choose,
        )
        for name, preset in PRESETS.items()
    },
}


@dataclass(frozen=True)
class DataRequest:
    """A request for volumes: which data set and cases, and how their scans are seen."""

    dataset: str
    root: Path | None = None
    modalities: tuple[str, ...] = ()
    target: str = ""
    reduce: Grid = (1, 1, 1)
    """The factors per axis (D, H, W) by which block means divide the paper's grid."""
    cases: int = 12
    """The number of phantom cases; other data sets bring their own cases."""
    seed: int = 0
    """The seed of the phantom."""
    reading: Reading = PLAIN
    view: View | None = None
    """The way scans are seen, once it is chosen by `fitted`."""
    choice: str = ""
    """A sentence on the choice of `view`."""
    images: tuple[str, ...] = ()
    """Patterns of images, "MODALITY=PATTERN", in place of the patterns of the data set."""
    labels: tuple[str, ...] = ()
    """Patterns of labels, in place of the patterns of the data set."""
    edition: str = ""
    """A year of BraTS; "" for the edition that the case ids show."""
    exclude: tuple[str, ...] = ()
    """The ids of the cases to leave out."""
    scored_on: Literal["grid", "scan"] = "grid"
    """Where masks will be scored, see `harness.systems.protocol.Protocol`."""


@dataclass(frozen=True)
class Prepared:
    """Prepared volumes in the cache, whose keys are made from files, settings and code."""

    dataset: str
    title: str
    modalities: tuple[str, ...]
    target: str
    grid: Grid
    synthetic: bool
    keys: dict[str, str]
    """Case -> the key of its entry in the cache, in order of case."""
    fingerprint: str
    """A text that is equal for equal files, settings and preparing code."""
    view: View = PAPERS
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """The cases that were left out, because nothing of their target is on the grid."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Case -> a hash of its voxels as stored, equal for any file format; nothing for a phantom."""


def case_ids(request: DataRequest) -> list[str]:
    """Return the ids of all cases, in order; reads no voxels.

    Raises UsageError for a wrong name or a missing root, DataError for faults of the folder.
    """
    known = roster(request)
    if known.faults:
        raise together(known.faults, "the data")
    return list(known.cases)


def roster(request: DataRequest) -> Roster:
    """Return all cases, with their folds and the pattern of patients; reads no voxels.

    Raises UsageError for a wrong name or a missing root, DataError where names cannot be followed.
    """
    full = complete(request)
    found, layout = find_jobs(full), patterns_of(full)
    cases = tuple(job.name for job in found.jobs)
    patient = layout.patient if layout else ""
    return Roster(cases, patient, found.folds, full.exclude, found.faults)


def prepare(
    request: DataRequest,
    cache_root: Path,
    *,
    only: Collection[str] | None = None,
    training: Callable[[Sequence[str]], Collection[str]] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    score: Score | None = None,
) -> Prepared:
    """Bring every case into the cache; undamaged entries that are there are not made again.

    `only` these cases, where the others must not be opened. `training` tells which of all cases
    may decide how they are seen; default: all. `progress` gets the number done, the number of all,
    and the case just done. `score` tells how masks agree, for the ceiling that the grid has on the
    scans. Raises UsageError for a wrong name or a missing root, DataError with
    every fault of every case, one per line, StorageError when the cache cannot be written.
    """
    full = fitted(request, training, only)
    found = find_jobs(full)
    jobs = [job for job in found.jobs if only is None or job.name in only]
    examples = _examples(jobs, [job.name for job in found.jobs], training)
    given = full.view.limits if full.view else ()
    limits = given or _limits(full, examples, cache_root, workers, progress)
    view = (full.view or PAPERS).model_copy(update={"limits": limits})
    jobs = [replace(job, view=view, score=score) for job in jobs]
    outcomes: list[Outcome] = []
    for outcome in _bring_in(jobs, cache_root, workers):
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(jobs), outcome.name)
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = all_faults(found, outcomes, contents_of(full).unsure)
    if faults:
        raise together(faults, "the data")
    keys = {outcome.name: outcome.key for outcome in outcomes if not outcome.dropped}
    return replace(
        expected(full),
        keys=keys,
        fingerprint=digest(sorted(keys.items()))[:16],
        notes=tuple(all_notes(full, found, outcomes, limits)),
        view=view,
        dropped=tuple(outcome.name for outcome in outcomes if outcome.dropped),
        contents={outcome.name: outcome.content for outcome in outcomes if outcome.content},
    )


def _examples(
    jobs: Sequence[Job],
    ids: Sequence[str],
    training: Callable[[Sequence[str]], Collection[str]] | None,
) -> list[Job]:
    """Return the jobs of the training cases; of all cases where no split can be made.

    That no split can be made is reported later.
    """
    try:
        chosen = set(training(ids) if training else ids)
    except DataError:
        chosen = set(ids)
    return [job for job in jobs if job.name in chosen]


def inspected(
    request: DataRequest, workers: int = 2, score: Score | None = None
) -> tuple[list[Outcome], list[DataError], list[str]]:
    """Return the outcomes, faults and notes that `prepare` would have; stores nothing.

    Cases with faulty files are read, too, as far as that goes. `score` as in `prepare`.
    """
    request = fitted(request)
    found = find_jobs(request)
    jobs = [replace(job, score=score) for job in (*found.jobs, *found.faulty)]
    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(inspect, jobs))
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = all_faults(found, outcomes, contents_of(request).unsure)
    return outcomes, faults, all_notes(request, found, outcomes)


def all_faults(found: "Jobs", outcomes: Sequence[Outcome], editions: bool) -> list[DataError]:
    """Return the faults of the folder, of each case and between cases."""
    faults = [*found.faults, *(fault for outcome in outcomes for fault in outcome.faults)]
    good = [outcome for outcome in outcomes if not outcome.faults]
    return faults + _between_cases(good, editions)


def all_notes(
    request: DataRequest,
    found: "Jobs",
    outcomes: Sequence[Outcome],
    limits: Sequence[Limits] = (),
) -> list[str]:
    """Return notes on the folder, on each case, and on changes to intensities and targets."""
    from harness.data import intensity

    seen = {outcome.name: outcome.target for outcome in outcomes if outcome.target}
    dropped = {outcome.name for outcome in outcomes if outcome.dropped}
    kept = {case: target for case, target in seen.items() if case not in dropped}
    left_out = {case: target for case, target in seen.items() if case in dropped}
    noted = [note for outcome in outcomes for note in outcome.notes]
    told = intensity.shown(request.modalities, limits)
    clips = any(limit != "minmax" for limit in _asked_limits(request))
    stretched = {outcome.name: outcome.outlying for outcome in outcomes}
    apart = intensity.outliers(stretched, clipped=clips)
    larger = _larger(request.view, outcomes)
    best = ceiling_in_words(
        {one.name: one.ceiling for one in outcomes if one.ceiling and not one.dropped}
    )
    said = filter(None, (request.choice, larger, told, apart, best))
    return [*found.notes, *noted, *said, *summary(kept, left_out)]


def _larger(view: View | None, outcomes: Sequence[Outcome]) -> str:
    """Return a sentence on the scans that exceed the grid; "" where every scan fits."""
    if view is None or view.grid is None:
        return ""
    known = [one.spacing_mm[0] / view.voxel_mm[0] for one in outcomes if one.spacing_mm]
    above = [times for times in known if times > 1.01]
    if not above:
        return ""
    return (
        f"{len(above)} of {len(known)} cases are larger than the grid and seen in voxels up to "
        f"{max(above):.2g} times as large"
    )


def _asked_limits(request: DataRequest) -> tuple[Limits | None, ...]:
    """What is asked for each modality; None where the targets of training cases decide."""
    from harness.data import fit

    entry = DATASETS[request.dataset]
    own_way = bool(entry.plugin) and entry.prepare != WHOLE
    return fit.limits(request.reading, request.dataset, own_way, request.modalities)


def learns_intensities(request: DataRequest) -> bool:
    """Return whether the targets of training cases decide the intensities that become 0 and 1.

    `request` is complete.
    """
    return None in _asked_limits(request)


def content_fingerprint(request: DataRequest, only: Collection[str] | None = None) -> str:
    """Return a text that is equal for equal files that are read in the same way.

    Unlike `Prepared.fingerprint` it depends on no training case. `request` is complete; `only`
    these cases.
    """
    jobs = find_jobs(request).jobs
    keys = [(job.name, content_key(job)) for job in jobs if only is None or job.name in only]
    return digest(sorted(keys))[:16]


def _limits(
    request: DataRequest,
    examples: Sequence[Job],
    cache_root: Path,
    workers: int,
    progress: Progress | None,
) -> tuple[Limits, ...]:
    """Return the intensities that become 0 and 1; () for minimum and maximum of each volume."""
    from harness.data import fit

    asked = _asked_limits(request)
    if all(limit == "minmax" for limit in asked):
        return ()
    if None not in asked:
        return tuple(limit for limit in asked if limit is not None)

    def tell(done: int) -> None:
        if progress:
            progress(done, len(examples), f"intensities of {examples[done - 1].name}")

    ends = fit.foreground(examples, cache_root, workers, tell) or [None] * len(asked)
    return tuple(limit or end or "robust" for limit, end in zip(asked, ends, strict=True))


def fitted(
    request: DataRequest,
    training: Callable[[Sequence[str]], Collection[str]] | None = None,
    only: Collection[str] | None = None,
) -> DataRequest:
    """Complete the request, and choose its grid by the headers of the training cases.

    `training` and `only` as in `prepare`. A request that has been fitted stays as it is. Raises
    UsageError for a wrong name or a missing root, or a grid that the data set cannot have.
    """
    full = complete(request)
    if full.view:
        return full
    plain = replace(full, view=View(unoriented=full.reading.unoriented))
    if not _own_grid(full):
        return plain
    from harness.data import fit

    jobs = find_jobs(plain).jobs
    ids = [job.name for job in jobs]
    able = [job for job in jobs if only is None or job.name in only]
    known = fit.sizes(_examples(able, ids, training))
    if known is None:  # nothing can be read, which `prepare` tells
        return plain
    view = fit.view(full.reading, full.reduce, known)
    return replace(full, view=view, choice=fit.told(view, known, full.reading))


def _own_grid(request: DataRequest) -> bool:
    """Return whether volumes come on a grid of the data's own, not on the paper's."""
    from harness.data.fit import PAPERS_OWN

    entry, asked = DATASETS[request.dataset], request.reading
    given = asked.grid not in (None, "paper") or asked.spacing is not None
    bound = request.dataset == "phantom" or (entry.plugin and entry.prepare != WHOLE)
    if given and bound:
        what = f"{request.dataset} comes on the paper's grid"
        remedy = "leave out data.grid and data.spacing; reduce divides it"
        raise UsageError(what, where="data.grid", remedy=remedy, code="PFB-C02")
    if asked.grid == "paper" or bound:
        return False
    return given or request.dataset not in PAPERS_OWN


def expected(request: DataRequest) -> Prepared:
    """Return the result of `prepare` as far as it is known before a volume is read: without cases.

    Raises UsageError for a wrong name or a missing root.
    """
    full = complete(request)
    return Prepared(
        dataset=full.dataset,
        title=DATASETS[full.dataset].title,
        modalities=full.modalities,
        target=full.target,
        grid=(full.view and full.view.grid) or reduced_grid(full.reduce),
        synthetic=DATASETS[full.dataset].synthetic or is_synthetic(full.root),
        keys={},
        fingerprint="",
        view=full.view or View(unoriented=full.reading.unoriented),
    )


def complete(request: DataRequest) -> DataRequest:
    """Fill in the defaults of the request; UsageError for a name that does not exist."""
    if request.dataset not in DATASETS:
        raise unknown("dataset", request.dataset, DATASETS)
    if request.dataset != "phantom":
        _refuse_no_folder(request)
    _refuse_idle(request)
    contents = contents_of(request)
    modalities = tuple(map(contents.modality, request.modalities)) or contents.modalities
    target = contents.target(request.target or contents.default)
    _labels(contents, target)
    if len(set(modalities)) < len(modalities):
        what, remedy = f"named twice in {','.join(modalities)}", "name each once"
        raise UsageError(what, where="--modalities", remedy=remedy, code="PFB-C02")
    if request.dataset == "liver" and len(modalities) > 1:
        what, remedy = "liver has one modality", "--modalities ct"
        raise UsageError(what, where="--modalities", remedy=remedy, code="PFB-C02")
    if request.dataset == "phantom":
        _refuse_unknown_phantom(modalities)
    reduced_grid(request.reduce)
    return replace(request, modalities=modalities, target=target)


def patterns_of(request: DataRequest) -> Layout | None:
    """Return the patterns of a request or its data set; None where files are found by a survey.

    Raises UsageError for what is no pattern.
    """
    own = DATASETS[request.dataset].layout
    if request.images or request.labels:
        return by_pattern.given(request.images, request.labels, own.patient if own else "")
    return own


def contents_of(request: DataRequest) -> Contents:
    """Return the contents of the requested data set, by its names. DataError for unclear names."""
    entry, layout = DATASETS[request.dataset], patterns_of(request)
    if layout is None or request.root is None:
        return entry.contents_of(request.root)
    files = by_pattern.find(layout, Tree(request.root))
    if not entry.editions:
        return by_pattern.contents(files, layout, entry.contents_of(request.root))
    found = brats.contents(files, request.edition)
    return by_pattern.contents(files, layout, found) if request.images else found


def _refuse_idle(request: DataRequest) -> None:
    """Raise UsageError for an option that this data set has no use for."""
    made_up = request.dataset == "phantom"
    idle = {
        "--edition": bool(request.edition) and not DATASETS[request.dataset].editions,
        "--image": bool(request.images) and made_up,
        "--label": bool(request.labels) and made_up,
    }
    for option, without_use in idle.items():
        if without_use:
            what = f"{request.dataset} has no use for it"
            remedy = "--dataset folder --data-root DIR" if made_up else "leave it out"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C02")


def _refuse_no_folder(request: DataRequest) -> None:
    if request.root is None:
        remedy = f"--dataset {request.dataset} --data-root DIR"
        what = f"{request.dataset} needs a folder"
        raise UsageError(what, where="--data-root", remedy=remedy, code="PFB-C02")
    if not request.root.is_dir():
        raise no_folder(request.root)


def _labels(contents: Contents, target: str) -> tuple[int, ...]:
    """Return the labels of one target, or several joined by commas; UsageError for unknown ones."""
    if not target:
        what = f"this folder has several: {', '.join(contents.targets)}"
        remedy = f"--target {next(iter(contents.targets))}, or several joined by commas"
        raise UsageError(what, where="--target", remedy=remedy, code="PFB-C02")
    found: set[int] = set()
    for name in target.split(","):
        labels = contents.labels_of(name)
        if labels is None:
            raise unknown("target", name, contents.targets)
        found |= set(labels)
    return tuple(sorted(found))


def rules(request: DataRequest) -> "Rules":
    """Return the rules for the masks of a complete request."""
    from harness.data.scans import Rules

    contents = contents_of(request)
    return Rules(
        request.dataset,
        request.target,
        contents.labels,
        editions=contents.unsure,
        cavity=contents.cavity,
        unoriented=request.reading.unoriented,
    )


def seen_as(dataset: str) -> str:
    """Return the data set whose way to see a scan this one shares, for `scan_view.view_of`.

    Raises UsageError for a plug-in's own, of which the way back to the scan is not known.
    """
    entry = DATASETS[dataset]
    if entry.prepare == WHOLE:
        return "folder"
    if not entry.plugin:
        return dataset
    what = f"{dataset} prepares volumes in its own way; the way back to a scan is not known"
    raise UsageError(what, where="--dataset", remedy="leave out its `prepare`", code="PFB-C42")


def way(dataset: str, grid: Grid, view: View) -> tuple[str, Grid, View]:
    """Return how volumes of `grid` see the scans of `dataset`, for `harness.data.scan_view`.

    Raises UsageError as `seen_as` does.
    """
    from harness.data.scan_view import reduction

    return "" if view.grid else seen_as(dataset), reduction(grid, view), view


def _loaded(path: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that "module:name" names; return a function unchanged."""
    return resolve_name(path) if isinstance(path, str) else path


def reduced_grid(reduce: Grid) -> Grid:
    """Divide the paper's 128 x 192 x 192 by `reduce`; UsageError when that leaves a rest."""
    if any(by < 1 or side % by for side, by in zip(PAPER_GRID, reduce, strict=True)):
        sides = "x".join(map(str, PAPER_GRID))
        what, remedy = f"{list(reduce)} does not divide {sides}", "--set reduce=[4, 3, 3]"
        raise UsageError(what, where="reduce", remedy=remedy, code="PFB-C02")
    d, h, w = (side // by for side, by in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


def is_synthetic(root: Path | None) -> bool:
    """Return whether `root` was written by `pfbench data make-phantom`."""
    from harness.data.phantom import MARKER

    return root is not None and (root / MARKER).is_file()


def survey(request: DataRequest) -> Survey:
    """Find the cases in the folder of a complete request for real data; reads no voxels."""
    entry, layout = DATASETS[request.dataset], patterns_of(request)
    assert request.root is not None  # complete() refuses it
    if layout is None:
        found: Survey = _loaded(entry.survey)(request.root, request.modalities)
    else:
        targets = request.target.split(",") if layout.has_masks else ()
        expected = entry.expected or "files that the patterns fit"
        found = by_pattern.survey(request.root, layout, request.modalities, targets, expected)
    if request.exclude:
        ids = {case.id for case in found.cases} | {one.id for one in found.remains}
        refuse_strangers(request.exclude, ids)
        found = found.without(request.exclude)
        found = replace(found, notes=(*found.notes, note_of(request.exclude)))
    return replace(found, faults=(*found.faults, *same_but_for_case(found)))


@dataclass(frozen=True)
class Jobs:
    """The jobs to prepare, and the faults and notes of the folder."""

    jobs: tuple[Job, ...]
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    faulty: tuple[Job, ...] = ()
    """Jobs of the cases whose files have faults: these are read, but not used."""
    folds: Mapping[str, int] = field(default_factory=dict)


def find_jobs(request: DataRequest) -> Jobs:
    """Make one job for each case; `request` is complete."""
    entry = DATASETS[request.dataset]
    view = request.view or View(unoriented=request.reading.unoriented)
    allowed, recipe = rules(request), _loaded(entry.prepare)
    blocks, grid = request.reduce, view.grid or reduced_grid(request.reduce)
    if view.grid:
        way = _loaded("harness.data.prepare:fitted")
        recipe, blocks = partial(way, grid=view.grid, voxel_mm=view.voxel_mm), view.blocks
    labels = _labels(contents_of(request), request.target)
    seen = (request.modalities, labels, blocks, grid)
    back = _way_back(request, view)

    def job(name: str, source: Case | FaultyCase | int) -> Job:
        return Job(
            name,
            source,
            allowed,
            recipe,
            *seen,
            request.seed,
            "" if view.grid else entry.plugin,
            view,
            drop_vanished=request.reading.drop_vanished,
            seen_as=back,
            by_blocks=back == "liver" and request.scored_on == "scan",
        )

    if request.root is None or request.dataset == "phantom":
        names = [f"phantom_{number:03d}" for number in range(1, request.cases + 1)]
        refuse_strangers(request.exclude, names)
        made = (job(name, i) for i, name in enumerate(names) if name not in request.exclude)
        return Jobs(tuple(made), notes=(note_of(request.exclude),) if request.exclude else ())
    surveyed = survey(request)
    jobs = tuple(job(case.id, case) for case in surveyed.cases)
    faulty = tuple(job(case.id, case) for case in surveyed.remains)
    return Jobs(jobs, surveyed.faults, surveyed.notes, faulty, surveyed.folds)


def _way_back(request: DataRequest, view: View) -> str | None:
    """Return the way to see a scan; None for a phantom, which has none, and a plug-in's own way.

    Raises UsageError for a plug-in's own way where masks have to be scored on the scan.
    """
    if request.root is None or request.dataset == "phantom":
        return None
    if view.grid:
        return ""
    own_way = DATASETS[request.dataset].plugin and DATASETS[request.dataset].prepare != WHOLE
    return None if own_way and request.scored_on == "grid" else seen_as(request.dataset)


def _bring_in(jobs: Sequence[Job], cache_root: Path, workers: int) -> Iterator[Outcome]:
    """Yield the outcome of each case as soon as the case is done.

    Threads: unpacking and arithmetic run outside the interpreter lock, so processes gain nothing.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = [pool.submit(ingest, job, cache_root) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _between_cases(good: Sequence[Outcome], editions: bool) -> list[DataError]:
    """Return the faults between cases: equal images, labels of different editions."""
    from harness.data.scans import mixed_editions

    faults = mixed_editions({outcome.name: outcome.labels for outcome in good}) if editions else []
    return faults + _same_images({one.name: one.content for one in good if one.content})


def _same_images(contents: dict[str, str]) -> list[DataError]:
    """Return a fault for each group of cases with the same image: it could train and test."""
    alike = defaultdict(list)
    for name, content in sorted(contents.items()):
        alike[content].append(name)
    return [
        DataError(
            f"the same image in {' and '.join(names)}: it could train and test",
            where=names[0],
            remedy="keep one of them",
            code="PFB-D08",
        )
        for names in alike.values()
        if len(names) > 1
    ]


def _refuse_unknown_phantom(modalities: Sequence[str]) -> None:
    from harness.data.phantom import MODALITIES

    for modality in modalities:
        if modality not in MODALITIES:
            raise unknown("modality", modality, MODALITIES)
