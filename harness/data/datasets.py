"""The data sets there are, and their way into the cache: find, read, check, prepare, fingerprint."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.case import Case, Grid, Survey, together
from harness.data.grid import PAPER_GRID
from harness.errors import DataError, StorageError, UsageError, unknown

if TYPE_CHECKING:
    from harness.data.case import Scan

Progress = Callable[[int, int, str], None]
# A change to one of these makes every prepared volume anew.
PREPARING = ("grid", "header", "lowres", "nifti", "phantom", "prepare", "scans")


@dataclass(frozen=True)
class Dataset:
    """One entry of the list; `modalities` are taken when none are asked for."""

    title: str
    modalities: tuple[str, ...]
    targets: tuple[str, ...]
    licence: str
    synthetic: bool = False


DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(
        "Synthetic heads with lesions, made in memory", ("flair",), ("wt", "tc", "et"),
        "none needed", synthetic=True,
    ),
    "brats": Dataset(
        "BraTS 2012-2021, glioma MRI: a folder for each patient", ("t2",), ("wt", "tc", "et"),
        "research only, from the organisers",
    ),
    "liver": Dataset(
        "Liver CT in images/ + labels/, nnU-Net's or Decathlon's layout", ("ct",), ("liver",),
        "that of the volumes you bring",
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


@dataclass(frozen=True)
class Work:
    """One case on its way into the cache."""

    name: str
    source: Case | int
    """Files, or the number of a phantom."""
    request: Request
    """Complete: no default is left open."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    name: str
    key: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    faults: tuple[DataError, ...] = ()


def prepare(
    request: Request,
    cache_root: Path,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Prepared:
    """Bring every case into the cache; what is there and whole is not made again.

    `progress` gets the number done, the number of all, and the case just done. Raises UsageError
    for a wrong name or a missing root, DataError with every fault of every case, one per line,
    StorageError when the cache cannot be written.
    """
    full = complete(request)
    found = _find(full)
    outcomes: list[Outcome] = []
    for outcome in _bring_in(found.work, cache_root, workers):
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(found.work), outcome.name)
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = [*found.faults, *(fault for outcome in outcomes for fault in outcome.faults)]
    faults += _between_cases(outcomes)
    if faults:
        raise together(faults)
    keys = {outcome.name: outcome.key for outcome in outcomes}
    noted = (note for outcome in outcomes for note in outcome.known["notes"])
    return Prepared(
        dataset=full.dataset,
        title=DATASETS[full.dataset].title,
        modalities=full.modalities,
        target=full.target,
        grid=reduced_grid(full.reduce),
        synthetic=DATASETS[full.dataset].synthetic or is_synthetic(full.root),
        keys=keys,
        fingerprint=_hash(sorted(keys.items()))[:16],
        notes=(*found.notes, *noted),
    )


def complete(request: Request) -> Request:
    """The request with its defaults filled in; UsageError for what does not exist."""
    if request.dataset not in DATASETS:
        raise unknown("dataset", request.dataset, DATASETS)
    entry = DATASETS[request.dataset]
    modalities = request.modalities or entry.modalities
    target = request.target or entry.targets[0]
    if target not in entry.targets:
        raise unknown("target", target, entry.targets)
    if len(set(modalities)) < len(modalities):
        raise UsageError(f"named twice in {','.join(modalities)}", where="--modalities")
    if request.dataset == "liver" and len(modalities) > 1:
        raise UsageError("liver has one modality", where="--modalities", remedy="--modalities ct")
    if request.dataset == "phantom":
        _refuse_unknown_phantom(modalities)
    elif request.root is None:
        remedy = f"--dataset {request.dataset} --data-root DIR"
        raise UsageError(f"{request.dataset} needs a folder", where="--data-root", remedy=remedy)
    elif not request.root.is_dir():
        raise DataError("no such folder", where=str(request.root), code="PFB-D09")
    reduced_grid(request.reduce)
    return Request(
        request.dataset, request.root, modalities, target, request.reduce, request.cases,
        request.seed,
    )  # fmt: skip


