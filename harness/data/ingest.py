"""Bring one case into the cache: read, check, prepare and store it, unless it is there already."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harness.data import intensity, itk
from harness.data.case import PAPER_GRID, Case, FaultyCase, Grid, OnScan, Scan, Spacing, Volume
from harness.data.nifti import place, unreadable
from harness.data.prepare import region
from harness.data.reading import PAPERS, View
from harness.data.scan_view import reduction, there_and_back, view_of
from harness.data.target import Ceiling, Target, measured, on_scan, vanished
from harness.errors import DataError

if TYPE_CHECKING:
    from harness.data.scans import Findings, Rules

# A change to one of these prepares every volume anew.
PREPARING = (
    "grid",
    "header",
    "intensity",
    "itk",
    "lowres",
    "nifti",
    "phantom",
    "prepare",
    "scan_view",
    "scans",
    "target",
)


class Agreement(Protocol):
    """The scores of a mask, as `harness.systems.metrics.score` gives them."""

    @property
    def dice(self) -> float: ...

    @property
    def hd95_mm(self) -> float: ...


Score = Callable[[np.ndarray, np.ndarray, Spacing], Agreement]
"""A function of prediction and target (D, H, W) and the sides of a voxel in mm."""


@dataclass(frozen=True)
class Job:
    """The instructions to prepare one case."""

    name: str
    source: Case | FaultyCase | int
    """The files of the case, or the number of a phantom."""
    rules: "Rules"
    recipe: Callable[[Scan, tuple[int, ...], Grid, str], Volume]
    modalities: tuple[str, ...]
    labels: tuple[int, ...]
    """The labels that the target consists of."""
    reduce: Grid
    grid: Grid
    """The paper's grid, divided by `reduce`."""
    seed: int
    """The seed of the phantom."""
    plugin: str = ""
    """The plug-in whose recipe it is; it is hashed like our own code."""
    view: View = PAPERS
    """The grid and the intensities that scans are brought to."""
    drop_vanished: bool = False
    """Whether a case is left out, and is no fault, when nothing of its target is on the grid."""
    seen_as: str | None = None
    """The way to see a scan, see `harness.data.datasets.way`; None where there is none back."""
    by_blocks: bool = False
    """Whether the blocks that cover a scan are kept beside the volume that its label chose."""
    score: Score | None = None
    """How masks are compared, for the ceiling of the grid; None: there is no ceiling."""


@dataclass(frozen=True)
class Outcome:
    """The result of preparing one case: a key in the cache, or faults."""

    name: str
    key: str = ""
    labels: tuple[int, ...] = ()
    content: str = ""
    """A hash of the voxels, equal for any file format; "" where nothing was stored."""
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
    target: Target | None = None
    spacing_mm: Spacing | None = None
    """The voxel size of the case on the grid."""
    outlying: tuple[str, ...] = ()
    """Modalities of which a thousandth of the voxels own more than half of the range."""
    dropped: bool = False
    """Whether the case is left out, because nothing of its target is left on the grid."""
    ceiling: Ceiling | None = None
    """The best that the grid allows on the scan; None without a target, or a way back."""


def ingest(job: Job, cache_root: Path) -> Outcome:
    """Bring one case into the cache; its faults are returned, not raised.

    Raises StorageError when the cache cannot be written.
    """
    from harness.data import cache

    try:
        key = _key(job)
        known = cache.lookup(cache_root, key)
        if known is None:
            outcome, volume = _looked_at(job, job.recipe)
            if volume is None:
                return outcome
            known = cache.write(cache_root, key, volume, _noticed(outcome))
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    target = Target(**known["target"])
    labels, notes = tuple(known["labels"]), tuple(known["notes"])
    apart = tuple(known["outlying"])
    content = known["content"]
    z, y, x = known["spacing_mm"]
    ceiling = Ceiling(**known["ceiling"]) if known["ceiling"] else None
    outcome = Outcome(
        job.name, key, labels, content, notes, (), target, (z, y, x), apart, ceiling=ceiling
    )
    return _judged(outcome, job)


def inspect(job: Job) -> Outcome:
    """Return the outcome of `ingest` without a cache: only the mask is brought to the grid."""

    def outline(scan: Scan, *how: Any) -> Volume:
        return job.recipe(scan if job.plugin else replace(scan, image=scan.image[:0]), *how)

    try:
        outcome, volume = _looked_at(job, outline)
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    return outcome if volume is None else _judged(outcome, job)


def sampled(job: Job) -> list[list[float]] | None:
    """Return intensities of a case's target in each modality; None where it cannot be read."""
    found = _read(job)
    if found.scan is None:
        return None
    return intensity.sample(found.scan.image, region(found.scan.label, job.labels))


def content_key(job: Job) -> str:
    """Return a hash of a case's files and of how they are read: equal for equal targets."""
    return digest([job.modalities, job.labels, job.rules.unoriented, _files(job), _code()])[:32]


