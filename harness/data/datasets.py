"""The data sets there are, and how all cases of one come into the cache."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from harness.data.case import Case, Contents, Grid, Scan, Survey, Volume
from harness.data.grid import PAPER_GRID
from harness.data.ingest import Job, Outcome, digest, take_in
from harness.data.layout import no_folder
from harness.errors import DataError, UsageError, together, unknown

if TYPE_CHECKING:
    from harness.data.scans import Rules

Progress = Callable[[int, int, str], None]
WHOLE = "harness.data.prepare:whole"


@dataclass(frozen=True)
class Dataset:
    """One entry of the list; `modalities` are taken when none are asked for.

    `targets`: name -> the labels it consists of; the first is the default. `survey(root,
    modalities)` finds the cases and reads no voxels. `prepare(scan, labels, reduce, case)` brings
    a scan to the benchmark's grid; the default shows all of it undistorted. `labels` are those
    that a mask may hold, where that is known. `contents(root)`: what the folder itself says its
    modalities and targets are. Functions may stand as "module:name".
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
    """Label 3 of its masks has had two meanings."""
    synthetic: bool = False
    plugin: str = ""
    """The id of the plug-in that it comes from."""

    def contents_of(self, root: Path | None) -> Contents:
        """Modalities, targets and labels, as far as they are known without reading a mask."""
        if self.contents and root is not None:
            contents: Contents = _loaded(self.contents)(root)
            return contents
        return Contents(self.modalities, self.targets, next(iter(self.targets), ""), self.labels)