def reduced_grid(reduce: Grid) -> Grid:
    """The paper's 128 x 192 x 192 divided by `reduce`; UsageError when that leaves a rest."""
    if any(by < 1 or side % by for side, by in zip(PAPER_GRID, reduce, strict=True)):
        sides = "x".join(map(str, PAPER_GRID))
        raise UsageError(f"{list(reduce)} does not divide {sides}", where="reduce", code="PFB-C02")
    d, h, w = (side // by for side, by in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


def is_synthetic(root: Path | None) -> bool:
    """Whether `root` was written by `pfbench data make-phantom`."""
    from harness.data.phantom import MARKER

    return root is not None and (root / MARKER).is_file()


def survey(dataset: str, root: Path, modalities: Sequence[str]) -> Survey:
    """What the folder of a real data set holds; reads no voxels."""
    from harness.data import brats, liver

    return {"brats": brats.survey, "liver": liver.survey}[dataset](root, modalities)


@dataclass(frozen=True)
class _Found:
    work: tuple[Work, ...]
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()


def _find(request: Request) -> _Found:
    if request.root is None or request.dataset == "phantom":
        names = (f"phantom_{index + 1:03d}" for index in range(request.cases))
        return _Found(tuple(Work(name, index, request) for index, name in enumerate(names)))
    surveyed = survey(request.dataset, request.root, request.modalities)
    work = tuple(Work(case.id, case, request) for case in surveyed.cases)
    return _Found(work, surveyed.faults, surveyed.notes)


def _bring_in(work: Sequence[Work], cache_root: Path, workers: int) -> Iterator[Outcome]:
    """The outcome of each case as it is done.

    Threads: unpacking and arithmetic run outside the interpreter lock, so processes gain nothing.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = [pool.submit(_process, item, cache_root) for item in work]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _process(work: Work, cache_root: Path) -> Outcome:
    """Prepare one case unless the cache has it. Raises StorageError."""
    from harness.data import cache
    from harness.data.prepare import RECIPES

    try:
        key = _key(work)
        known = cache.lookup(cache_root, key)
        if known is None:
            scan, labels = _scan(work)
            volume = RECIPES[work.request.dataset](
                scan, work.request.target, work.request.reduce, work.name
            )
            cache.write(cache_root, key, volume, {"labels": labels, "notes": scan.notes})
            known = cache.lookup(cache_root, key)
        if known is None:
            raise StorageError("what was written cannot be read", where=str(cache_root / key))
        return Outcome(work.name, key, known)
    except _Refused as refused:
        return Outcome(work.name, faults=refused.faults)
    except DataError as fault:
        return Outcome(work.name, faults=(fault,))


class _Refused(Exception):
    def __init__(self, faults: tuple[DataError, ...]) -> None:
        self.faults = faults


def _scan(work: Work) -> "tuple[Scan, tuple[int, ...]]":
    """The scan and the labels in it; raises _Refused with every fault of the case."""
    from harness.data import phantom, scans

    request = work.request
    if isinstance(work.source, Case):
        findings = scans.examine(work.source, request.dataset, request.target)
        if findings.scan is None:
            raise _Refused(findings.faults)
        return findings.scan, findings.labels
    z_mm, y_mm, x_mm = request.reduce
    spacing_mm = (z_mm * phantom.BRATS_SHAPE[0] / PAPER_GRID[0], float(y_mm), float(x_mm))
    grid = reduced_grid(request.reduce)
    return phantom.scan(request.seed, work.source, grid, request.modalities, spacing_mm), ()


def _key(work: Work) -> str:
    """Hash of what the files hold, the recipe, and the code that follows it."""
    request = work.request
    recipe = [work.name, request.dataset, request.modalities, request.target, request.reduce]
    if isinstance(work.source, Case):
        content: list[Any] = [_file_hash(path) for path in work.source.files]
    else:
        content = [request.seed, work.source]
    return _hash([recipe, content, _code()])[:32]


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise DataError(what, where=f"{path.parent.name}/{path.name}", code="PFB-D12") from None


@once
def _code() -> str:
    here = Path(__file__).parent
    return _hash([(here / f"{name}.py").read_text() for name in PREPARING])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _between_cases(outcomes: Sequence[Outcome]) -> list[DataError]:
    """Faults that no case has alone: equal images, labels of different editions."""
    from harness.data.scans import mixed_editions

    good = [outcome for outcome in outcomes if outcome.key]
    faults = mixed_editions({outcome.name: outcome.known["labels"] for outcome in good})
    images = {outcome.name: outcome.known["files"]["image.npy"]["sha256"] for outcome in good}
    return faults + same_images(images)


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