def _looked_at(job: Job, recipe: Callable[..., Volume]) -> tuple[Outcome, Volume | None]:
    """Read a case and prepare it by `recipe`; the volume is None for a case with faults."""
    found = _read(job)
    scan = found.scan
    if scan is None:
        return Outcome(job.name, labels=found.labels, faults=found.faults), None
    content = "" if isinstance(job.source, int) else _content(scan.image)
    channels = zip(job.modalities, scan.image, strict=True)
    apart = tuple(name for name, channel in channels if intensity.outlying(channel))
    image, ends = intensity.clipped(scan.image, job.view.limits)
    volume = recipe(replace(scan, image=image, ends=ends), job.labels, job.reduce, job.name)
    mask = region(scan.label, job.labels)
    seen = measured(mask, scan.spacing_mm, volume.label > 0, volume.spacing_mm, volume.cut)
    best = ceiling(job, mask, scan.spacing_mm)
    notes, grid_mm = scan.notes, volume.spacing_mm
    looked = Outcome(
        job.name, "", found.labels, content, notes, (), seen, grid_mm, apart, ceiling=best
    )
    return looked, replace(volume, scan=_on_scan(job, scan, mask))


def ceiling(job: Job, mask: np.ndarray, spacing_mm: Spacing) -> Ceiling | None:
    """Return how well the mask of a scan, brought to the grid and back, agrees with itself.

    None without a target, a way back or a score.
    """
    if job.seen_as is None or job.score is None or not mask.any():
        return None
    way = (job.seen_as, reduction(job.grid, job.view), job.view)
    found = job.score(there_and_back(mask, spacing_mm, *way), mask, spacing_mm)
    return Ceiling(found.dice, found.hd95_mm)


def _on_scan(job: Job, scan: Scan, mask: np.ndarray) -> OnScan | None:
    """Return the target on the voxels of its scan; None where there is no way back to them."""
    if job.seen_as is None:
        return None
    if not job.by_blocks:
        return on_scan(mask, scan.spacing_mm)
    way = (job.seen_as, reduction(job.grid, job.view), job.view)
    blocks = view_of(scan.image, scan.spacing_mm, *way).images
    return on_scan(mask, scan.spacing_mm, np.stack(blocks))


def _noticed(outcome: Outcome) -> dict[str, Any]:
    """Return the facts of a case that the cache keeps beside its volume."""
    if outcome.target is None:
        raise ValueError(f"{outcome.name} was not looked at")
    return {
        "labels": outcome.labels,
        "notes": outcome.notes,
        "content": outcome.content,
        "target": outcome.target.as_json(),
        "outlying": outcome.outlying,
        "ceiling": asdict(outcome.ceiling) if outcome.ceiling else None,
    }


def _judged(outcome: Outcome, job: Job) -> Outcome:
    """Return the outcome, with a fault or left out where the grid has nothing of the target."""
    if outcome.target is None or not outcome.target.gone:
        return outcome
    if job.drop_vanished:
        return replace(outcome, dropped=True)
    return replace(outcome, key="", faults=(vanished(job.name, outcome.target),))


def _content(image: np.ndarray) -> str:
    """Hash the voxels (C, D, H, W), in their stored values and common orientation."""
    total = hashlib.sha256(repr(image.shape).encode())
    for channel in image:
        total.update(np.ascontiguousarray(channel).data)
    return total.hexdigest()


def _read(job: Job) -> "Findings":
    from harness.data import phantom, scans

    if not isinstance(job.source, int):
        return scans.examine(job.source, job.rules)
    z, y, x = job.reduce
    spacing_mm = (z * phantom.BRATS_SHAPE[0] / PAPER_GRID[0], float(y), float(x))
    made = phantom.scan(job.seed, job.source, job.grid, job.modalities, spacing_mm)
    return scans.Findings(made, ())


def _key(job: Job) -> str:
    """Return the key of a case: a hash of its files, the recipe, and the code that follows it."""
    rules = job.rules
    recipe = (
        job.name,
        rules.dataset,
        job.modalities,
        rules.target,
        job.labels,
        job.reduce,
        job.view.model_dump(mode="json"),
        *(["blocks"] if job.by_blocks else []),
    )
    return digest([recipe, _files(job), _code()])[:32]


def _files(job: Job) -> list[Any]:
    """Return the content hashes of a case's files, or the seed and number of a phantom."""
    if isinstance(job.source, Case):
        hashes: list[Any] = [_file_hash(path) for path in _with_companions(job.source)]
        return [*hashes, sorted(job.source.channels.items()), job.plugin]
    return [job.seed, job.source]


def _with_companions(case: Case) -> list[Path]:
    """Return the files of a case, with the files of voxels beside a .mhd."""
    found = list(case.files)
    for path in case.files:
        if itk.is_itk(path) and (voxels := itk.companion(path, place(path))):
            found.append(voxels)
    return found


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, path) from None


@once
def _code() -> str:
    here = Path(__file__).parent
    return digest([(here / f"{name}.py").read_text(encoding="utf-8") for name in PREPARING])


def digest(content: object) -> str:
    """Return the SHA-256 of `content` as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
