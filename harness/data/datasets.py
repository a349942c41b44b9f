"""The data sets there are, and their way into the cache: read, check, preprocess, fingerprint."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.case import Case, Grid, Survey, together
from harness.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from harness.data.case import Scan, Volume

Advance = Callable[[int, int, str], None]
PREPARING_CODE = ("case", "cache", "grid", "lowres", "nifti", "phantom", "prepare")


@dataclass(frozen=True)
class Dataset:
    """One entry of the list: what it is, what it holds, what the paper takes of it."""

    title: str
    modalities: tuple[str, ...]
    """Taken when none are asked for."""
    targets: tuple[str, ...]
    licence: str


DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(
        "Synthetic heads with lesions, made on the spot", ("flair",), ("wt", "tc", "et"), "none"
    ),
    "brats": Dataset(
        "BraTS 2012-2021 folders, one per patient", ("t2",), ("wt", "tc", "et"), "research only"
    ),
    "liver": Dataset(
        "Images with labels: folders, nnU-Net or Decathlon", ("ct",), ("liver",), "your own"
    ),
}


@dataclass(frozen=True)
class Request:
    """Which volumes, and how they are to be seen."""

    dataset: str
    root: Path | None = None
    modalities: tuple[str, ...] = ()
    target: str = ""
    reduce: Grid = (1, 1, 1)
    cases: int = 12
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """Volumes in the cache, named by content."""

    dataset: str
    title: str
    modalities: tuple[str, ...]
    target: str
    grid: Grid
    synthetic: bool
    keys: dict[str, str]
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """One case to prepare; crosses process borders."""

    case: Case | None
    index: int
    name: str
    request: Request
    modalities: tuple[str, ...]
    target: str
    grid: Grid


def prepare(
    request: Request, cache_root: Path, *, workers: int = 2, progress: Advance | None = None
) -> Prepared:
    """Bring every case into the cache, those that are there already excepted.

    Raises UsageError for a wrong name or a missing root, DataError listing every fault of
    every case, StorageError when the cache has no room.
    """
    entry, modalities, target = resolve(request)
    grid = _grid(request.reduce)
    found = _find(request, modalities)
    sources = [
        _Source(case, index, name, request, modalities, target, grid)
        for index, (name, case) in enumerate(found.items())
    ]
    keys: dict[str, str] = {}
    faults: list[DataError] = []
    for done, (name, key, fault) in enumerate(_bring_in(sources, cache_root, workers), start=1):
        if progress:
            progress(done, len(sources), name)
        if fault:
            faults.append(fault)
        else:
            keys[name] = key
    if not faults:
        faults = _same_content(keys)
    if faults:
        raise together(sorted(faults, key=lambda fault: fault.where))
    ordered = dict(sorted(keys.items()))
    total = hashlib.sha256(repr(list(ordered.items())).encode()).hexdigest()[:16]
    synthetic = request.dataset == "phantom" or _is_phantom(request.root)
    notes = () if request.dataset == "phantom" else survey(request, modalities).notes
    return Prepared(
        request.dataset, entry.title, modalities, target, grid, synthetic, ordered, total, notes
    )


def resolve(request: Request) -> tuple[Dataset, tuple[str, ...], str]:
    """The data set, modalities and target, defaults filled in; UsageError for wrong ones."""
    if request.dataset not in DATASETS:
        raise unknown("dataset", request.dataset, DATASETS)
    entry = DATASETS[request.dataset]
    target = request.target or entry.targets[0]
    if target not in entry.targets:
        raise unknown("target", target, entry.targets)
    if request.dataset != "phantom" and request.root is None:
        raise UsageError(f"the data set {request.dataset} needs a folder", where="--data-root",
                         remedy=f"--dataset {request.dataset} --data-root DIR")  # fmt: skip
    if request.root is not None and not request.root.is_dir():
        raise DataError("no such folder", where=str(request.root), code="PFB-D09")
    return entry, request.modalities or entry.modalities, target


def survey(request: Request, modalities: Sequence[str]) -> Survey:
    """What the folder of a real data set holds."""
    if request.root is None:
        raise ValueError(f"the data set {request.dataset} has no folder")
    return import_module(f"harness.data.{request.dataset}").survey(request.root, modalities)


def _find(request: Request, modalities: tuple[str, ...]) -> dict[str, Case | None]:
    if request.dataset != "phantom":
        return {case.id: case for case in survey(request, modalities).require()}
    from harness.data import phantom

    known = phantom.MODALITIES
    for modality in modalities:
        if modality not in known:
            raise unknown("modality", modality, known)
    return {f"phantom_{index:04d}": None for index in range(request.cases)}


def _bring_in(
    sources: Sequence[_Source], cache_root: Path, workers: int
) -> Iterator[tuple[str, str, DataError | None]]:
    """Name, key and fault of each case as it is done."""
    if len(sources) < 2 or workers < 2:
        yield from (_one(source, cache_root) for source in sources)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting = [pool.submit(_one, source, cache_root) for source in sources]
        for future in as_completed(waiting):
            yield future.result()


def _one(source: _Source, cache_root: Path) -> tuple[str, str, DataError | None]:
    from harness.data import cache

    try:
        key = _key(source)
        if not cache.has(cache_root, key):
            cache.write(cache_root, key, _volume(source))
    except DataError as fault:
        return source.name, "", fault
    return source.name, key, None


def _key(source: _Source) -> str:
    """Hash of what the files hold, of the recipe, and of the code that follows it."""
    total = hashlib.sha256()
    request = source.request
    recipe = (request.dataset, source.target, request.reduce, source.modalities)
    total.update(repr(recipe).encode())
    for module in PREPARING_CODE:
        total.update((Path(__file__).parent / f"{module}.py").read_bytes())
    if source.case is None:
        total.update(repr((request.seed, source.index)).encode())
        return total.hexdigest()[:32]
    for path in source.case.files:
        try:
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            what = error.strerror or "cannot be read"
            raise DataError(what, where=str(path), code="PFB-D12") from error
    return total.hexdigest()[:32]


def _volume(source: _Source) -> "Volume":
    from harness.data import prepare

    recipe = prepare.RECIPES[source.request.dataset]
    return recipe(_scan(source), source.target, source.request.reduce, source.name)


def _scan(source: _Source) -> "Scan":
    if source.case is not None:
        from harness.data.check import read_case

        return read_case(source.case, brats=source.request.dataset == "brats")
    from harness.data import phantom

    request = source.request
    z, y, x = (float(factor) for factor in request.reduce)
    return phantom.scan(request.seed, source.index, source.grid, source.modalities, (z, y, x))


def _grid(reduce: Grid) -> Grid:
    from harness.data.grid import PAPER_GRID

    d, h, w = (side // factor for side, factor in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


def _is_phantom(root: Path | None) -> bool:
    from harness.data.phantom import MARKER

    return root is not None and (root / MARKER).exists()


def _same_content(keys: dict[str, str]) -> list[DataError]:
    """The same volume under two names would stand in training and test."""
    twice = [key for key, count in Counter(keys.values()).items() if count > 1]
    return [
        DataError(
            "the same volumes under several names",
            where=", ".join(sorted(name for name in keys if keys[name] == key)),
            remedy="keep one of them",
            code="PFB-D08",
        )
        for key in twice
    ]