REGIONS = {
    "wt": (1, 2, 3, 4),  # whole tumour; 3 was part of the core until 2016, and the rim since 2023
    "tc": (1, 4),
    "et": (4,),
}
DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(
        "Synthetic heads with lesions, made in memory", ("flair",), REGIONS,
        prepare="harness.data.prepare:phantom", licence="none needed", synthetic=True,
    ),
    "brats": Dataset(
        "BraTS 2012-2021, glioma MRI: a folder for each patient", ("t2",), REGIONS,
        "harness.data.brats:survey", "harness.data.prepare:brats",
        "research only, from the organisers", frozenset({0, 1, 2, 3, 4}), editions=True,
    ),
    "liver": Dataset(
        "Liver CT in images/ + labels/, nnU-Net's or Decathlon's layout", ("ct",),
        {"liver": (1,)}, "harness.data.liver:survey", "harness.data.prepare:liver",
        labels=frozenset({0, 1, 2}),  # 2: tumours, in most public sets
    ),
    "folder": Dataset(
        "Any organ, in nnU-Net's raw layout or Decathlon's: dataset.json names its parts", (), {},
        "harness.data.folder:survey", contents="harness.data.folder:contents",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """Which volumes, and how they are to be seen."""

    dataset: str
    root: Path | None = None
    modalities: tuple[str, ...] = ()
    target: str = ""
    reduce: Grid = (1, 1, 1)
    """Block mean per axis (D, H, W) from the paper's grid."""
    cases: int = 12
    """Of the phantom; other data sets have the cases they have."""
    seed: int = 0
    """Of the phantom."""


@dataclass(frozen=True)
class Prepared:
    """Volumes in the cache, named by what they were made from."""

    dataset: str
    title: str
    modalities: tuple[str, ...]
    target: str
    grid: Grid
    synthetic: bool
    keys: dict[str, str]
    """Case -> its entry in the cache, in order of case."""
    fingerprint: str
    """Equal for equal files, settings and preparing code."""
    notes: tuple[str, ...] = ()


def case_ids(request: Request) -> list[str]:
    """Every case there is, in order; reads no voxels.

    Raises UsageError for a wrong name or a missing root, DataError for faults of the folder.
    """
    found = _find(complete(request))
    if found.faults:
        raise together(found.faults, "the data")
    return [job.name for job in found.jobs]


def prepare(
    request: Request,
    cache_root: Path,
    *,
    only: Collection[str] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Prepared:
    """Bring every case into the cache; what is there and whole is not made again.

    `only` these cases, where the others must not be opened. `progress` gets the number done, the
    number of all, and the case just done. Raises UsageError for a wrong name or a missing root,
    DataError with every fault of every case, one per line, StorageError when the cache cannot be
    written.
    """
    full = complete(request)
    found = _find(full)
    jobs = [job for job in found.jobs if only is None or job.name in only]
    outcomes: list[Outcome] = []
    for outcome in _bring_in(jobs, cache_root, workers):
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(jobs), outcome.name)
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = [*found.faults, *(fault for outcome in outcomes for fault in outcome.faults)]
    faults += _between_cases(outcomes, DATASETS[full.dataset].editions)
    if faults:
        raise together(faults, "the data")
    keys = {outcome.name: outcome.key for outcome in outcomes}
    noted = (note for outcome in outcomes for note in outcome.notes)
    fingerprint = digest(sorted(keys.items()))[:16]
    return replace(expected(full), keys=keys, fingerprint=fingerprint, notes=(*found.notes, *noted))


def expected(request: Request) -> Prepared:
    """What `prepare` will give, as far as it is known before a volume is read: not its cases.

    Raises UsageError for a wrong name or a missing root.
    """
    full = complete(request)
    return Prepared(
        dataset=full.dataset,
        title=DATASETS[full.dataset].title,
        modalities=full.modalities,
        target=full.target,
        grid=reduced_grid(full.reduce),
        synthetic=DATASETS[full.dataset].synthetic or is_synthetic(full.root),
        keys={},
        fingerprint="",
    )


def complete(request: Request) -> Request:
    """The request with its defaults filled in; UsageError for what does not exist."""
    if request.dataset not in DATASETS:
        raise unknown("dataset", request.dataset, DATASETS)
    if request.dataset != "phantom":
        _refuse_no_folder(request)
    contents = DATASETS[request.dataset].contents_of(request.root)
    modalities = tuple(map(contents.modality, request.modalities)) or contents.modalities
    target = request.target or contents.default
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


def _refuse_no_folder(request: Request) -> None:
    if request.root is None:
        remedy = f"--dataset {request.dataset} --data-root DIR"
        what = f"{request.dataset} needs a folder"
        raise UsageError(what, where="--data-root", remedy=remedy, code="PFB-C02")
    if not request.root.is_dir():
        raise no_folder(request.root)


def _labels(contents: Contents, target: str) -> tuple[int, ...]:
    """The labels of a target, or of several joined by commas; UsageError for what there is not."""
    if not target:
        what = f"this folder has several: {', '.join(contents.targets)}"
        remedy = f"--target {next(iter(contents.targets))}, or several joined by commas"
        raise UsageError(what, where="--target", remedy=remedy, code="PFB-C02")
    found: set[int] = set()
    for name in target.split(","):
        if name not in contents.targets:
            raise unknown("target", name, contents.targets)
        found |= set(contents.targets[name])
    return tuple(sorted(found))


def rules(request: Request) -> "Rules":
    """What the masks of a complete request may hold."""
    from harness.data.scans import Rules

    entry = DATASETS[request.dataset]
    labels = entry.contents_of(request.root).labels
    return Rules(request.dataset, request.target, labels, entry.editions)


def seen_as(dataset: str) -> str:
    """Whose way to see a scan a data set shares, for `harness.data.scan_view.look`.

    Raises UsageError for a plug-in's own, of which the way back to the scan is not known.
    """
    entry = DATASETS[dataset]
    if not entry.plugin:
        return dataset
    if entry.prepare == WHOLE:
        return "folder"
    what = f"{dataset} prepares volumes in its own way; the way back to a new scan is not known"
    raise UsageError(what, where="predict", remedy="leave out its `prepare`", code="PFB-C42")


def _loaded(path: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that "module:name" stands for."""
    return resolve_name(path) if isinstance(path, str) else path


def reduced_grid(reduce: Grid) -> Grid:
    """The paper's 128 x 192 x 192 divided by `reduce`; UsageError when that leaves a rest."""
    if any(by < 1 or side % by for side, by in zip(PAPER_GRID, reduce, strict=True)):
        sides = "x".join(map(str, PAPER_GRID))
        what, remedy = f"{list(reduce)} does not divide {sides}", "--set reduce=[4, 3, 3]"
        raise UsageError(what, where="reduce", remedy=remedy, code="PFB-C02")
    d, h, w = (side // by for side, by in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


def is_synthetic(root: Path | None) -> bool:
    """Whether `root` was written by `pfbench data make-phantom`."""
    from harness.data.phantom import MARKER

    return root is not None and (root / MARKER).is_file()


def survey(dataset: str, root: Path, modalities: Sequence[str]) -> Survey:
    """What the folder of a real data set holds; reads no voxels."""
    found: Survey = _loaded(DATASETS[dataset].survey)(root, modalities)
    return found


@dataclass(frozen=True)
class _Found:
    jobs: tuple[Job, ...]
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()


def _find(request: Request) -> _Found:
    """One job for each case; `request` is complete."""
    entry = DATASETS[request.dataset]
    allowed, recipe = rules(request), _loaded(entry.prepare)
    labels = _labels(entry.contents_of(request.root), request.target)
    seen = (request.modalities, labels, request.reduce, reduced_grid(request.reduce))

    def job(name: str, source: Case | int) -> Job:
        return Job(name, source, allowed, recipe, *seen, request.seed, entry.plugin)

    if request.root is None or request.dataset == "phantom":
        return _Found(tuple(job(f"phantom_{i + 1:03d}", i) for i in range(request.cases)))
    surveyed = survey(request.dataset, request.root, request.modalities)
    jobs = tuple(job(case.id, case) for case in surveyed.cases)
    return _Found(jobs, surveyed.faults, surveyed.notes)


def _bring_in(jobs: Sequence[Job], cache_root: Path, workers: int) -> Iterator[Outcome]:
    """The outcome of each case as it is done.

    Threads: unpacking and arithmetic run outside the interpreter lock, so processes gain nothing.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = [pool.submit(take_in, job, cache_root) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _between_cases(outcomes: Sequence[Outcome], editions: bool) -> list[DataError]:
    """Faults that no case has alone: equal images, labels of different editions."""
    from harness.data.scans import mixed_editions

    good = [outcome for outcome in outcomes if outcome.key]
    faults = mixed_editions({outcome.name: outcome.labels for outcome in good}) if editions else []
    return faults + same_images({outcome.name: outcome.image_sha256 for outcome in good})


def same_images(images: dict[str, str]) -> list[DataError]:
    """The same patient under two ids could stand in training and in test; `images` are hashes."""
    alike = defaultdict(list)
    for name, content in sorted(images.items()):
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
